package gateway

import (
	"net/http"
	"strings"
	"testing"

	"github.com/tidwall/gjson"

	"github.com/caddy-chat/caddy-chat/integration/harness"
)

// TestResponsesAtCompletions has bodies in the shape of Responses at the route of chat
// completions, as some editors send them. The answer has the shape of the route.
func TestResponsesAtCompletions(t *testing.T) {
	up := harness.NewUpstream(t, harness.Echoes)
	c := harness.Start(t, harness.GatewayTenants, harness.GatewaySite(up))
	cl := harness.NewClient(c, "globex", "ann")
	const function = `{"type":"function","function":{"name":"look_up","description":"looks","parameters":{"type":"object"},"strict":true}}`
	const flat = `{"type":"function","name":"look_up","description":"looks","parameters":{"type":"object"},"strict":true}`
	for name, tc := range map[string]struct{ body, messages, tools, dropped string }{
		"input": {
			`{"model":"fast","instructions":"be kind","input":[{"role":"user","content":[{"type":"input_text","text":"hi"}]}],"tools":[` + flat + `,{"type":"web_search"}],"include":["reasoning.encrypted_content"],"store":false`,
			`[{"role":"system","content":"be kind"},{"role":"user","content":"hi"}]`, "[" + function + "]", "tools.web_search",
		},
		"a text": {`{"model":"fast","input":"hi"`, `[{"role":"user","content":"hi"}]`, "", ""},
		"flat tools": {
			`{"model":"fast","messages":[{"role":"user","content":"\u0068i"}],"tools":[` + flat + `, {"type":"function","function":{"name":"other"}}],"n":1,"tool_choice":{"type":"function","name":"look_up"}`,
			`[{"role":"user","content":"\u0068i"}]`, "[" + function + `, {"type":"function","function":{"name":"other"}}]`, "",
		},
	} {
		for _, session := range []string{"", harness.NewSession()} {
			t.Run(strings.TrimSpace(name+" "+session), func(t *testing.T) {
				var header []string
				if session != "" {
					header = []string{"X-Session-Id", session}
				}
				resp := cl.Do(http.MethodPost, "/v1/chat/completions", tc.body+"}", header...)
				got := gjson.Parse(harness.ReadAll(t, resp))
				if got.Get("object").Str != "chat.completion" || !strings.HasPrefix(got.Get("choices.0.message.content").Str, "re: hi") {
					t.Errorf("the answer is %s", got.Raw)
				}
				if d := resp.Header.Get("X-Ai-Dropped"); d != tc.dropped {
					t.Errorf("left out is %q, want %q", d, tc.dropped)
				}
				asked := up.Last()
				if asked.Get("messages").Raw != tc.messages || asked.Get("tools").Raw != tc.tools || asked.Get("input").Exists() {
					t.Errorf("the upstream got %s", asked.Body)
				}
				if choice := asked.Get("tool_choice"); choice.Exists() && choice.Get("function.name").Str != "look_up" {
					t.Errorf("the upstream got the choice %s", choice.Raw)
				}
				stream := harness.ReadAll(t, cl.Do(http.MethodPost, "/v1/chat/completions", tc.body+`,"stream":true,"stream_options":{"include_usage":true}}`, header...))
				if !strings.Contains(stream, `"chat.completion.chunk"`) || !strings.Contains(stream, `"usage":{`) || !strings.HasSuffix(stream, "data: [DONE]\n\n") {
					t.Errorf("the stream is %s", stream)
				}
			})
		}
	}
	harness.Refusal{
		Method: http.MethodPost, Path: "/v1/chat/completions", Tenant: "globex", Body: `{"model":"fast","input":"hi","previous_response_id":"resp_1"}`,
		Status: 400, Code: "invalid_request",
	}.Check(t, c)
	harness.Refusal{
		Method: http.MethodPost, Path: "/v1/chat/completions", Tenant: "globex", Body: `{"model":"fast"}`,
		Status: 400, Code: "invalid_request",
	}.Check(t, c)
}
