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

// TestCutBehindProxy has a reverse_proxy's answer break off: clients of every API are told
// so in its own words.
func TestCutBehindProxy(t *testing.T) {
	up := harness.NewUpstream(t)
	c := harness.Start(t, harness.PlainTenants, up.Proxied(""))
	cl := harness.NewClient(c, "acme", "ann")
	for _, api := range []struct{ path, body, end string }{
		{"/v1/messages", `{"model":"fast","max_tokens":9,"messages":[{"role":"user","content":"hi"}]`, "event: error\n"},
		{"/v1/responses", `{"model":"fast","input":"hi"`, "event: response.failed\n"},
	} {
		asked := cl.Start(cl.Request(http.MethodPost, api.path, api.body+`,"stream":true}`, "X-Session-Id", harness.NewSession()))
		call := up.Call()
		call.Say("part")
		stream := asked.Raw().UpTo("part")
		call.End(harness.TornOff)
		if got := stream.Rest(); !strings.Contains(got, api.end) || strings.Contains(got, "message_stop") || strings.Contains(got, "response.completed") {
			t.Errorf("%s ends with\n%s", api.path, got)
		}
		asked = cl.Start(cl.Request(http.MethodPost, api.path, api.body+`}`, "X-Session-Id", harness.NewSession()))
		call = up.Call()
		call.End(harness.TornOff)
		if resp := asked.Answer(); resp.StatusCode != http.StatusBadGateway {
			t.Errorf("%s, a document: %d %s", api.path, resp.StatusCode, harness.ReadAll(t, resp))
		}
	}
}
