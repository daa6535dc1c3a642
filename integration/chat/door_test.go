package chat

import (
	"net/http"
	"strings"
	"testing"

	"github.com/tidwall/gjson"

	"github.com/caddy-chat/caddy-chat/integration/harness"
)

// TestStatefulMessages talks through Anthropic's API, and goes on through others.
func TestStatefulMessages(t *testing.T) {
	up := harness.NewUpstream(t, harness.Echoes)
	for name, chain := range map[string]string{"ai_gateway": up.Sessions(""), "reverse_proxy": up.Proxied("")} {
		t.Run(name, func(t *testing.T) {
			c := harness.Start(t, harness.PlainTenants, chain)
			cl := harness.NewClient(c, "acme", "ann")
			session := harness.NewSession()
			ask := func(text string, stream bool, headers ...string) string {
				body := map[string]any{
					"model": "fast", "max_tokens": 100, "stream": stream,
					"messages": []any{map[string]any{"role": "user", "content": text}},
				}
				return harness.ReadAll(t, cl.Do(http.MethodPost, "/v1/messages", body, append(headers, "X-Session-Id", session)...))
			}

			if got := gjson.Parse(ask("one", false)); got.Get("type").Str != "message" || got.Get("content.0.text").Str != "re: one" {
				t.Errorf("the document is %s", got.Raw)
			}
			for range 2 {
				events := ask("two", true, "Idempotency-Key", name)
				if !strings.Contains(events, `"text":"re: two"`) || strings.Count(events, "event: message_stop") != 1 {
					t.Errorf("the stream is\n%s", events)
				}
			}
			harness.ReadAll(t, cl.Do(http.MethodPost, "/v1/chat/completions", harness.UserSays("three"), "X-Session-Id", session))
			harness.WantList(t, "history", harness.Contents(cl.History(session)), []string{
				"user: one", "assistant: re: one", "user: two", "assistant: re: two", "user: three", "assistant: re: three",
			})
			if got := len(up.Last().Messages()); got != 5 {
				t.Errorf("%d messages went to the model, want 5", got)
			}
		})
	}
}

// TestStatefulMessagesFail has failures before and within a stream.
func TestStatefulMessagesFail(t *testing.T) {
	up := harness.NewUpstream(t, harness.Refuses(http.StatusBadRequest, "x"), harness.Steps(harness.Begins("half "), harness.Reset))
	c := harness.Start(t, harness.PlainTenants, up.Sessions(""))
	cl := harness.NewClient(c, "acme", "ann")
	body := map[string]any{
		"model": "fast", "max_tokens": 100, "stream": true,
		"messages": []any{map[string]any{"role": "user", "content": "hi"}},
	}
	ask := func() string {
		return harness.ReadAll(t, cl.Do(http.MethodPost, "/v1/messages", body, "X-Session-Id", harness.NewSession()))
	}
	if got := gjson.Parse(ask()); got.Get("type").Str != "error" || got.Get("error.type").Str != "invalid_request_error" {
		t.Errorf("the refusal is %s", got.Raw)
	}
	events := ask()
	if !strings.Contains(events, "event: error\n") || strings.Contains(events, "message_stop") {
		t.Errorf("the cut stream is\n%s", events)
	}
}
