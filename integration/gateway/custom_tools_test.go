package gateway

import (
	"net/http"
	"strings"
	"testing"

	"github.com/tidwall/gjson"

	"github.com/caddy-chat/caddy-chat/integration/harness"
)

// TestCustomTools has custom tools in the shapes of chat completions and of Responses at chat
// completions. Where a server only has functions, the client gets calls of its custom tools
// nevertheless.
func TestCustomTools(t *testing.T) {
	t.Parallel()
	up := harness.NewUpstream(t)
	cl := harness.NewClient(harness.Start(t, "", typesSite(up)), "", "")
	const (
		flat     = `"tools":[{"type":"custom","name":"sh","description":"runs","format":{"type":"grammar","syntax":"lark","definition":"start: x"}}],"tool_choice":{"type":"custom","name":"sh"}`
		nested   = `"tools":[{"type":"custom","custom":{"name":"sh","description":"runs","format":{"type":"grammar","grammar":{"syntax":"lark","definition":"start: x"}}}}],"tool_choice":{"type":"custom","custom":{"name":"sh"}}`
		question = `"messages":[{"role":"user","content":"hi"},{"role":"assistant","content":null,"tool_calls":[{"id":"a","type":"custom","custom":{"name":"sh","input":"ls"}}]},{"role":"tool","tool_call_id":"a","content":"x"}]`
		input    = `"input":[{"role":"user","content":"hi"},{"type":"custom_tool_call","call_id":"a","name":"sh","input":"ls"},{"type":"custom_tool_call_output","call_id":"a","output":"x"}]`
		called   = `{"id":"x","object":"chat.completion","model":"up","choices":[{"index":0,"message":{"role":"assistant","content":null,"tool_calls":[{"id":"c","type":"function","function":{"name":"sh","arguments":"{\"input\":\"pwd\"}"}}]},"finish_reason":"tool_calls"}],"usage":{"prompt_tokens":9,"completion_tokens":5,"total_tokens":14}}`
		used     = `{"id":"m","type":"message","role":"assistant","model":"up","content":[{"type":"tool_use","id":"c","name":"sh","input":{"input":"pwd"}}],"stop_reason":"tool_use","usage":{"input_tokens":9,"output_tokens":5}}`
	)
	streamed := harness.SendsOf(func(w harness.Wire) []string {
		return []string{w.Role(), w.Tool(0, "c", "sh", `{"input":`), w.Event(`{"tool_calls":[{"index":0,"function":{"arguments":"\"pwd\"}"}}]}`, ""), w.Finish("tool_calls"), w.Usage(9, 5), harness.EndMark}
	})
	for _, tc := range []struct{ name, model, body, answer, tool, call string }{
		{"flat", "openai", question + "," + flat, called, "tools.0.function.name", "messages.1.tool_calls.0.function.arguments"},
		{"flat, with input", "openai", input + "," + flat, called, "tools.0.function.name", "messages.1.tool_calls.0.function.arguments"},
		{"flat, at Claude", "anthropic", question + "," + flat, used, "tools.0.name", "messages.1.content.0.input.input"},
		{"nested, at Claude", "anthropic", question + "," + nested, used, "tools.0.name", "messages.1.content.0.input.input"},
	} {
		for _, session := range []bool{false, true} {
			t.Run(tc.name, func(t *testing.T) {
				var header []string
				if session {
					header = []string{"X-Session-Id", harness.NewSession()}
				}
				up := up.For(t)
				up.Plays(harness.Document(http.StatusOK, tc.answer))
				text := harness.ReadAll(t, cl.Do(http.MethodPost, harness.CompletionsPath, `{"model":"`+tc.model+`",`+tc.body+`}`, header...))
				want := `{"id":"c","type":"custom","custom":{"name":"sh","input":"pwd"}}`
				if got := gjson.Get(text, "choices.0.message.tool_calls.0").Raw; got != want {
					t.Errorf("the call is %s: %s", got, text)
				}
				if sent := up.Last(); sent.Get(tc.tool).Str != "sh" || !strings.Contains(sent.Get(tc.call).String(), "ls") || strings.Contains(sent.Body, `"custom"`) {
					t.Errorf("the upstream got %s", sent.Body)
				}
				if tc.model != "openai" {
					return
				}
				up.Plays(streamed)
				a := cl.Complete(`{"model":"openai","stream":true,` + tc.body + `}`)
				if all := strings.Join(a.Frames, "\n"); !strings.Contains(all, `{"index":0,"id":"c","type":"custom","custom":{"name":"sh","input":""}}`) || !strings.Contains(all, `{"index":0,"custom":{"input":"pwd"}}`) || strings.Contains(all, `"function"`) {
					t.Errorf("the stream is %s", all)
				}
			})
		}
	}
	t.Run("nested, at a server of the same API", func(t *testing.T) {
		up.For(t).Plays(harness.Document(http.StatusOK, harness.WholeAnswer))
		harness.ReadAll(t, cl.Do(http.MethodPost, harness.CompletionsPath, `{"model":"openai",`+question+`,`+nested+`}`))
		if sent := up.Last().Body; !strings.Contains(sent, nested) || !strings.Contains(sent, question) {
			t.Errorf("the upstream got %s", sent)
		}
	})
}
