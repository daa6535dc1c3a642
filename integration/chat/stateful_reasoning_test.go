package chat

import (
	"strings"
	"testing"

	"github.com/tidwall/gjson"

	"github.com/caddy-chat/caddy-chat/integration/harness"
)

// think answers with a call of a model that thinks, in pieces if it streams.
func think(c *harness.HeldCall) {
	c.T.Helper()
	const signed = `"thinking_blocks":[{"type":"thinking","thinking":"hm, a bear?","signature":"sig"}],"reasoning_details":[{"type":"reasoning.text","text":"hm","index":0,"signature":"s2"}]`
	if !gjson.Get(c.Body, "stream").Bool() {
		c.Document(harness.WholeOf(`{"role":"assistant","content":null,"reasoning_content":"hm, a bear?",`+signed+`,"tool_calls":[`+callA+`]}`, "tool_calls"))
		return
	}
	c.Event(harness.ChunkOf(`{"role":"assistant","content":""}`))
	c.Stream(
		harness.ChunkOf(`{"reasoning_content":"hm, "}`),
		harness.ChunkOf(`{"reasoning_content":"a "}`),
		harness.ChunkOf(`{"reasoning_content":"bear?","reasoning_details":[{"type":"reasoning.text","text":"h","index":0}]}`),
		harness.ChunkOf(`{"reasoning_details":[{"type":"reasoning.text","text":"m","index":0,"signature":"s2"}]}`),
		harness.ChunkOf(`{"thinking_blocks":[{"type":"thinking","thinking":"hm, ","signature":""}]}`),
		harness.ChunkOf(`{"thinking_blocks":[{"type":"thinking","thinking":"a bear?","signature":"sig"}]}`),
		harness.ChunkOf(`{"tool_calls":[{"index":0,"id":"call_a","type":"function","function":{"name":"look","arguments":"{\"at\":"}}]}`),
		harness.ChunkOf(`{"tool_calls":[{"index":0,"id":"call_a","type":"function","function":{"name":"look","arguments":"\"<b>\"}"}}]}`),
		harness.EndOf("tool_calls"),
	)
}

// thinkAndSay answers with reasoning and text.
func thinkAndSay(c *harness.HeldCall, thought, text string) {
	c.T.Helper()
	if !gjson.Get(c.Body, "stream").Bool() {
		c.Document(harness.WholeOf(`{"role":"assistant","content":`+harness.Quote(text)+`,"reasoning_content":`+harness.Quote(thought)+`}`, "stop"))
		return
	}
	c.Event(harness.ChunkOf(`{"role":"assistant","reasoning_content":` + harness.Quote(thought[:1]) + `}`))
	c.Stream(
		harness.ChunkOf(`{"reasoning_content":`+harness.Quote(thought[1:])+`}`),
		harness.ChunkOf(`{"content":`+harness.Quote(text)+`}`),
		harness.EndOf("stop"),
	)
}

// TestStatefulReasoning: DeepSeek, Kimi and Claude refuse the result of a tool if
// the reasoning that led to the call does not come back.
func TestStatefulReasoning(t *testing.T) {
	t.Parallel()
	up := harness.NewUpstream(t)
	claude := strings.Replace(up.Sessions(""), "upstream-fast", "anthropic/claude-fast", 1) // whose blocks no other model wants
	for name, site := range map[string]string{"gateway": claude, "proxy": up.Proxied("")} {
		t.Run(name, func(t *testing.T) {
			ann := harness.NewClient(harness.Start(t, harness.PlainTenants, site), "acme", "ann")
			for _, more := range []string{"", harness.Streamed} {
				t.Run("comes back beside calls"+more, func(t *testing.T) {
					session := harness.NewSession()
					a := ann.Remember(session, harness.UserSays("look around", tools, more))
					think(up.Call())
					a.Whole()

					a = ann.Remember(session, harness.MessagesBody(result("call_a", "a bear"), tools, more))
					call := up.Call()
					want := `{"role":"assistant","content":null,"tool_calls":[` + callA + `],"reasoning_content":"hm, a bear?",
						"reasoning_details":[{"type":"reasoning.text","text":"hm","index":0,"signature":"s2"}],
						"thinking_blocks":[{"type":"thinking","thinking":"hm, a bear?","signature":"sig"}]}`
					if got := call.Messages()[1]; !jsonEqual([]byte(got), want) {
						t.Errorf("the call went along as %s", got)
					}
					thinkAndSay(call, "so it is", "a bear")
					a.Whole()

					a = ann.Remember(session, harness.UserSays("thanks", more))
					call = up.Call()
					if got := call.Messages()[3]; !jsonEqual([]byte(got), `{"role":"assistant","content":"a bear","reasoning_content":"so it is"}`) {
						t.Errorf("the answer to the result went along as %s", got)
					}
					thinkAndSay(call, "polite", "any time")
					a.Whole()

					a = ann.Remember(session, harness.UserSays("bye", more))
					call = up.Call()
					if got := call.Messages()[5]; !jsonEqual([]byte(got), `{"role":"assistant","content":"any time"}`) {
						t.Errorf("an answer without tools went along as %s", got)
					}
					call.Answer("bye")
					a.Whole()
				})
			}
		})
	}
}

// TestStatefulCalls: the calls of servers that write them in a manner of their own
// come back as the client needs them.
func TestStatefulCalls(t *testing.T) {
	t.Parallel()
	const (
		two  = `[{"id":"a","type":"function","function":{"name":"f","arguments":"{}"}},{"id":"b","type":"function","function":{"name":"g","arguments":"{\"x\":1}"}}]`
		file = `[{"id":"a","type":"function","function":{"name":"read_file","arguments":"{\"x\":1}"}}]`
	)
	up := harness.NewUpstream(t)
	for name, site := range map[string]string{"gateway": up.Sessions(""), "proxy": up.Proxied("")} {
		t.Run(name, func(t *testing.T) {
			ann := harness.NewClient(harness.Start(t, harness.PlainTenants, site), "acme", "ann")
			for _, tc := range []struct {
				name   string
				chunks []string
				want   string
			}{
				{"one index for two calls", []string{
					`[{"index":0,"id":"a","type":"function","function":{"name":"f","arguments":"{}"}}]`,
					`[{"index":0,"id":"b","type":"function","function":{"name":"g","arguments":"{\"x\""}}]`,
					`[{"index":0,"function":{"arguments":":1}"}}]`,
				}, two},
				{"the name in every part", []string{
					`[{"index":0,"id":"a","type":"function","function":{"name":"read_file","arguments":"{"}}]`,
					`[{"index":0,"function":{"name":"read_file","arguments":"\"x\""}}]`,
					`[{"index":0,"function":{"name":"read_file","arguments":":1}"}}]`,
				}, file},
				{"arguments that are an object", []string{`[{"index":0,"id":"a","type":"function","function":{"name":"read_file","arguments":{"x": 1}}}]`}, file},
			} {
				t.Run(tc.name, func(t *testing.T) {
					session := harness.NewSession()
					a := ann.Remember(session, harness.UserSays("look around", tools, harness.Streamed))
					call := up.Call()
					call.Event(harness.ChunkOf(`{"role":"assistant","content":null}`))
					events := make([]string, 0, 4)
					for _, c := range tc.chunks {
						events = append(events, harness.ChunkOf(`{"tool_calls":`+c+`}`))
					}
					call.Stream(append(events, harness.EndOf("tool_calls"))...)
					a.Whole()
					if got := toolHistory(ann, session)[1].ToolCalls; !jsonEqual(got, tc.want) {
						t.Errorf("the history has %s", got)
					}
				})
			}
		})
	}
}

// TestStatefulClaude: Claude's thinking goes back to it with the result of the tool,
// signed as it came, and without the tools only the answer does.
func TestStatefulClaude(t *testing.T) {
	t.Parallel()
	up := harness.NewUpstream(t)
	site := "tenant_resolve\nchat_session\nai_gateway {\nprovider anthropic {\nbase_url " + up.URL + "\napi_key k\n}\nmodel fast {\nto anthropic/claude-sonnet-4-5\n}\n}\n"
	ann := harness.NewClient(harness.Start(t, harness.PlainTenants, site), "acme", "ann")
	event := func(data string) string { return "event: " + gjson.Get(data, "type").Str + "\ndata: " + data + "\n\n" }
	const begin = `{"type":"message_start","message":{"id":"m","type":"message","role":"assistant","model":"claude","content":[],"usage":{"input_tokens":5,"output_tokens":1}}}`
	thinks := harness.Sends(
		event(begin),
		event(`{"type":"content_block_start","index":0,"content_block":{"type":"thinking","thinking":"","signature":""}}`),
		event(`{"type":"content_block_delta","index":0,"delta":{"type":"thinking_delta","thinking":"hm, "}}`),
		event(`{"type":"content_block_delta","index":0,"delta":{"type":"thinking_delta","thinking":"a bear"}}`),
		event(`{"type":"content_block_delta","index":0,"delta":{"type":"signature_delta","signature":"sig"}}`),
		event(`{"type":"content_block_stop","index":0}`),
		event(`{"type":"content_block_start","index":1,"content_block":{"type":"tool_use","id":"call_a","name":"look","input":{}}}`),
		event(`{"type":"content_block_delta","index":1,"delta":{"type":"input_json_delta","partial_json":"{\"at\":\"<b>\"}"}}`),
		event(`{"type":"content_block_stop","index":1}`),
		event(`{"type":"message_delta","delta":{"stop_reason":"tool_use"},"usage":{"output_tokens":9}}`),
		event(`{"type":"message_stop"}`),
	)
	says := harness.Sends(
		event(begin),
		event(`{"type":"content_block_start","index":0,"content_block":{"type":"text","text":""}}`),
		event(`{"type":"content_block_delta","index":0,"delta":{"type":"text_delta","text":"a bear"}}`),
		event(`{"type":"content_block_stop","index":0}`),
		event(`{"type":"message_delta","delta":{"stop_reason":"end_turn"},"usage":{"output_tokens":9}}`),
		event(`{"type":"message_stop"}`),
	)
	up.Plays(thinks, says)
	const more = tools + harness.Streamed + `,"reasoning_effort":"low"`
	session := harness.NewSession()
	ann.Remember(session, harness.UserSays("look around", more)).Whole()
	if got := ann.Remember(session, harness.MessagesBody(result("call_a", "a bear"), more)).Whole(); got.Text != "a bear" {
		t.Fatalf("the client got %v", got.Frames)
	}
	want := `[{"type":"thinking","thinking":"hm, a bear","signature":"sig"},{"type":"tool_use","id":"call_a","name":"look","input":{"at":"<b>"}}]`
	if got := gjson.Get(up.Last().Body, "messages.1.content").Raw; !jsonEqual([]byte(got), want) {
		t.Errorf("Claude got its call back as %s", got)
	}
}
