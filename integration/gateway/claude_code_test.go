package gateway

import (
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/tidwall/gjson"

	"github.com/caddy-chat/caddy-chat/integration/harness"
)

// claudeCode is a request as Claude Code sends it, with MESSAGES in place of the rest
// of the conversation.
const claudeCode = `{"model":"fast","max_tokens":32000,"stream":true,
	"system":[{"type":"text","text":"x-anthropic-billing-header: cc_version=2.1.332.abc; x"},
		{"type":"text","text":"You are Claude Code.","cache_control":{"type":"ephemeral"}},
		{"type":"text","text":"Be brief.","cache_control":{"type":"ephemeral"}}],
	"messages":[{"role":"user","content":[{"type":"text","text":"write a file"}]},
		{"role":"system","content":[{"type":"text","text":"Today is Monday.","cache_control":{"type":"ephemeral"}}]}MESSAGES],
	"tools":[{"name":"Write","description":"Writes.","input_schema":{"$schema":"https://json-schema.org/draft/2020-12/schema","type":"object","properties":{"path":{"type":"string"}},"required":["path"],"additionalProperties":false}},
		{"name":"DeferredToolPlaceholder","description":"x","input_schema":{"type":"object","properties":{}},"defer_loading":true},
		{"type":"web_search_20250305","name":"web_search","max_uses":8}],
	"metadata":{"user_id":"{\"device_id\":\"d\",\"account_uuid\":\"\",\"session_id\":\"s\"}"},
	"thinking":{"type":"adaptive","display":"omitted"},
	"context_management":{"edits":[{"type":"clear_thinking_20251015","keep":"all"}]},
	"output_config":{"effort":"high"}}`

// TestClaudeCode takes two turns as Claude Code does: a call of a tool, and its result.
// The model is one that wants its reasoning back.
func TestClaudeCode(t *testing.T) {
	up := harness.NewUpstream(t, harness.SendsOf(func(w harness.Wire) []string {
		return []string{
			w.Role(), w.Event(`{"reasoning_content":"A file "}`, ""), w.Event(`{"reasoning_content":"it is."}`, ""), w.Text("Writing."),
			w.Tool(0, "call_1", "Write", `{"path":`), w.Event(`{"tool_calls":[{"index":0,"function":{"arguments":"\"a\"}"}}]}`, ""),
			w.Finish("tool_calls"), w.Usage(100, 20), harness.EndMark,
		}
	}), harness.Says(130, 2, "Done."))
	c := harness.Start(t, harness.GatewayTenants, harness.GatewaySite(up))
	cl := harness.NewClient(c, "globex", "ann")
	ask := func(messages string) string {
		resp := cl.Do(http.MethodPost, "/v1/messages?beta=true", strings.Replace(claudeCode, "MESSAGES", messages, 1),
			"Anthropic-Version", "2023-06-01", "Anthropic-Beta", "claude-code-20250219,interleaved-thinking-2025-05-14")
		events := harness.ReadAll(t, resp)
		if resp.StatusCode != http.StatusOK || !strings.HasSuffix(events, "event: message_stop\ndata: {\"type\":\"message_stop\"}\n\n") {
			t.Fatalf("%d %s", resp.StatusCode, events)
		}
		dropped := strings.Split(resp.Header.Get("X-Ai-Dropped"), ", ")
		slices.Sort(dropped)
		dropped = slices.DeleteFunc(dropped, func(name string) bool { return strings.HasSuffix(name, ".cache_control") })
		if !slices.Equal(dropped, []string{
			"anthropic-beta", "context_management", "metadata.user_id", "system.x-anthropic-billing-header",
			"thinking.display", "tools.defer_loading", "tools.web_search_20250305",
		}) {
			t.Errorf("X-Ai-Dropped is %q", dropped)
		}
		return events
	}

	events := ask("")
	wantNothingOfAnthropic(t, up.Last())
	if got := up.Last(); got.Get("tools.#").Int() != 1 || got.Get("tools.0.function.name").Str != "Write" || got.Get("reasoning_effort").Str != "high" || got.Get("user").Exists() || got.Get("messages.#").Int() != 3 {
		t.Errorf("upstream got %s", got.Body)
	}
	for _, want := range []string{`"thinking":"it is."`, `"type":"tool_use","id":"call_1","name":"Write"`, `"partial_json":"{\"path\":"`, `"stop_reason":"tool_use"`, `"output_tokens":20`} {
		if !strings.Contains(events, want) {
			t.Errorf("no %s in\n%s", want, events)
		}
	}

	_, rest, _ := strings.Cut(events, `"type":"signature_delta","signature":"`)
	signature, _, _ := strings.Cut(rest, `"`)
	events = ask(`,{"role":"assistant","content":[{"type":"thinking","thinking":"A file it is.","signature":"` + signature + `"},{"type":"text","text":"Writing."},
		{"type":"tool_use","id":"call_1","name":"Write","input":{"path":"a"}}]},
		{"role":"user","content":[{"type":"tool_result","tool_use_id":"call_1","content":"written","is_error":false,"cache_control":{"type":"ephemeral"}}]}`)
	if !strings.Contains(events, `"text":"Done."`) {
		t.Errorf("the answer is\n%s", events)
	}
	got := up.Last()
	wantNothingOfAnthropic(t, got)
	turn := gjson.Get(got.Body, "messages.@reverse.1")
	if turn.Get("reasoning_content").Str != "A file it is." || turn.Get("content").Str != "Writing." || turn.Get("tool_calls.0.function.arguments").Str != `{"path":"a"}` ||
		gjson.Get(got.Body, "messages.@reverse.0").Raw != `{"role":"tool","content":"written","tool_call_id":"call_1"}` {
		t.Errorf("upstream got %s", got.Body)
	}
}

// wantNothingOfAnthropic looks for members that servers of chat completions refuse.
func wantNothingOfAnthropic(t *testing.T, got harness.Asked) {
	t.Helper()
	for _, name := range []string{"cache_control", "thinking_blocks", `"thinking"`, "context_management", "billing", "defer_loading", "output_config", "metadata", "is_error"} {
		if strings.Contains(got.Body, name) {
			t.Errorf("upstream got %s:\n%s", name, got.Body)
		}
	}
}
