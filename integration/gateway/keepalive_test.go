package gateway

import (
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/caddy-chat/caddy-chat/integration/harness"
)

// TestKeepAliveUnderV1 has an upstream that is silent within an answer. Between
// two events stand comments, one a line, and no empty line behind them.
func TestKeepAliveUnderV1(t *testing.T) {
	t.Parallel()
	up := harness.NewUpstream(t)
	for name, site := range map[string]string{
		"plain":  strings.Replace(up.Gateway(), "retries 0", "retries 0\nkeep_alive 20ms", 1),
		"cached": strings.Replace(up.Gateway(), "retries 0", "retries 0\nkeep_alive 20ms\ncache 1h", 1),
	} {
		c := harness.Start(t, harness.GatewayTenants, "tenant_resolve\nchat_session {\nkeep_alive 20ms\n}\n"+site)
		for what, header := range map[string][]string{
			"alone":                 nil,
			"an Idempotency-Key":    {"Idempotency-Key", "key-1"},
			"a session":             {"X-Session-Id", harness.NewSession()},
			"a session and its key": {"X-Session-Id", harness.NewSession(), "Idempotency-Key", "key-2"},
		} {
			t.Run(name+"/"+what, func(t *testing.T) {
				up := up.For(t)
				cl := harness.NewClient(c, "globex", "ann")
				cl.T = t
				ask := func() *harness.Pending {
					return cl.StartCompletion(harness.QuestionOf("hi "+what).Streamed(), header...)
				}
				a := ask()
				call := up.Call()
				call.Say("one")
				resp := a.Answer()
				defer resp.Body.Close()
				text := ""
				for strings.Count(text, ": keep-alive\n") < 3 {
					buf := make([]byte, 1)
					if _, err := io.ReadFull(resp.Body, buf); err != nil {
						t.Fatalf("after %q: %v", text, err)
					}
					text += string(buf)
				}
				call.Say(" two")
				call.Finish("stop")
				rest, err := io.ReadAll(resp.Body)
				if err != nil {
					t.Fatal(err)
				}
				text += string(rest)
				if strings.Contains(text, ": keep-alive\n\n") || !strings.Contains(text, "\n\n: keep-alive\n") || !strings.HasSuffix(text, "data: [DONE]\n\n") {
					t.Errorf("got %q", text)
				}
				if what == "a session" || what == "alone" && name == "plain" {
					return
				}
				again := harness.ReadAll(t, ask().Answer())
				if want := strings.ReplaceAll(text, ": keep-alive\n", ""); again != want {
					t.Errorf("the repeated answer is %q, want %q", again, want)
				}
			})
		}
	}
}

// TestHeaderOfFollowers has requests that share an answer of which there is only
// the header.
func TestHeaderOfFollowers(t *testing.T) {
	t.Parallel()
	up := harness.NewUpstream(t)
	c := harness.Start(t, harness.PlainTenants, up.Chain(""))
	ann := harness.NewClient(c, "acme", "ann")
	session := harness.NewSession()
	a := ann.Ask(session, "hi")
	call := up.Call()

	resp := ann.Follow(session, "").Answer() // nothing was said yet
	harness.WantHeader(t, resp.Header, map[string]string{"Content-Type": "text/event-stream", "Cache-Control": "no-cache", "X-Accel-Buffering": "no"})
	head := ann.Do(http.MethodHead, "/chat/"+session+"/stream", nil)
	if text := harness.ReadAll(t, head); text != "" || head.StatusCode != http.StatusOK || head.Header.Get("Content-Type") != "text/event-stream" {
		t.Errorf("HEAD: %d %q %v", head.StatusCode, text, head.Header)
	}
	call.Say("said")
	events := harness.ReadEvents(t, resp)
	events.Text("said")
	call.Finish("stop")
	if rest := events.Rest(); rest.Done == nil {
		t.Errorf("got %+v", rest)
	}
	a.Events().Rest()

	for id, want := range map[string]int{session: http.StatusOK, harness.NewSession(): http.StatusNotFound} {
		if resp := ann.Do(http.MethodHead, "/chat/"+id+"/stream", nil); resp.StatusCode != want {
			t.Errorf("HEAD: %d, want %d", resp.StatusCode, want)
		}
	}

	t.Run("a turn that fails before its first word", func(t *testing.T) {
		session := harness.NewSession()
		a := ann.Ask(session, "hi")
		call := up.Call()
		follower := ann.Follow(session, "")
		events := follower.Events()
		call.Fail(http.StatusInternalServerError, "{}")
		harness.WantFailure(t, a.Answer(), http.StatusBadGateway, "ai_error")
		if rest := events.Rest(); rest.Failed == nil || rest.Failed.Code != "ai_error" || rest.Done == nil {
			t.Errorf("the follower got %+v", rest)
		}
	})
}
