package gateway

import (
	"net/http"
	"strings"
	"testing"

	"github.com/tidwall/gjson"

	"github.com/caddy-chat/caddy-chat/integration/harness"
)

// TestHistories: a conversation that one provider took goes on with the next,
// whatever has happened in it.
func TestHistories(t *testing.T) {
	t.Parallel()
	up := harness.NewUpstream(t)
	cl := harness.NewClient(harness.Start(t, "", typesSite(up)), "", "")
	const (
		question = `{"role":"user","content":"hi"}`
		cut      = `{"role":"assistant","content":null,"tool_calls":[{"id":"call_0","type":"function","function":{"name":"7zip_extract","arguments":"{\"cmd\": \"cut off"}}]}`
		result   = `{"role":"tool","tool_call_id":"call_0","content":"first"}`
		again    = `{"role":"assistant","content":null,"tool_calls":[{"id":"call_0","type":"function","function":{"name":"g","arguments":"{\"a\":1}"}}]}`
		second   = `{"role":"tool","tool_call_id":"call_0","content":"second"}`
		lost     = `{"role":"tool","tool_call_id":"gone","content":"third"}`
		tools    = `"tools":[{"type":"function","function":{"name":"7zip_extract"}},{"type":"function","function":{"name":"g"}}]`
	)
	body := `{"messages":[` + question + `,` + cut + `,` + result + `,` + again + `,` + second + `,` + lost + `],` + tools
	for _, tc := range []struct {
		typ     string
		streams bool
		answer  string   // a call of the first tool, as the provider's server writes it
		paths   []string // of what the server has to see, with the value behind a space
	}{
		{"anthropic", false, `{"id":"m","type":"message","role":"assistant","model":"up","content":[{"type":"tool_use","id":"t","name":"7zip_extract","input":{"x":1}}],"stop_reason":"tool_use","usage":{"input_tokens":9,"output_tokens":5}}`, []string{
			`messages.1.content.0.text (the arguments of the call of 7zip_extract are not a JSON object: {"cmd": "cut off)`, `messages.1.content.1.input {}`,
			`messages.2.content.0.tool_use_id call_0`, `messages.3.content.0.id call_0_2`, `messages.4.content.0.tool_use_id call_0_2`,
			`messages.4.content.1.text ` + "(the result of an earlier tool call)\n", `messages.4.content.2.text third`,
		}},
		{"anthropic", true, `event: message_start
data: {"type":"message_start","message":{"id":"m","role":"assistant","model":"up","content":[],"usage":{"input_tokens":9}}}

event: content_block_start
data: {"type":"content_block_start","index":0,"content_block":{"type":"tool_use","id":"t","name":"7zip_extract","input":{"x":1}}}

event: message_delta
data: {"type":"message_delta","delta":{"stop_reason":"tool_use"},"usage":{"output_tokens":5}}

event: message_stop
data: {"type":"message_stop"}

`, []string{`messages.1.content.1.input {}`}},
		{"gemini", false, `{"candidates":[{"content":{"role":"model","parts":[{"functionCall":{"name":"_7zip_extract","args":{"x":1}}}]},"finishReason":"STOP"}],"usageMetadata":{"promptTokenCount":9,"candidatesTokenCount":5}}`, []string{
			`contents.1.parts.1.functionCall.name _7zip_extract`, `contents.1.parts.1.functionCall.args {}`, `contents.2.parts.0.functionResponse.name _7zip_extract`,
			`contents.3.parts.0.functionCall.name g`, `contents.4.parts.0.functionResponse.name g`, `contents.4.parts.2.text third`, `tools.0.functionDeclarations.0.name _7zip_extract`,
		}},
		{"gemini", true, `data: {"candidates":[{"content":{"role":"model","parts":[{"functionCall":{"name":"_7zip_extract","args":{"x":1}}}]},"finishReason":"STOP"}],"usageMetadata":{"promptTokenCount":9,"candidatesTokenCount":5}}` + "\n\n", []string{
			`contents.1.parts.1.functionCall.name _7zip_extract`,
		}},
		{"ollama", false, `{"model":"up","message":{"role":"assistant","content":"","tool_calls":[{"function":{"name":"7zip_extract","arguments":{"x":1}}}]},"done":true,"done_reason":"stop","prompt_eval_count":9,"eval_count":5}`, []string{
			`messages.1.tool_calls.0.function.arguments {}`, `messages.2.tool_name 7zip_extract`, `messages.4.tool_name g`, `messages.3.tool_calls.0.id call_0_2`,
		}},
		{"bedrock", false, `{"output":{"message":{"role":"assistant","content":[{"toolUse":{"toolUseId":"t","name":"7zip_extract","input":{"x":1}}}]}},"stopReason":"tool_use","usage":{"inputTokens":9,"outputTokens":5}}`, []string{
			`messages.1.content.1.toolUse.input {}`, `messages.2.content.0.toolResult.toolUseId call_0`, `messages.3.content.0.toolUse.toolUseId call_0_2`, `messages.4.content.0.toolResult.toolUseId call_0_2`,
		}},
	} {
		name := tc.typ
		members := `,"model":"` + tc.typ + `"`
		script := harness.Document(http.StatusOK, tc.answer)
		if tc.streams {
			name, members, script = name+"_stream", members+`,"stream":true`, harness.Sends(tc.answer)
		}
		t.Run(name, func(t *testing.T) {
			up.For(t).Plays(script)
			a := cl.Complete(body + members + "}")
			calls := a.Recorded().ToolCalls
			if a.Status != http.StatusOK || len(calls) != 1 || calls[0].Name != "7zip_extract" || calls[0].Arguments != `{"x":1}` {
				t.Fatalf("status %d, calls %+v: %s", a.Status, calls, strings.Join(a.Frames, "\n"))
			}
			sent := up.Last().Body
			for _, want := range tc.paths {
				path, value, _ := strings.Cut(want, " ")
				if got := gjson.Get(sent, path).String(); got != value {
					t.Errorf("%s: the server saw %q, want %q\n%s", path, got, value, sent)
				}
			}
		})
	}
	t.Run("what is left out is named", func(t *testing.T) {
		up.For(t).Plays(harness.Document(http.StatusOK, `{"model":"up","message":{"role":"assistant","content":"so"},"done":true,"prompt_eval_count":9,"eval_count":5}`))
		resp := cl.Do(http.MethodPost, harness.CompletionsPath, `{"model":"ollama","messages":[`+question+`,{"role":"assistant","content":"so","thinking_blocks":[{"type":"thinking","thinking":"hm","signature":"s"}]},`+question+`]}`)
		if said := harness.ReadAll(t, resp); resp.StatusCode != http.StatusOK || resp.Header.Get("X-Ai-Dropped") != "messages.thinking_blocks" {
			t.Errorf("%d, X-Ai-Dropped %q: %s", resp.StatusCode, resp.Header.Get("X-Ai-Dropped"), said)
		}
	})
}

// TestSessionWithACutCall: a session that holds a call whose arguments were cut
// off goes on, also with another type of provider.
func TestSessionWithACutCall(t *testing.T) {
	t.Parallel()
	up := harness.NewUpstream(t)
	cl := harness.NewClient(harness.Start(t, "", typesSite(up)), "", "")
	session := harness.NewSession()
	up.Plays(harness.Document(http.StatusOK, `{"id":"x","object":"chat.completion","model":"up","choices":[{"index":0,"message":{"role":"assistant","content":null,"tool_calls":[{"id":"call_0","type":"function","function":{"name":"f","arguments":"{\"cmd\": \"cut off"}}]},"finish_reason":"length"}],"usage":{"prompt_tokens":9,"completion_tokens":5,"total_tokens":14}}`))
	first := cl.Do(http.MethodPost, harness.CompletionsPath, `{"model":"openai","messages":[{"role":"user","content":"hi"}]}`, "X-Session-Id", session)
	if said := harness.ReadAll(t, first); first.StatusCode != http.StatusOK {
		t.Fatalf("%d %s", first.StatusCode, said)
	}
	up.Plays(harness.Document(http.StatusOK, `{"id":"m","type":"message","role":"assistant","model":"up","content":[{"type":"text","text":"so"}],"stop_reason":"end_turn","usage":{"input_tokens":9,"output_tokens":5}}`))
	next := cl.Do(http.MethodPost, harness.CompletionsPath, `{"model":"anthropic","messages":[{"role":"tool","tool_call_id":"call_0","content":"bad arguments"},{"role":"user","content":"go on"}]}`, "X-Session-Id", session)
	if said := harness.ReadAll(t, next); next.StatusCode != http.StatusOK {
		t.Fatalf("%d %s", next.StatusCode, said)
	}
	sent := gjson.Parse(up.Last().Body)
	if sent.Get("messages.1.content.#(type==tool_use).input").Raw != "{}" || !strings.Contains(sent.Get("messages.1.content.0.text").Str, "cut off") ||
		sent.Get("messages.2.content.0.type").Str != "tool_result" || sent.Get("messages.2.content.1.text").Str != "go on" {
		t.Errorf("the server saw %s", sent)
	}
}
