package limits

import (
	"net/http"
	"sync/atomic"
	"testing"
	"time"

	"github.com/caddy-chat/caddy-chat/integration/harness"
)

// TestTokenWindows has the gateway count tokens in chat_ratelimit's windows.
func TestTokenWindows(t *testing.T) {
	up := harness.NewUpstream(t)
	var calls atomic.Int64
	up.Plays(harness.Replies(func(harness.Asked) string {
		calls.Add(1)
		return "hello"
	}))
	c := harness.Start(t, harness.PlainTenants, "tenant_resolve\n\tchat_ratelimit {\n\t\trequests 10 1h\n\t\ttokens 100 1h\n\t}\n\tchat_session\n"+up.Gateway())
	ann := harness.NewClient(c, "acme", "ann")
	const question = `{"max_tokens":15,"messages":[{"role":"user","content":"hi"}]}`
	ask := func(cl *harness.Client, body string) *http.Response {
		t.Helper()
		return cl.Do(http.MethodPost, "/v1/chat/completions", body)
	}

	// usage counts, not the reservation: the provider reports 18 tokens a call
	for _, left := range []string{"100", "82", "64", "46", "28"} {
		resp := ask(ann, question)
		harness.WantHeader(t, resp.Header, map[string]string{"X-Ratelimit-Limit-Tokens": "100", "X-Ratelimit-Remaining-Tokens": left})
		if text := harness.ReadAll(t, resp); resp.StatusCode != http.StatusOK {
			t.Fatalf("with %s tokens left: %d %s", left, resp.StatusCode, text)
		}
	}
	// 10 are left, and the next call would reserve more
	resp := ask(ann, question)
	harness.WantHeader(t, resp.Header, map[string]string{"X-Ratelimit-Remaining-Tokens": "10", "X-Ratelimit-Remaining-Requests": "4"})
	harness.WantWithin(t, "Retry-After", resp.Header.Get("Retry-After"), time.Second, 50*time.Minute, time.Hour)
	harness.WantFailure(t, resp, 429, "rate_limited")
	if n := calls.Load(); n != 5 {
		t.Errorf("the provider was called %d times, want 5", n)
	}
	// another user has a window of their own
	if resp := ask(harness.NewClient(c, "acme", "bob"), question); resp.StatusCode != http.StatusOK {
		t.Errorf("bob: %d %s", resp.StatusCode, harness.ReadAll(t, resp))
	}
	// a restart changes nothing
	c.Stop()
	c.Restart()
	resp = ask(ann, question)
	harness.WantHeader(t, resp.Header, map[string]string{"X-Ratelimit-Remaining-Tokens": "10"})
	harness.WantFailure(t, resp, 429, "rate_limited")
}
