package gateway

import (
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/tidwall/gjson"

	"github.com/caddy-chat/caddy-chat/integration/harness"
)

// TestRefusedInTheClientsWords has requests of other APIs refused because of what they were
// made into: the error names what the client has sent.
func TestRefusedInTheClientsWords(t *testing.T) {
	t.Parallel()
	up := harness.NewUpstream(t)
	cl := harness.NewClient(harness.Start(t, harness.PlainTenants, typesSite(up)), "acme", "ann")
	const (
		messages   = `"max_tokens":9,"messages":[{"role":"user","content":[{"type":"text","text":"a"},%s]}]`
		byURL      = `{"type":"document","source":{"type":"url","url":"https://x.test/z.pdf"}}`
		imageByURL = `{"type":"image","source":{"type":"url","url":"https://x.test/z.png"}}`
		items      = `"store":%v,"input":[{"role":"user","content":[{"type":"input_file","file_url":"https://x.test/z.pdf"}]}]`
	)
	for _, tc := range []struct{ path, model, body, param string }{
		{"/v1/messages", "openai", fmt.Sprintf(messages, byURL), "messages"},
		{"/v1/messages", "ollama", fmt.Sprintf(messages, imageByURL), "messages"},
		{"/v1/messages", "ollama", `"max_tokens":9,"messages":[{"role":"user","content":"hi"}],"tools":[{"name":"f","input_schema":{"type":"object"}}],"tool_choice":{"type":"any"}`, "tool_choice"},
		{"/v1/messages", "gemini", `"max_tokens":9,"messages":[{"role":"user","content":"hi"}],"stop_sequences":["1","2","3","4","5","6"]`, "stop_sequences"},
		{"/v1/responses", "openai", fmt.Sprintf(items, false), "input"},
		{"/v1/responses", "openai", fmt.Sprintf(items, true), "input"},
		{"/v1/responses", "anthropic", `"store":false,"input":"hi","text":{"format":{"type":"json_object"}}`, "text.format"},
		{"/v1/responses", "anthropic", `"input":"hi","text":{"format":{"type":"json_object"}}`, "text.format"},
		{"/v1/responses", "ollama", `"store":false,"input":"hi","reasoning":{"effort":"huge"}`, "reasoning.effort"},
		{harness.CompletionsPath, "ollama", `"messages":[{"role":"user","content":"hi"}],"reasoning_effort":"huge"`, "reasoning_effort"},
		{harness.CompletionsPath, "openai", `"input":"hi","tools":"x"`, "tools"},
	} {
		resp := cl.Do(http.MethodPost, tc.path, `{"model":"`+tc.model+`",`+tc.body+`}`)
		got := harness.ReadAll(t, resp)
		said := gjson.Get(got, "error.message").Str
		if resp.StatusCode != http.StatusBadRequest || !strings.HasPrefix(said, tc.param+": ") {
			t.Errorf("%s at %s: %d %s, want %s", tc.path, tc.model, resp.StatusCode, got, tc.param)
		}
		if param := gjson.Get(got, "error.param"); tc.path != "/v1/messages" && param.Str != tc.param {
			t.Errorf("%s at %s: the param is %s", tc.path, tc.model, param.Raw)
		}
	}
	// what a server says of its request is not about the client's
	for path, body := range map[string]string{"/v1/responses": `"store":false,"input":"hi","max_output_tokens":99`, harness.CompletionsPath: `"messages":[{"role":"user","content":"hi"}],"max_tokens":99`} {
		up.Plays(harness.Document(http.StatusBadRequest, `{"error":{"message":"too few","type":"invalid_request_error","param":"max_tokens"}}`))
		got := harness.ReadAll(t, cl.Do(http.MethodPost, path, `{"model":"openai",`+body+`}`))
		want := "max_tokens"
		if path == "/v1/responses" {
			want = "max_output_tokens"
		}
		if gjson.Get(got, "error.param").Str != want {
			t.Errorf("%s: %s, want %s", path, got, want)
		}
	}
	if up.Count() != 2 {
		t.Errorf("%d calls", up.Count())
	}
}
