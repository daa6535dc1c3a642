package gateway

import (
	"encoding/json"
	"net/http"
	"strings"
	"testing"

	"github.com/tidwall/gjson"

	"github.com/caddy-chat/caddy-chat/integration/harness"
)

const responsesPath = "/v1/responses"

// TestResponses asks a provider of chat completions through OpenAI's Responses API.
func TestResponses(t *testing.T) {
	up := harness.NewUpstream(t, harness.Echoes)
	c := harness.Start(t, harness.GatewayTenants, harness.GatewaySite(up))
	cl := harness.NewClient(c, "globex", "ann")
	body := map[string]any{
		"model": "fast", "input": "hi", "instructions": "be kind",
		"tools": []any{map[string]any{"type": "web_search"}, map[string]any{"type": "function", "name": "f"}},
	}

	resp := cl.Do(http.MethodPost, responsesPath, body)
	got := gjson.Parse(harness.ReadAll(t, resp))
	if got.Get("object").Str != "response" || got.Get("status").Str != "completed" || got.Get("output.0.content.0.text").Str != "re: hi" {
		t.Errorf("the document is %s", got.Raw)
	}
	if in, want := got.Get("usage.input_tokens").Int(), int64(harness.UpstreamTokensIn); in != want {
		t.Errorf("usage of %d input tokens, want %d", in, want)
	}
	if dropped := resp.Header.Get("X-Ai-Dropped"); dropped != "tools.web_search" {
		t.Errorf("dropped %q", dropped)
	}
	if got := gjson.Get(up.Last().Body, "messages.0.content").Str; got != "be kind" {
		t.Errorf("the upstream was asked %s", up.Last().Body)
	}

	body["stream"] = true
	events := harness.ReadAll(t, cl.Do(http.MethodPost, responsesPath, body))
	for _, want := range []string{"event: response.created\n", `"delta":"re: hi"`, "event: response.output_item.done\n", "event: response.completed\n"} {
		if !strings.Contains(events, want) {
			t.Errorf("no %q in the stream:\n%s", want, events)
		}
	}
	if strings.Contains(events, "[DONE]") || strings.Contains(events, "chat.completion.chunk") {
		t.Errorf("events of chat completions in the stream:\n%s", events)
	}
}

// TestResponsesRefused names the member at fault, as the client has sent it.
func TestResponsesRefused(t *testing.T) {
	up := harness.NewUpstream(t, harness.Echoes)
	c := harness.Start(t, harness.GatewayTenants, harness.GatewaySite(up))
	cl := harness.NewClient(c, "globex", "ann")
	for body, param := range map[string]string{
		`{}`:                                   "input",
		`{"input":[]}`:                         "input",
		`{"input":"hi","max_output_tokens":0}`: "max_output_tokens",
		`{"input":"hi","previous_response_id":"resp_1"}`:                                        "previous_response_id",
		`{"input":"hi","conversation":"conv_1"}`:                                                "conversation",
		`{"input":"hi","tool_choice":{"type":"web_search"},"tools":[{"type":"web_search"}]}`:    "tool_choice.type",
		`{"input":"hi","text":{"format":{"type":"xml"}}}`:                                       "text.format.type",
		`{"input":[{"role":"user","content":[{"type":"text","text":"a"},{"type":"video"}]}]}`:   "input.0.content.1.type",
		`{"input":[{"role":"user","content":"a"},{"type":"function_call_output","output":""}]}`: "input.1.call_id",
		`{"store":false,"input":[{"type":"item_reference","id":"msg_1"}]}`:                      "input.0.type",
		`{"input":"hi","tools":[{"type":"function"}]}`:                                          "tools.0.name",
	} {
		resp := cl.Do(http.MethodPost, responsesPath, json.RawMessage(body))
		got := gjson.Parse(harness.ReadAll(t, resp))
		if resp.StatusCode != http.StatusBadRequest || got.Get("error.param").Str != param || got.Get("error.message").Str == "" {
			t.Errorf("%s: %d %s, want an error of %s", body, resp.StatusCode, got.Raw, param)
		}
	}
}

// TestResponsesReasoningReference leaves out reasoning that is only referred to, as the
// AI SDK does with calls of tools.
func TestResponsesReasoningReference(t *testing.T) {
	up := harness.NewUpstream(t, harness.Says(9, 1, "done"))
	c := harness.Start(t, harness.GatewayTenants, harness.GatewaySite(up))
	resp := harness.NewClient(c, "globex", "ann").Do(http.MethodPost, responsesPath, `{"model":"fast","store":false,"input":[{"role":"user","content":"hi"},
		{"type":"item_reference","id":"rs_1"},{"type":"function_call","call_id":"c","name":"f","arguments":"{}"},{"type":"function_call_output","call_id":"c","output":"x"}]}`)
	body := harness.ReadAll(t, resp)
	if got := up.Last().Messages(); resp.StatusCode != http.StatusOK || len(got) != 3 {
		t.Errorf("%d %s, the provider got %q", resp.StatusCode, body, got)
	}
	if got := resp.Header.Get("X-Ai-Dropped"); got != "input.item_reference" {
		t.Errorf("X-Ai-Dropped is %q", got)
	}
}

// TestResponsesFail breaks off within a stream. The event "error" is what most clients
// raise an error for: to some of them response.failed alone looks like a whole answer.
func TestResponsesFail(t *testing.T) {
	up := harness.NewUpstream(t, harness.Steps(harness.Begins("half "), harness.Reset))
	c := harness.Start(t, harness.GatewayTenants, harness.GatewaySite(up))
	cl := harness.NewClient(c, "globex", "ann")
	events := harness.ReadAll(t, cl.Do(http.MethodPost, responsesPath, map[string]any{"model": "fast", "input": "hi", "stream": true}))
	list := strings.Split(events, "data: ")
	failed, last := gjson.Parse(list[max(0, len(list)-2)]), gjson.Parse(list[len(list)-1])
	if last.Get("type").Str != "response.failed" || last.Get("response.error.code").Str != "ai_error" || last.Get("response.status").Str != "failed" {
		t.Errorf("the stream is\n%s", events)
	}
	if failed.Get("type").Str != "error" || failed.Get("error.code").Str != "ai_error" || failed.Get("error.message").Str == "" ||
		failed.Get("sequence_number").Int()+1 != last.Get("sequence_number").Int() {
		t.Errorf("the event before the last is %s", failed.Raw)
	}
}

// TestResponsesWebSocket refuses an attempt to open a WebSocket, so that clients use
// POST.
func TestResponsesWebSocket(t *testing.T) {
	up := harness.NewUpstream(t, harness.Echoes)
	c := harness.Start(t, harness.GatewayTenants, harness.GatewaySite(up))
	resp := harness.NewClient(c, "globex", "ann").Do(http.MethodGet, responsesPath, nil,
		"Connection", "Upgrade", "Upgrade", "websocket", "Sec-WebSocket-Version", "13", "Sec-WebSocket-Key", "AAAAAAAAAAAAAAAAAAAAAA==")
	if body := harness.ReadAll(t, resp); resp.StatusCode != http.StatusMethodNotAllowed || resp.Header.Get("Allow") != http.MethodPost {
		t.Errorf("%d, Allow %q: %s", resp.StatusCode, resp.Header.Get("Allow"), body)
	}
}

// TestResponsesHaveNoWebSocket has agents try it before they post.
func TestResponsesHaveNoWebSocket(t *testing.T) {
	up := harness.NewUpstream(t, harness.Echoes)
	for name, more := range map[string]string{"alone": "", "with sessions": "chat_session\n"} {
		t.Run(name, func(t *testing.T) {
			c := harness.Start(t, harness.GatewayTenants, "tenant_resolve\n"+more+"ai_gateway {\nprovider openai {\nbase_url "+up.URL+"\n}\n}\n")
			harness.Refusal{
				Method: http.MethodGet, Path: responsesPath, Tenant: "globex",
				Header: []string{"Connection", "Upgrade", "Upgrade", "websocket", "Sec-WebSocket-Version", "13", "Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ==", "OpenAI-Beta", "responses_websockets=2026-02-06"},
				Status: 405, Code: "method_not_allowed", Head: map[string]string{"Allow": "POST", "Content-Type": "application/json"},
			}.Check(t, c)
		})
	}
}
