package gateway

import (
	"encoding/base64"
	"net/http"
	"strings"
	"testing"

	"github.com/tidwall/gjson"
	"github.com/tidwall/sjson"

	"github.com/caddy-chat/caddy-chat/integration/harness"
)

// The answers of models that think, unsigned, before they call a tool.
const (
	ollamaThinks = `{"model":"up","message":{"role":"assistant","content":"","thinking":"deep","tool_calls":[{"function":{"name":"f","arguments":{}}}]},"done":true,"done_reason":"stop","prompt_eval_count":9,"eval_count":5}`
	openAIThinks = `{"id":"c","object":"chat.completion","created":1,"model":"up","choices":[{"index":0,"message":{"role":"assistant","content":null,"reasoning_content":"deep","tool_calls":[{"id":"c","type":"function","function":{"name":"f","arguments":"{}"}}]},"finish_reason":"tool_calls"}],"usage":{"prompt_tokens":9,"completion_tokens":5,"total_tokens":14}}`
	ollamaSays   = `{"model":"up","message":{"role":"assistant","content":"so"},"done":true,"done_reason":"stop","prompt_eval_count":9,"eval_count":5}`
)

// following are the requests that give an answer back with the result of its call.
var following = map[string]struct{ first, next, answered, call, result string }{
	harness.CompletionsPath: {
		`{"messages":[{"role":"user","content":"hi"}]}`, "messages", "choices.0.message", "choices.0.message.tool_calls.0.id",
		`{"role":"tool","tool_call_id":"ID","content":"sun"}`,
	},
	"/v1/messages": {
		`{"max_tokens":9,"messages":[{"role":"user","content":"hi"}]}`, "messages", "", "content.#(type==tool_use).id",
		`{"role":"user","content":[{"type":"tool_result","tool_use_id":"ID","content":"sun"}]}`,
	},
	"/v1/responses": {
		`{"store":false,"include":["reasoning.encrypted_content"],"input":[{"role":"user","content":"hi"}]}`, "input", "output", "output.#(type==function_call).call_id",
		`{"type":"function_call_output","call_id":"ID","output":"sun"}`,
	},
}

// TestReadableReasoning: what a model has thought goes back to this model alone, wherever it
// runs, and no other is given it as its own.
func TestReadableReasoning(t *testing.T) {
	t.Parallel()
	up := harness.NewUpstream(t)
	cl := harness.NewClient(harness.Start(t, "", typesSite(up)), "", "")
	says := map[string]string{"ollama": ollamaSays, "openai": harness.WholeAnswer, "cloudflare": harness.WholeAnswer}
	for _, by := range []struct{ name, answer string }{{"ollama/up", ollamaThinks}, {"openai/up", openAIThinks}} {
		for path, f := range following {
			for _, remembered := range []bool{false, true} {
				for _, to := range []struct {
					model string
					own   bool
				}{{"ollama/up", true}, {"openai/up", true}, {"ollama/other", false}, {"openai/other", false}, {"cloudflare/other", false}} {
					name := by.name + path + " to " + to.model
					var header []string
					if remembered {
						header = []string{"X-Session-Id", harness.NewSession()}
						name += ", in a session"
					}
					t.Run(name, func(t *testing.T) {
						up.Plays(harness.Document(http.StatusOK, by.answer))
						resp := cl.Do(http.MethodPost, path, set(t, f.first, "model", `"`+by.name+`"`), header...)
						answer := gjson.Parse(harness.ReadAll(t, resp))
						if resp.StatusCode != http.StatusOK {
							t.Fatal(answer)
						}
						next := set(t, f.first, "model", `"`+to.model+`"`)
						result := strings.Replace(f.result, "ID", answer.Get(f.call).Str, 1)
						if remembered {
							next = set(t, next, f.next, "["+result+"]")
						} else {
							next = set(t, next, f.next, begunWith(gjson.Get(f.first, f.next), answer, f.answered)+result+"]")
						}
						provider, _, _ := strings.Cut(to.model, "/")
						up.Plays(harness.Document(http.StatusOK, says[provider]))
						resp = cl.Do(http.MethodPost, path, next, header...)
						if text := harness.ReadAll(t, resp); resp.StatusCode != http.StatusOK {
							t.Fatalf("%d %s", resp.StatusCode, text)
						}
						sent, dropped, named := up.Last().Body, resp.Header.Get("X-Ai-Dropped"), "messages.reasoning_content"
						if path == "/v1/responses" {
							named = "input.reasoning"
						}
						if strings.Contains(sent, "deep") != to.own || strings.Contains(dropped, named) == to.own {
							t.Errorf("X-Ai-Dropped is %q, and the upstream got %s", dropped, sent)
						}
						if strings.Contains(sent, "extra_content") || strings.Contains(sent, "cch1_") {
							t.Errorf("the upstream got what it does not know: %s", sent)
						}
					})
				}
			}
		}
	}
}

// set sets a member of a request.
func set(t *testing.T, body, name, value string) string {
	t.Helper()
	with, err := sjson.SetRaw(body, name, value)
	if err != nil {
		t.Fatal(err)
	}
	return with
}

// begunWith returns the beginning of a list with what was asked and answered.
func begunWith(asked, answer gjson.Result, at string) string {
	list := "[" + asked.Get("0").Raw + ","
	switch v := answer.Get(at); {
	case at == "":
		return list + `{"role":"assistant","content":` + answer.Get("content").Raw + "},"
	case v.IsArray():
		return list + strings.Trim(v.Raw, "[]") + ","
	default:
		return list + v.Raw + ","
	}
}

// TestMissingReasoning: a server that wants reasoning in all messages of its model gets a
// word in its place from where another one has answered.
func TestMissingReasoning(t *testing.T) {
	t.Parallel()
	for _, message := range []string{
		"Missing `reasoning_content` field in the assistant message at message index 1.", // DeepSeek's
		"The `reasoning_content` in the thinking mode must be passed back to the API.",
		"thinking is enabled but reasoning_content is missing in assistant tool call message at index 1", // Kimi's
	} {
		up := harness.NewUpstream(t)
		cl := harness.NewClient(harness.Start(t, "", typesSite(up)), "", "")
		up.Plays(harness.Document(http.StatusBadRequest, `{"error":{"type":"invalid_request_error","message":`+harness.Quote(message)+`}}`), harness.Document(http.StatusOK, harness.WholeAnswer))
		resp := cl.Do(http.MethodPost, harness.CompletionsPath, `{"model":"openai","messages":[{"role":"user","content":"hi"},
			{"role":"assistant","content":"so","thinking_blocks":[{"type":"thinking","thinking":"deep","signature":"sig"}]},{"role":"user","content":"and?"}]}`)
		wantDropped(t, resp, "messages.thinking_blocks")
		if got := up.Last().Get("messages.1.reasoning_content").Str; got != "(left out)" {
			t.Errorf("%s: the reasoning is %q", message, got)
		}
	}
}

// TestSealsAtHome continues a conversation at a provider with the client's own API after
// others have answered: it goes as it came, with what such a provider has signed, and without
// what others have thought.
func TestSealsAtHome(t *testing.T) {
	t.Parallel()
	up := harness.NewUpstream(t)
	site := strings.Replace(typesSite(up), "provider openai {", "provider openai {\nresponses on", 1)
	cl := harness.NewClient(harness.Start(t, "", site), "", "")
	seal := func(json string) string { return "cch1_" + base64.RawURLEncoding.EncodeToString([]byte(json)) }
	const reply = `{"id":"resp_1","object":"response","status":"completed","model":"up","output":[{"type":"message","id":"msg_1","role":"assistant","content":[{"type":"output_text","text":"so","annotations":[]}]}],"usage":{"input_tokens":1,"output_tokens":1,"total_tokens":2}}`
	for name, tc := range map[string]struct{ path, body, answer, asked, wants, dropped string }{
		"Claude's own": {
			"/v1/messages", `{"model":"anthropic","max_tokens":9,"new":1.50,"messages":[{"role":"assistant","content":[{"type":"text","text":"so"},{"type":"redacted_thinking","data":"` + seal(`{"blocks":[{"type":"thinking","thinking":"deep","signature":"sig"}]}`) + `"}]},{"role":"user","content":"hi"}]}`,
			claudeSays, "/v1/messages", `"new":1.50,"messages":[{"role":"assistant","content":[{"type":"thinking","thinking":"deep","signature":"sig"},{"type":"text","text":"so"}]}`, "",
		},
		"another's": {
			"/v1/messages", `{"model":"anthropic","max_tokens":9,"new":1.50,"messages":[{"role":"assistant","content":[{"type":"thinking","thinking":"deep","signature":"` + seal(`{"by":"gpt"}`) + `"},{"type":"text","text":"so"}]},{"role":"user","content":"hi"}]}`,
			claudeSays, "/v1/messages", `"new":1.50,"messages":[{"role":"assistant","content":[{"type":"text","text":"so"}]}`, "messages.content.thinking",
		},
		"another's at Responses": {
			"/v1/responses", `{"model":"openai","store":false,"new":1.50,"input":[{"type":"reasoning","summary":[],"encrypted_content":"` + seal(`{"reasoning_content":"deep"}`) + `"},{ "role":"user","content":"hi"}]}`,
			reply, "/responses", `"new":1.50,"input":[{ "role":"user","content":"hi"}]`, "input.reasoning",
		},
	} {
		for _, remembered := range []bool{false, true} {
			t.Run(name, func(t *testing.T) {
				up.Plays(harness.Document(http.StatusOK, tc.answer))
				var header []string
				if remembered {
					header = []string{"X-Session-Id", harness.NewSession()}
				}
				resp := cl.Do(http.MethodPost, tc.path, tc.body, header...)
				if text := harness.ReadAll(t, resp); resp.StatusCode != http.StatusOK {
					t.Fatalf("%d %s", resp.StatusCode, text)
				}
				asked := up.Last()
				if asked.Path != tc.asked || !strings.Contains(asked.Body, tc.wants) || !strings.Contains(resp.Header.Get("X-Ai-Dropped"), tc.dropped) {
					t.Errorf("X-Ai-Dropped is %q, and %s was sent %s", resp.Header.Get("X-Ai-Dropped"), asked.Path, asked.Body)
				}
			})
		}
	}
}
