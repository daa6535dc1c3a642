package integration

import (
	"net/http"
	"strconv"
	"testing"
)

// slots is the chain with one request at a time.
func (s *steered) slots(limits, session string) string {
	return "tenant_resolve\n\tchat_ratelimit {\n\t\t" + limits + "\n\t}\n\tchat_session {\n\t\t" + session + "\n\t}\n" + s.gateway()
}

func TestConcurrentLimit(t *testing.T) {
	const limits = "concurrent 1\n\t\trequests 1000 1h"
	up := newSteered(t)
	c := startCaddy(t, plainTenants, up.slots(limits, ""))

	refused := func(t *testing.T, cl *client) {
		t.Helper()
		resp := cl.do(http.MethodPost, "/chat", ask{SessionID: newSession(), Message: "too many"})
		if n, err := strconv.Atoi(resp.Header.Get("Retry-After")); err != nil || n < 1 {
			t.Errorf("Retry-After is %q", resp.Header.Get("Retry-After"))
		}
		if resp.Header.Get("X-RateLimit-Limit") == "" || resp.Header.Get("X-RateLimit-Remaining") == "" {
			t.Errorf("a refused answer has the headers %v", resp.Header)
		}
		wantFailure(t, resp, 429, "rate_limited")
	}
	// free is asked once an answer was read to its end
	free := func(t *testing.T, cl *client) http.Header {
		t.Helper()
		resp := cl.do(http.MethodGet, "/chat", nil)
		if text := readAll(t, resp); resp.StatusCode != http.StatusOK {
			t.Errorf("%d %s", resp.StatusCode, text)
		}
		return resp.Header
	}
	// soonFree is asked where nobody reads the answer
	soonFree := func(t *testing.T, cl *client) {
		t.Helper()
		eventually(t, "the slot is given back", func() bool {
			resp := cl.do(http.MethodGet, "/chat", nil)
			resp.Body.Close()
			return resp.StatusCode == http.StatusOK
		})
	}

	t.Run("holds its slot until the stream ends", func(t *testing.T) {
		ann := newClient(c, "acme", "ann")
		a := ann.ask(newSession(), "long")
		call := up.call()
		refused(t, ann)
		call.say("begun")
		stream := a.events()
		stream.text("begun")
		refused(t, ann)
		// others have slots of their own
		free(t, newClient(c, "acme", "bob"))
		free(t, newClient(c, "globex", "ann"))
		call.finish("stop")
		stream.rest()
		free(t, ann)
	})

	t.Run("a refused request uses up no window", func(t *testing.T) {
		carl := newClient(c, "acme", "carl")
		a := carl.ask(newSession(), "long")
		call := up.call()
		for range 10 {
			refused(t, carl)
		}
		call.finish("stop")
		a.events().rest()
		wantHeaders(t, free(t, carl), map[string]string{"X-RateLimit-Limit": "1000", "X-RateLimit-Remaining": "998"})
	})

	t.Run("gives it back on failure", func(t *testing.T) {
		ann := newClient(c, "acme", "ann")
		a := ann.ask(newSession(), "fail")
		failAll(t, up, a, 500, `{}`)
		wantFailure(t, a.answer(), 502, "ai_error")
		free(t, ann)
		a = ann.ask(newSession(), "cut")
		call := up.call()
		call.say("begun")
		call.cut()
		a.events().rest()
		free(t, ann)
	})

	t.Run("keeps it while an answer goes on without its client", func(t *testing.T) {
		dora := newClient(c, "acme", "dora")
		session := newSession()
		a := dora.ask(session, "long")
		call := up.call()
		call.say("begun")
		a.events().text("begun")
		a.goAway()
		call.say(" and on")
		refused(t, dora)
		call.finish("stop")
		soonFree(t, dora)
	})

	t.Run("gives it back on disconnect", func(t *testing.T) {
		c.writeConfig(plainTenants, up.slots(limits, "on_disconnect cancel"))
		c.reload()
		ann := newClient(c, "acme", "ann")
		a := ann.ask(newSession(), "long")
		call := up.call()
		call.say("begun")
		a.events().text("begun")
		refused(t, ann)
		a.goAway()
		call.wantGone()
		soonFree(t, ann)

		// also where there is no session
		req := ann.request(http.MethodPost, "/v1/chat/completions", `{"stream":true,"messages":[{"role":"user","content":"hi"}]}`)
		a = ann.start(req)
		call = up.call()
		call.say("begun")
		a.answer()
		refused(t, ann)
		a.goAway()
		call.wantGone()
		soonFree(t, ann)
	})

	t.Run("counts several per tenant", func(t *testing.T) {
		c.writeConfig(plainTenants, up.slots("concurrent 2 per tenant\n\t\trequests 1000 1h", ""))
		c.reload()
		ann, bob := newClient(c, "acme", "ann"), newClient(c, "acme", "bob")
		one := ann.ask(newSession(), "one")
		callOne := up.call()
		two := ann.ask(newSession(), "two")
		callTwo := up.call()
		refused(t, bob)
		free(t, newClient(c, "globex", "bob"))
		callOne.finish("stop")
		one.events().rest()
		free(t, bob)
		callTwo.finish("stop")
		two.events().rest()
	})

	t.Run("does not stay after a crash or a restart", func(t *testing.T) {
		ann := newClient(c, "acme", "ann")
		for range 2 {
			ann.ask(newSession(), "long")
			up.call()
		}
		refused(t, ann)
		c.kill()
		c.restart()
		free(t, ann)
	})
}
