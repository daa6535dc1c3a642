package gateway

import (
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/caddy-chat/caddy-chat/integration/harness"
)

// TestSilentBeforeTheFirstToken has a model that thinks for longer than keep_alive before
// it says anything. Proxies in front would give up on an answer without a header.
func TestSilentBeforeTheFirstToken(t *testing.T) {
	t.Parallel()
	up := harness.NewUpstream(t)
	gateway := strings.Replace(up.Gateway(), "retries 0", "retries 0\nkeep_alive 20ms", 1)
	bodies := map[string]map[string]any{
		"/v1/chat/completions": {"model": "fast", "messages": []any{map[string]any{"role": "user", "content": "hi"}}},
		"/v1/messages":         said("hi"),
		"/v1/responses":        {"model": "fast", "input": "hi"},
	}
	ends := map[string]string{
		"/v1/chat/completions": "data: [DONE]\n\n",
		"/v1/messages":         "event: message_stop\ndata: {\"type\":\"message_stop\"}\n\n",
		"/v1/responses":        "}\n\n",
	}
	failures := map[string]string{
		"/v1/chat/completions": "data: {\"error\":{",
		"/v1/messages":         "event: error\ndata: {\"type\":\"error\"",
		"/v1/responses":        "event: response.failed\n",
	}
	for name, site := range map[string]string{
		"alone":                  "tenant_resolve\n" + gateway,
		"cached":                 "tenant_resolve\n" + strings.Replace(gateway, "retries 0", "retries 0\ncache 1h", 1),
		"behind chat_session":    "tenant_resolve\nchat_session {\nkeep_alive 20ms\n}\n" + gateway,
		"in front of a fallback": "tenant_resolve\n" + strings.Replace(gateway, "to openai/upstream-fast", "to openai/upstream-fast\nto openai/other\nthinks", 1),
	} {
		c := harness.Start(t, harness.GatewayTenants, site)
		for path, body := range bodies {
			body["stream"] = true
			for _, fails := range []bool{false, true} {
				if fails && name == "in front of a fallback" {
					continue // the other target would answer
				}
				what := map[bool]string{false: " ends", true: " fails"}[fails]
				t.Run(name+path+what, func(t *testing.T) {
					up := up.For(t)
					cl := harness.NewClient(c, "globex", "ann")
					cl.T = t
					header := []string{"Idempotency-Key", harness.NewSession()}
					if name == "behind chat_session" && path != "/v1/responses" {
						header = append(header, "X-Session-Id", harness.NewSession())
					}
					body["user"] = name + what // cached answers are apart
					a := cl.Start(cl.Request(http.MethodPost, path, body, header...))
					call := up.Call()
					call.Event(harness.ChunkOf(`{"role":"assistant","content":""}`))
					resp := a.Answer()
					defer resp.Body.Close()
					harness.WantHeader(t, resp.Header, map[string]string{
						"Content-Type": "text/event-stream", "X-Ai-Provider": "openai", "X-Ai-Attempts": "1", "X-Model-Id": "fast",
					})
					text := ""
					for strings.Count(text, ": keep-alive\n") < 2 {
						buf := make([]byte, 1)
						if _, err := io.ReadFull(resp.Body, buf); err != nil {
							t.Fatalf("after %q: %v", text, err)
						}
						text += string(buf)
					}
					if strings.Contains(text, "event") || strings.Contains(text, "data") {
						t.Errorf("before the first token there was %q", text)
					}
					if fails {
						call.Abort()
						rest := harness.ReadAll(t, resp)
						if !strings.Contains(rest, failures[path]) || strings.Contains(rest, ends["/v1/messages"]) || strings.Contains(rest, "[DONE]") {
							t.Errorf("the failure is %q", rest)
						}
						return
					}
					call.Say("one")
					call.Finish("stop")
					if rest := harness.ReadAll(t, resp); !strings.Contains(rest, `"one"`) || !strings.HasSuffix(rest, ends[path]) {
						t.Errorf("the answer is %q", rest)
					}
				})
			}
		}
	}
}
