package limits

import (
	"net/http"
	"strconv"
	"testing"

	"github.com/caddy-chat/caddy-chat/integration/harness"
)

// slots is the chain with the given limits and session options.
func slots(s *harness.Upstream, limits, session string) string {
	return "tenant_resolve\n\tchat_ratelimit {\n\t\t" + limits + "\n\t}\n\tchat_session {\n\t\t" + session + "\n\t}\n" + s.Gateway()
}

func TestConcurrentLimit(t *testing.T) {
	const limits = "concurrent 1\n\t\trequests 1000 1h"
	up := harness.NewUpstream(t)
	c := harness.Start(t, harness.PlainTenants, slots(up, limits, ""))

	refused := func(t *testing.T, cl *harness.Client) {
		t.Helper()
		resp := cl.Do(http.MethodPost, "/chat", harness.ChatRequest{SessionID: harness.NewSession(), Message: "too many"})
		if n, err := strconv.Atoi(resp.Header.Get("Retry-After")); err != nil || n < 1 {
			t.Errorf("Retry-After is %q", resp.Header.Get("Retry-After"))
		}
		if resp.Header.Get("X-RateLimit-Limit") == "" || resp.Header.Get("X-RateLimit-Remaining") == "" {
			t.Errorf("a refusal has the headers %v", resp.Header)
		}
		harness.WantFailure(t, resp, 429, "rate_limited")
	}
	// ask asks for what takes a slot, and is wrong if it gets one
	ask := func(cl *harness.Client) *http.Response {
		return cl.Do(http.MethodPost, "/v1/embeddings", `{"model":"fast"}`)
	}
	// free checks for a free slot after an answer was read to its end
	free := func(t *testing.T, cl *harness.Client) http.Header {
		t.Helper()
		resp := ask(cl)
		if text := harness.ReadAll(t, resp); resp.StatusCode != http.StatusBadRequest {
			t.Errorf("%d %s", resp.StatusCode, text)
		}
		return resp.Header
	}
	// soonFree waits for a free slot when no client reads the answer
	soonFree := func(t *testing.T, cl *harness.Client) {
		t.Helper()
		harness.Eventually(t, "the slot is free", func() bool {
			resp := ask(cl)
			resp.Body.Close()
			return resp.StatusCode == http.StatusBadRequest
		})
	}

	t.Run("holds its slot until the stream ends", func(t *testing.T) {
		ann := harness.NewClient(c, "acme", "ann")
		a := ann.Ask(harness.NewSession(), "long")
		call := up.Call()
		refused(t, ann)
		call.Say("begun")
		stream := a.Events()
		stream.Text("begun")
		refused(t, ann)
		// others have slots of their own
		free(t, harness.NewClient(c, "acme", "bob"))
		free(t, harness.NewClient(c, "globex", "ann"))
		call.Finish("stop")
		stream.Rest()
		free(t, ann)
	})

	t.Run("a refused request uses up no window", func(t *testing.T) {
		carl := harness.NewClient(c, "acme", "carl")
		a := carl.Ask(harness.NewSession(), "long")
		call := up.Call()
		for range 10 {
			refused(t, carl)
		}
		call.Finish("stop")
		a.Events().Rest()
		harness.WantHeader(t, free(t, carl), map[string]string{"X-RateLimit-Limit": "1000", "X-RateLimit-Remaining": "998"})
	})

	t.Run("frees its slot on failure", func(t *testing.T) {
		ann := harness.NewClient(c, "acme", "ann")
		a := ann.Ask(harness.NewSession(), "fail")
		harness.FailAll(t, up, a, 500, `{}`)
		harness.WantFailure(t, a.Answer(), 502, "ai_error")
		free(t, ann)
		a = ann.Ask(harness.NewSession(), "cut")
		call := up.Call()
		call.Say("begun")
		call.Cut()
		a.Events().Rest()
		free(t, ann)
	})

	t.Run("holds its slot while an answer continues without its client", func(t *testing.T) {
		dora := harness.NewClient(c, "acme", "dora")
		session := harness.NewSession()
		a := dora.Ask(session, "long")
		call := up.Call()
		call.Say("begun")
		a.Events().Text("begun")
		a.GoAway()
		call.Say(" and on")
		refused(t, dora)
		follower := harness.ReadEvents(t, dora.Do(http.MethodGet, "/chat/"+session+"/stream", nil))
		call.Finish("stop")
		if got := follower.Rest(); got.Done == nil {
			t.Errorf("a follower saw %+v", got)
		}
		soonFree(t, dora)
	})

	t.Run("stands in the way of no one who reads or cancels", func(t *testing.T) {
		emil := harness.NewClient(c, "acme", "emil")
		session := harness.NewSession()
		emil.Ask(session, "long")
		call := up.Call()
		refused(t, emil)
		for _, path := range []string{"/chat", "/chat/" + session + "/history", "/v1/models"} {
			if resp := emil.Do(http.MethodGet, path, nil); resp.StatusCode != http.StatusOK {
				t.Errorf("%s: %d %s", path, resp.StatusCode, harness.ReadAll(t, resp))
			}
		}
		if !emil.CancelTurn(session) {
			t.Error("nothing was cancelled")
		}
		call.WantGone()
		soonFree(t, emil)
		if resp := emil.Do(http.MethodDelete, "/chat/"+session, nil); resp.StatusCode != http.StatusOK {
			t.Errorf("DELETE: %d", resp.StatusCode)
		}
	})

	t.Run("frees its slot on disconnect", func(t *testing.T) {
		c.WriteConfig(harness.PlainTenants, slots(up, limits, "on_disconnect cancel"))
		c.Reload()
		ann := harness.NewClient(c, "acme", "ann")
		a := ann.Ask(harness.NewSession(), "long")
		call := up.Call()
		call.Say("begun")
		a.Events().Text("begun")
		refused(t, ann)
		a.GoAway()
		call.WantGone()
		soonFree(t, ann)

		// without a session too
		req := ann.Request(http.MethodPost, "/v1/chat/completions", `{"stream":true,"messages":[{"role":"user","content":"hi"}]}`)
		a = ann.Start(req)
		call = up.Call()
		call.Say("begun")
		a.Answer()
		refused(t, ann)
		a.GoAway()
		call.WantGone()
		soonFree(t, ann)
	})

	t.Run("allows several per tenant", func(t *testing.T) {
		c.WriteConfig(harness.PlainTenants, slots(up, "concurrent 2 per tenant\n\t\trequests 1000 1h", ""))
		c.Reload()
		ann, bob := harness.NewClient(c, "acme", "ann"), harness.NewClient(c, "acme", "bob")
		one := ann.Ask(harness.NewSession(), "one")
		callOne := up.Call()
		two := ann.Ask(harness.NewSession(), "two")
		callTwo := up.Call()
		refused(t, bob)
		free(t, harness.NewClient(c, "globex", "bob"))
		callOne.Finish("stop")
		one.Events().Rest()
		free(t, bob)
		callTwo.Finish("stop")
		two.Events().Rest()
	})

	t.Run("is free again after a crash", func(t *testing.T) {
		ann := harness.NewClient(c, "acme", "ann")
		for range 2 {
			ann.Ask(harness.NewSession(), "long")
			up.Call()
		}
		refused(t, ann)
		c.Kill()
		c.Restart()
		free(t, ann)
	})
}
