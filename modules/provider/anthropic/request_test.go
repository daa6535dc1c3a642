package anthropic

import (
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/tidwall/gjson"

	"github.com/caddy-chat/caddy-chat/modules/provider"
)

const (
	hi       = `{"role":"user","content":"hi"}`
	userHi   = `{"role":"user","content":[{"type":"text","text":"hi"}]}`
	haiku    = "claude-haiku-4-5"
	oneTool  = `"tools":[{"type":"function","function":{"name":"f","description":"d","parameters":{"type":"object","properties":{}}}}]`
	oneToolA = `"tools":[{"name":"f","description":"d","input_schema":{"type":"object","properties":{}}}]`
	called   = `{"role":"assistant","content":null,"tool_calls":[{"id":"c1","type":"function","function":{"name":"f","arguments":"{\"a\":1}"}}]}`
	result   = `{"role":"tool","tool_call_id":"c1","content":"42"}`
	resultA  = `{"role":"user","content":[{"type":"tool_result","tool_use_id":"c1","content":[{"type":"text","text":"42"}]}]}`
	useA     = `{"type":"tool_use","id":"c1","name":"f","input":{"a":1}}`
	signedA  = `{"type":"thinking","thinking":"hm","signature":"s"}`
)

// TestMessages only compares system and messages.
func TestMessages(t *testing.T) {
	for _, tc := range []struct{ name, in, system, messages string }{
		{
			"system messages stand apart",
			`{"role":"system","content":"be"},{"role":"developer","content":[{"type":"text","text":"kind","cache_control":{"type":"ephemeral"}}]},` + hi,
			`[{"type":"text","text":"be"},{"type":"text","text":"kind","cache_control":{"type":"ephemeral"}}]`,
			`[` + userHi + `]`,
		},
		{
			"later ones stay at their place",
			`{"role":"system","content":"be"},` + hi + `,{"role":"developer","content":[{"type":"text","text":"kind","cache_control":{"type":"ephemeral"}}]},{"role":"assistant","content":"ho"},{"role":"system","content":"go on"}`,
			`[{"type":"text","text":"be"}]`,
			`[{"role":"user","content":[{"type":"text","text":"hi"},{"type":"text","text":"\u003csystem-instruction\u003e\nkind\n\u003c/system-instruction\u003e","cache_control":{"type":"ephemeral"}}]},{"role":"assistant","content":[{"type":"text","text":"ho"}]},{"role":"user","content":[{"type":"text","text":"\u003csystem-instruction\u003e\ngo on\n\u003c/system-instruction\u003e"}]}]`,
		},
		{
			"a system message alone is what the user says",
			`{"role":"system","content":"Tell a joke."}`,
			``,
			`[{"role":"user","content":[{"type":"text","text":"Tell a joke."}]}]`,
		},
		{
			"messages of one side are merged, results first",
			hi + `,{"role":"user","content":"there"},` + called + `,{"role":"assistant","content":"wait"},{"role":"user","content":"and"},` + result + `,` + hi,
			``,
			`[{"role":"user","content":[{"type":"text","text":"hi"},{"type":"text","text":"there"}]},` +
				`{"role":"assistant","content":[` + useA + `,{"type":"text","text":"wait"}]},` +
				`{"role":"user","content":[{"type":"tool_result","tool_use_id":"c1","content":[{"type":"text","text":"42"}]},{"type":"text","text":"and"},{"type":"text","text":"hi"}]}]`,
		},
		{
			"a tool that has failed",
			hi + `,` + called + `,{"role":"tool","tool_call_id":"c1","content":"42","is_error":true}`,
			``,
			`[` + userHi + `,{"role":"assistant","content":[` + useA + `]},` +
				`{"role":"user","content":[{"type":"tool_result","tool_use_id":"c1","content":[{"type":"text","text":"42"}],"is_error":true}]}]`,
		},
		{
			"empty messages and parts go",
			`{"role":"user","content":""},` + hi + `,{"role":"assistant","content":" \n"},{"role":"assistant","content":null},{"role":"user","content":[{"type":"text","text":""},{"type":"text","text":" "}]},{"role":"user","content":[]}`,
			``,
			`[` + userHi + `]`,
		},
		{
			"an assistant does not begin",
			`{"role":"assistant","content":"Hello!"},` + hi,
			``,
			`[{"role":"user","content":[{"type":"text","text":"(earlier messages are left out)"}]},{"role":"assistant","content":[{"type":"text","text":"Hello!"}]},` + userHi + `]`,
		},
		{
			"an assistant's last words end without white space",
			hi + `,{"role":"assistant","content":"Well, \n"}`,
			``,
			`[` + userHi + `,{"role":"assistant","content":[{"type":"text","text":"Well,"}]}]`,
		},
		{
			"images and documents",
			`{"role":"user","content":[{"type":"image_url","image_url":{"url":"data:image/jpg;base64,AAAA"},"cache_control":{"type":"ephemeral"}},{"type":"image_url","image_url":{"url":"https://x.example/a.png"}},` +
				`{"type":"file","file":{"filename":"a.pdf","file_data":"data:application/pdf;base64,JVBE"}},{"type":"file","file":{"filename":"a.txt","file_data":"data:text/plain;base64,aGk="}},{"type":"file","file":{"file_data":"https://x.example/b.pdf"}}]}`,
			``,
			`[{"role":"user","content":[{"type":"image","source":{"type":"base64","media_type":"image/jpeg","data":"AAAA"},"cache_control":{"type":"ephemeral"}},{"type":"image","source":{"type":"url","url":"https://x.example/a.png"}},` +
				`{"type":"document","source":{"type":"base64","media_type":"application/pdf","data":"JVBE"},"title":"a.pdf"},{"type":"document","source":{"type":"text","media_type":"text/plain","data":"hi"},"title":"a.txt"},{"type":"document","source":{"type":"url","url":"https://x.example/b.pdf"}}]}]`,
		},
		{
			"images in results, empty results, ids of others",
			hi + `,{"role":"assistant","tool_calls":[{"id":"functions.f:0","type":"function","function":{"name":"f","arguments":""}},{"id":"b","type":"function","function":{"name":"g","arguments":"{}"}}]},` +
				`{"role":"tool","tool_call_id":"functions.f:0","content":[{"type":"text","text":"see"},{"type":"image_url","image_url":{"url":"data:image/png;base64,AAAA"}}],"cache_control":{"type":"ephemeral"}},{"role":"tool","tool_call_id":"b","content":""}`,
			``,
			`[` + userHi + `,{"role":"assistant","content":[{"type":"tool_use","id":"functions_f_0","name":"f","input":{}},{"type":"tool_use","id":"b","name":"g","input":{}}]},` +
				`{"role":"user","content":[{"type":"tool_result","tool_use_id":"functions_f_0","content":[{"type":"text","text":"see"},{"type":"image","source":{"type":"base64","media_type":"image/png","data":"AAAA"}}],"cache_control":{"type":"ephemeral"}},{"type":"tool_result","tool_use_id":"b"}]}]`,
		},
		{
			"a mark for the cache at the message",
			`{"role":"system","content":"be","cache_control":{"type":"ephemeral","ttl":"1h"}},{"role":"user","content":"hi","cache_control":{"type":"ephemeral"}}`,
			`[{"type":"text","text":"be","cache_control":{"type":"ephemeral","ttl":"1h"}}]`,
			`[{"role":"user","content":[{"type":"text","text":"hi","cache_control":{"type":"ephemeral"}}]}]`,
		},
		{
			"a refusal said before",
			hi + `,{"role":"assistant","content":null,"refusal":"No."},` + hi,
			``,
			`[` + userHi + `,{"role":"assistant","content":[{"type":"text","text":"No."}]},` + userHi + `]`,
		},
	} {
		t.Run(tc.name, func(t *testing.T) {
			got, _, err := translate(&provider.Request{Model: haiku, Body: []byte(`{"messages":[` + tc.in + `]}`)}, false)
			if err != nil {
				t.Fatal(err)
			}
			if s := gjson.GetBytes(got, "system").Raw; s != tc.system {
				t.Errorf("system\n got %s\nwant %s", s, tc.system)
			}
			if m := gjson.GetBytes(got, "messages").Raw; m != tc.messages {
				t.Errorf("messages\n got %s\nwant %s", m, tc.messages)
			}
		})
	}
}

func TestOptions(t *testing.T) {
	for _, tc := range []struct {
		name, model, in string // in without messages
		want            string // without model and messages
		dropped         []string
	}{
		{"nothing", haiku, ``, `"max_tokens":64000`, nil},
		{"limit of an old model", "claude-3-haiku-20240307", `"max_tokens":9000`, `"max_tokens":4096`, nil},
		{"default of an old model", "claude-3-5-sonnet-20241022", ``, `"max_tokens":8192`, nil},
		{"default before 4.5", "claude-sonnet-4-20250514", ``, `"max_tokens":32000`, nil},
		{"limit of a model that is not known", "claude-opus-9", `"max_completion_tokens":500000`, `"max_tokens":500000`, nil},
		{"default of others", "MiniMax-M2", ``, `"max_tokens":4096`, nil},
		{
			"everything", haiku,
			`"max_tokens":7,"temperature":0.5,"top_k":3,"stop":["x","\n"],"user":"u1","cache_control":{"type":"ephemeral"},"seed":1,"frequency_penalty":0.5,"parallel_tool_calls":false,` + oneTool,
			`"max_tokens":7,` + oneToolA + `,"tool_choice":{"type":"auto","disable_parallel_tool_use":true},"stop_sequences":["x"],"temperature":0.5,"top_k":3,"metadata":{"user_id":"u1"},"cache_control":{"type":"ephemeral"}`,
			[]string{"seed", "frequency_penalty", "stop"},
		},
		{"null and empty", haiku, `"user":"","safety_identifier":"s","stop":null,"thinking":null,"temperature":null,"tools":[]`, `"max_tokens":64000,"metadata":{"user_id":"s"}`, nil},
		{"user too long", haiku, `"user":"` + strings.Repeat("x", 257) + `"`, `"max_tokens":64000`, []string{"user"}},

		{"temperature above 1", haiku, `"temperature":1.5`, `"max_tokens":64000`, []string{"temperature"}},
		{"temperature of 1 says nothing", haiku, `"temperature":1,"top_p":0.5`, `"max_tokens":64000,"top_p":0.5`, nil},
		{"temperature and top_p", haiku, `"temperature":0,"top_p":0.5`, `"max_tokens":64000,"temperature":0`, []string{"top_p"}},
		{"temperature and top_p of an old model", "claude-3-opus-20240229", `"temperature":0.5,"top_p":0.5`, `"max_tokens":4096,"temperature":0.5,"top_p":0.5`, nil},
		{"newest models take none", "claude-opus-4-7", `"temperature":0.5,"top_p":0.5,"top_k":1`, `"max_tokens":64000`, []string{"temperature", "top_p", "top_k"}},

		{"tool choice none", haiku, oneTool + `,"tool_choice":"none","parallel_tool_calls":false`, `"max_tokens":64000,` + oneToolA + `,"tool_choice":{"type":"none"}`, nil},
		{"tool choice required", haiku, oneTool + `,"tool_choice":"required","parallel_tool_calls":true`, `"max_tokens":64000,` + oneToolA + `,"tool_choice":{"type":"any"}`, nil},
		{"tool choice of a function", haiku, oneTool + `,"tool_choice":{"type":"function","function":{"name":"f"}},"parallel_tool_calls":false`, `"max_tokens":64000,` + oneToolA + `,"tool_choice":{"type":"tool","name":"f","disable_parallel_tool_use":true}`, nil},
		{"no tools to choose", haiku, `"tool_choice":"none"`, `"max_tokens":64000`, nil},
		{
			"tools without parameters, with marks for the cache", haiku,
			`"tools":[{"type":"function","function":{"name":"f"},"cache_control":{"type":"ephemeral"}},{"type":"function","function":{"name":"g","parameters":{"properties":{}},"cache_control":{"type":"ephemeral"}}}]`,
			`"max_tokens":64000,"tools":[{"name":"f","input_schema":{"type":"object","properties":{}},"cache_control":{"type":"ephemeral"}},{"name":"g","input_schema":{"properties":{},"type":"object"},"cache_control":{"type":"ephemeral"}}]`,
			nil,
		},
		{
			"strict tools", haiku,
			`"tools":[{"type":"function","function":{"name":"f","strict":true,"parameters":{"type":"object","properties":{"n":{"type":"integer","minimum":1}},"required":["n"],"additionalProperties":false}}},{"type":"function","function":{"name":"g","strict":true,"parameters":{"type":"object","additionalProperties":{"type":"string"}}}}]`,
			`"max_tokens":64000,"tools":[{"name":"f","input_schema":{"type":"object","properties":{"n":{"type":"integer","description":"(minimum: 1)"}},"required":["n"],"additionalProperties":false},"strict":true},{"name":"g","input_schema":{"type":"object","additionalProperties":{"type":"string"}}}]`,
			[]string{"tools.0.function.parameters.minimum", "tools.1.function.strict"},
		},
		{
			"strict tools of an old model", "claude-3-5-haiku-latest",
			`"tools":[{"type":"function","function":{"name":"f","strict":true}}]`,
			`"max_tokens":8192,"tools":[{"name":"f","input_schema":{"type":"object","properties":{}}}]`,
			[]string{"tools.0.function.strict"},
		},
		{
			"an answer by a schema", haiku,
			`"response_format":{"type":"json_schema","json_schema":{"name":"n","strict":true,"schema":{"$schema":"x","type":"object","description":"d","minProperties":1,"properties":{"a":{"type":"string","format":"uuid","maxLength":3},"b":{"oneOf":[{"$ref":"#/$defs/c"},{"type":"array","minItems":1,"items":{"type":"object","properties":{}}}]},"e":{"type":"array","items":true,"minItems":2}},"required":["a"],"$defs":{"c":{"enum":[1,"x"],"examples":[1]}}}}}`,
			`"max_tokens":64000,"output_config":{"format":{"type":"json_schema","schema":{"type":"object","properties":{"a":{"type":"string","format":"uuid","description":"(maxLength: 3)"},"b":{"anyOf":[{"$ref":"#/$defs/c"},{"type":"array","minItems":1,"items":{"type":"object","properties":{},"additionalProperties":false}}]},"e":{"type":"array","items":true,"description":"(minItems: 2)"}},"required":["a"],"$defs":{"c":{"enum":[1,"x"]}},"description":"d (minProperties: 1)","additionalProperties":false}}}`,
			[]string{"response_format.json_schema.schema.minProperties", "response_format.json_schema.schema.maxLength", "response_format.json_schema.schema.minItems"},
		},
		{"text format", haiku, `"response_format":{"type":"text"}`, `"max_tokens":64000`, nil},

		{"effort as a budget", haiku, `"reasoning_effort":"medium","temperature":0.2,"top_p":0.9,"top_k":3`, `"max_tokens":64000,"thinking":{"type":"enabled","budget_tokens":8192}`, []string{"temperature", "top_p", "top_k"}},
		{"effort within the limit", haiku, `"reasoning_effort":"high","max_completion_tokens":6000`, `"max_tokens":6000,"thinking":{"type":"enabled","budget_tokens":3000}`, nil},
		{"effort that does not fit", haiku, `"reasoning_effort":"low","max_tokens":100`, `"max_tokens":1124,"thinking":{"type":"enabled","budget_tokens":1024}`, nil},
		{"effort of none", haiku, `"reasoning_effort":"none"`, `"max_tokens":64000`, nil},
		{"effort of a model that cannot", "claude-3-5-haiku-latest", `"reasoning_effort":"low"`, `"max_tokens":8192`, []string{"reasoning_effort"}},
		{"adaptive effort", "claude-opus-4-7", `"reasoning_effort":"minimal"`, `"max_tokens":64000,"thinking":{"type":"adaptive","display":"summarized"},"output_config":{"effort":"low"}`, nil},
		{"most effort of 4.6", "claude-sonnet-4-6", `"reasoning_effort":"xhigh"`, `"max_tokens":64000,"thinking":{"type":"adaptive","display":"summarized"},"output_config":{"effort":"max"}`, nil},
		{"no effort of a model that thinks unasked", "claude-sonnet-5", `"reasoning_effort":"none"`, `"max_tokens":64000,"thinking":{"type":"disabled"}`, nil},
		{"no effort of a model that always thinks", "claude-fable-5", `"reasoning_effort":"none"`, `"max_tokens":64000`, []string{"reasoning_effort"}},
		{"own thinking", haiku, `"thinking":{"type":"enabled","budget_tokens":2048},"reasoning_effort":"high","max_tokens":1000`, `"max_tokens":3048,"thinking":{"type":"enabled","budget_tokens":2048}`, []string{"reasoning_effort"}},
		{"own thinking with little room", haiku, `"thinking":{"type":"enabled","budget_tokens":1024},"max_tokens":2000`, `"max_tokens":2000,"thinking":{"type":"enabled","budget_tokens":1024}`, nil},
		{"adaptive thinking with an effort", "claude-opus-5", `"thinking":{"type":"adaptive"},"reasoning_effort":"low"`, `"max_tokens":64000,"thinking":{"type":"adaptive"},"output_config":{"effort":"low"}`, nil},
		{"own thinking of others", "MiniMax-M2", `"thinking":{"type":"enabled","budget_tokens":9000}`, `"max_tokens":13096,"thinking":{"type":"enabled","budget_tokens":9000}`, nil},
		{"thinking and a forced call", haiku, oneTool + `,"tool_choice":"required","thinking":{"type":"enabled","budget_tokens":2048}`, `"max_tokens":64000,` + oneToolA + `,"tool_choice":{"type":"any"}`, []string{"thinking"}},
		{
			"effort and a schema", "claude-opus-5", `"reasoning_effort":"high","response_format":{"type":"json_schema","json_schema":{"name":"n","schema":{"enum":[1]}}}`,
			`"max_tokens":64000,"thinking":{"type":"adaptive","display":"summarized"},"output_config":{"effort":"high","format":{"type":"json_schema","schema":{"enum":[1]}}}`, nil,
		},
	} {
		t.Run(tc.name, func(t *testing.T) {
			in := `{"messages":[` + hi + `]`
			if tc.in != "" {
				in += "," + tc.in
			}
			req := &provider.Request{Model: tc.model, Body: []byte(in + "}")}
			got, _, err := translate(req, false)
			if err != nil {
				t.Fatal(err)
			}
			limit, rest, _ := strings.Cut(tc.want, ",")
			want := `{"model":"` + tc.model + `",` + limit + `,"messages":[` + userHi + `]`
			if rest != "" {
				want += "," + rest
			}
			if string(got) != want+"}" {
				t.Errorf("\n got %s\nwant %s}", got, want)
			}
			if !slices.Equal(req.Dropped, tc.dropped) {
				t.Errorf("dropped %q, want %q", req.Dropped, tc.dropped)
			}
		})
	}
}

// TestThinkingWithTools covers the thinking that a client sends back together
// with a tool's results.
func TestThinkingWithTools(t *testing.T) {
	const (
		thought  = `{"role":"assistant","content":"ok","reasoning_content":"hm","thinking_blocks":[{"type":"thinking","thinking":"hm","signature":"s"},{"type":"redacted_thinking","data":"r"},{"type":"thinking","thinking":"unsigned"}],"tool_calls":[{"id":"c1","type":"function","function":{"name":"f","arguments":"{\"a\":1}"}}]}`
		thoughtA = `{"role":"assistant","content":[` + signedA + `,{"type":"redacted_thinking","data":"r"},{"type":"text","text":"ok"},` + useA + `]}`
		inParts  = `{"role":"assistant","content":[{"type":"thinking","thinking":"hm","signature":"s"},{"type":"text","text":"ok"}],"tool_calls":[{"id":"c1","type":"function","function":{"name":"f","arguments":"{\"a\":1}"}}]}`
		inPartsA = `{"role":"assistant","content":[` + signedA + `,{"type":"text","text":"ok"},` + useA + `]}`
		calledA  = `{"role":"assistant","content":[` + useA + `]}`
		calledB  = `{"role":"assistant","content":[{"type":"tool_use","id":"c1_2","name":"f","input":{"a":1}}]}`
		resultB  = `{"role":"user","content":[{"type":"tool_result","tool_use_id":"c1_2","content":[{"type":"text","text":"42"}]}]}`
		bareB    = `{"role":"assistant","content":[{"type":"text","text":"ok"},{"type":"tool_use","id":"c1_2","name":"f","input":{"a":1}}]}`
		bareA    = `{"role":"assistant","content":[{"type":"text","text":"ok"},` + useA + `]}`
		enabled  = `{"type":"enabled","budget_tokens":8192}`
		adaptive = `{"type":"adaptive","display":"summarized"}`
	)
	unsigned := []string{"messages.thinking_blocks"} // one of them has no signature
	for _, tc := range []struct {
		name, model, effort, in string
		messages, thinking      string
		dropped                 []string
	}{
		{"signed thinking goes back first", haiku, "medium", hi + "," + thought + "," + result, `[` + userHi + `,` + thoughtA + `,` + resultA + `]`, enabled, unsigned},
		{"signed thinking among the content", haiku, "medium", hi + "," + inParts + "," + result, `[` + userHi + `,` + inPartsA + `,` + resultA + `]`, enabled, nil},
		{"lost thinking ends it", haiku, "medium", hi + "," + called + "," + result, `[` + userHi + `,` + calledA + `,` + resultA + `]`, ``, []string{"reasoning_effort"}},
		{"a turn begins with thinking once", haiku, "medium", hi + "," + thought + "," + result + "," + called + "," + result, `[` + userHi + `,` + thoughtA + `,` + resultA + `,` + calledB + `,` + resultB + `]`, enabled, unsigned},
		{"a turn that lost its first thinking", haiku, "medium", hi + "," + called + "," + result + "," + thought + "," + result, `[` + userHi + `,` + calledA + `,` + resultA + `,` + bareB + `,` + resultB + `]`, ``, []string{"messages.thinking_blocks", "reasoning_effort"}},
		{"turns before do not matter", haiku, "medium", hi + "," + called + "," + result + `,{"role":"assistant","content":"ok"},` + hi, `[` + userHi + `,` + calledA + `,` + resultA + `,{"role":"assistant","content":[{"type":"text","text":"ok"}]},` + userHi + `]`, enabled, nil},
		{"adaptive thinking needs none", "claude-opus-4-6", "medium", hi + "," + called + "," + result, `[` + userHi + `,` + calledA + `,` + resultA + `]`, adaptive, nil},
		{"without thinking thoughts are left out", haiku, "none", hi + "," + thought + "," + result, `[` + userHi + `,` + bareA + `,` + resultA + `]`, ``, unsigned},
		{"a model that thinks unasked keeps them", "claude-sonnet-5", "", hi + "," + thought + "," + result, `[` + userHi + `,` + thoughtA + `,` + resultA + `]`, ``, unsigned},
		{"others keep them", "MiniMax-M2", "", hi + "," + thought + "," + result, `[` + userHi + `,` + thoughtA + `,` + resultA + `]`, ``, unsigned},
		{"an assistant's last words", haiku, "medium", hi + `,{"role":"assistant","content":"Well"}`, `[` + userHi + `,{"role":"assistant","content":[{"type":"text","text":"Well"}]}]`, ``, []string{"reasoning_effort"}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			req := &provider.Request{Model: tc.model, Body: []byte(`{"messages":[` + tc.in + `],` + oneTool + `,"reasoning_effort":"` + tc.effort + `"}`)}
			got, _, err := translate(req, true)
			if err != nil {
				t.Fatal(err)
			}
			if m := gjson.GetBytes(got, "messages").Raw; m != tc.messages {
				t.Errorf("messages\n got %s\nwant %s", m, tc.messages)
			}
			if th := gjson.GetBytes(got, "thinking").Raw; th != tc.thinking {
				t.Errorf("thinking %s, want %s", th, tc.thinking)
			}
			if !slices.Equal(req.Dropped, tc.dropped) {
				t.Errorf("dropped %q, want %q", req.Dropped, tc.dropped)
			}
		})
	}
}

// Anthropic requires the tools of all calls in a conversation, even if they are
// not offered any more.
func TestPastTools(t *testing.T) {
	got, _, err := translate(&provider.Request{Model: haiku, Body: []byte(`{"messages":[` + hi + "," + called + "," + result + "," + called + "," + result + `]}`)}, true)
	if err != nil {
		t.Fatal(err)
	}
	if tools := gjson.GetBytes(got, "tools").Raw; tools != `[{"name":"f","input_schema":{"type":"object"}}]` {
		t.Errorf("tools %s", tools)
	}
	if choice := gjson.GetBytes(got, "tool_choice").Raw; choice != `{"type":"none"}` {
		t.Errorf("tool choice %s", choice)
	}
	if !gjson.GetBytes(got, "stream").Bool() {
		t.Error("asks for no stream")
	}
}

func TestContinue(t *testing.T) {
	in := []byte(`{"messages":[` + hi + `],"reasoning_effort":"high"}`)
	req := &provider.Request{Model: haiku, Body: in, Continue: "Once upon"}
	got, _, err := translate(req, true)
	const want = `{"model":"claude-haiku-4-5","max_tokens":64000,"messages":[` + userHi + `,{"role":"assistant","content":[{"type":"text","text":"Once upon"}]}],"stream":true}`
	if err != nil || string(got) != want || len(req.Dropped) > 0 {
		t.Errorf("dropped %q, %v\n got %s\nwant %s", req.Dropped, err, got, want)
	}
	if string(req.Body) != string(in) {
		t.Error("the client's request was changed")
	}
}

func TestRefusedRequests(t *testing.T) {
	user := func(part string) string { return `"messages":[{"role":"user","content":[` + part + `]}]` }
	const ok = `"messages":[` + hi + `],`
	for _, tc := range []struct {
		name, model, in string
		param           string
		reason          provider.Reason
	}{
		{"audio", haiku, user(`{"type":"input_audio","input_audio":{"data":"AAAA","format":"wav"}}`), "messages.0.content.0.type", provider.ReasonUnsupported},
		{"image of another type", haiku, user(`{"type":"image_url","image_url":{"url":"data:image/tiff;base64,AAAA"}}`), "messages.0.content.0", provider.ReasonUnsupported},
		{"image over plain HTTP", haiku, user(`{"type":"image_url","image_url":{"url":"http://x.example/a.png"}}`), "messages.0.content.0", provider.ReasonUnsupported},
		{"file of another type", haiku, user(`{"type":"file","file":{"file_data":"data:application/zip;base64,AAAA"}}`), "messages.0.content.0", provider.ReasonUnsupported},
		{"file that is no base64", haiku, user(`{"type":"file","file":{"file_data":"data:text/plain;base64,A"}}`), "messages.0.content.0.file.file_data", provider.ReasonInvalid},
		{"unknown part", haiku, user(`{"type":"video"}`), "messages.0.content.0.type", provider.ReasonInvalid},
		{"image of the system", haiku, `"messages":[{"role":"system","content":[{"type":"image_url","image_url":{"url":"https://x.example/a.png"}}]},` + hi + `]`, "messages.0.content.0", provider.ReasonUnsupported},
		{"image of the assistant", haiku, `"messages":[` + hi + `,{"role":"assistant","content":[{"type":"text","text":" "},{"type":"image_url","image_url":{"url":"https://x.example/a.png"}}]}]`, "messages.1.content.1", provider.ReasonUnsupported},
		{"no messages", haiku, `"messages":[]`, "messages", provider.ReasonInvalid},
		{"only empty messages", haiku, user(``), "messages", provider.ReasonInvalid},
		{"JSON without a schema", haiku, ok + `"response_format":{"type":"json_object"}`, "response_format", provider.ReasonUnsupported},
		{"schema of an old model", "claude-sonnet-4-0", ok + `"response_format":{"type":"json_schema","json_schema":{"schema":{"type":"object","properties":{}}}}`, "response_format", provider.ReasonUnsupported},
		{"schema with members of any name", haiku, ok + `"response_format":{"type":"json_schema","json_schema":{"schema":{"type":"object","additionalProperties":{"type":"number"}}}}`, "response_format", provider.ReasonUnsupported},
		{"schema of an object without members", haiku, ok + `"response_format":{"type":"json_schema","json_schema":{"schema":{"type":"array","items":{"type":"object"}}}}`, "response_format", provider.ReasonUnsupported},
		{"temperature below 0", haiku, ok + `"temperature":-1`, "temperature", provider.ReasonInvalid},
		{"temperature above 2", haiku, ok + `"temperature":3`, "temperature", provider.ReasonInvalid},
		{"no tokens", haiku, ok + `"max_tokens":0`, "max_tokens", provider.ReasonInvalid},
		{"effort of another name", haiku, ok + `"reasoning_effort":"huge"`, "reasoning_effort", provider.ReasonInvalid},
		{"thinking of another type", haiku, ok + `"thinking":true`, "thinking", provider.ReasonInvalid},
		{"a call forced without tools", haiku, ok + `"tool_choice":"required"`, "tool_choice", provider.ReasonInvalid},
		{"several choices", haiku, ok + `"n":2`, "n", provider.ReasonUnsupported},
	} {
		t.Run(tc.name, func(t *testing.T) {
			_, _, err := translate(&provider.Request{Model: tc.model, Body: []byte("{" + tc.in + "}")}, false)
			e, ok := errors.AsType[*provider.Error](err)
			if !ok || e.Param != tc.param || e.Reason != tc.reason {
				t.Errorf("got %v of %+v, want reason %d of %s", err, e, tc.reason, tc.param)
			}
		})
	}
	t.Run("a schema is not continued", func(t *testing.T) {
		_, _, err := translate(&provider.Request{
			Model: haiku, Continue: "{", Body: []byte(`{` + ok + `"response_format":{"type":"json_schema","json_schema":{"schema":{"enum":[1]}}}}`),
		}, true)
		if e, ok := errors.AsType[*provider.Error](err); !ok || e.Reason != provider.ReasonUnsupported {
			t.Errorf("got %v, want it refused", err)
		}
	})
}
