package integration

import (
	"net/http"
	"sync/atomic"
	"testing"
	"time"
)

// TestTokenWindows has the gateway fill the windows of chat_ratelimit.
func TestTokenWindows(t *testing.T) {
	up := NewSteered(t)
	var calls atomic.Int64
	up.Answer(func(*UpstreamCall) string {
		calls.Add(1)
		return "hello"
	})
	c := Start(t, PlainTenants, "tenant_resolve\n\tchat_ratelimit {\n\t\trequests 10 1h\n\t\ttokens 100 1h\n\t}\n\tchat_session\n"+up.Gateway())
	ann := NewClient(c, "acme", "ann")
	const question = `{"max_tokens":15,"messages":[{"role":"user","content":"hi"}]}`
	ask := func(cl *Client, body string) *http.Response {
		t.Helper()
		return cl.Do(http.MethodPost, "/v1/chat/completions", body)
	}

	// what was used counts, not what was reserved: it is the provider's 18
	for _, left := range []string{"100", "82", "64", "46", "28"} {
		resp := ask(ann, question)
		WantHeader(t, resp.Header, map[string]string{"X-Ratelimit-Limit-Tokens": "100", "X-Ratelimit-Remaining-Tokens": left})
		if text := ReadAll(t, resp); resp.StatusCode != http.StatusOK {
			t.Fatalf("with %s tokens left: %d %s", left, resp.StatusCode, text)
		}
	}
	// 10 are left, and the next call would reserve more
	resp := ask(ann, question)
	WantHeader(t, resp.Header, map[string]string{"X-Ratelimit-Remaining-Tokens": "10", "X-Ratelimit-Remaining-Requests": "4"})
	WantWithin(t, "Retry-After", resp.Header.Get("Retry-After"), time.Second, 50*time.Minute, time.Hour)
	WantFailure(t, resp, 429, "rate_limited")
	if n := calls.Load(); n != 5 {
		t.Errorf("the provider was called %d times, want 5", n)
	}
	// another user has a window of their own
	if resp := ask(NewClient(c, "acme", "bob"), question); resp.StatusCode != http.StatusOK {
		t.Errorf("bob: %d %s", resp.StatusCode, ReadAll(t, resp))
	}
	// and a restart changes nothing
	c.Stop()
	c.Restart()
	resp = ask(ann, question)
	WantHeader(t, resp.Header, map[string]string{"X-Ratelimit-Remaining-Tokens": "10"})
	WantFailure(t, resp, 429, "rate_limited")
}
