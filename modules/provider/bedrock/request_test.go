package bedrock

import (
	"encoding/json"
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/tidwall/gjson"

	"github.com/caddy-chat/caddy-chat/modules/provider"
)

const (
	nova   = "amazon.nova-lite-v1:0"
	claude = "us.anthropic.claude-sonnet-4-5-20250929-v1:0"
	newest = "us.anthropic.claude-opus-4-6-v1"
)

// asked is how a question alone is put.
const asked = `"messages":[{"role":"user","content":[{"text":"hi"}]}]`

func TestRequestBody(t *testing.T) {
	for _, tc := range []struct {
		name, model, in, want string
		begun                 string
		dropped               []string
	}{
		{
			name: "options", model: nova,
			in:   `{"model":"a","stream":true,"messages":[{"role":"user","content":"hi"}],"max_tokens":9,"temperature":0,"top_p":0.5,"stop":["a","","b"],"seed":1,"n":1}`,
			want: `{` + asked + `,"inferenceConfig":{"maxTokens":9,"temperature":0,"topP":0.5,"stopSequences":["a","b"]}}`, dropped: []string{"seed"},
		},
		{
			name: "temperature_beyond_the_scale", model: nova,
			in:   `{"messages":[{"role":"user","content":"hi"}],"temperature":1.7}`,
			want: `{` + asked + `,"inferenceConfig":{"temperature":1}}`, dropped: []string{"temperature"},
		},
		{
			name: "two_ways_of_sampling_where_one_is_allowed", model: claude,
			in:   `{"messages":[{"role":"user","content":"hi"}],"temperature":0.5,"top_p":0.9}`,
			want: `{` + asked + `,"inferenceConfig":{"temperature":0.5}}`, dropped: []string{"top_p"},
		},
		{
			name: "system_messages_stand_apart", model: nova,
			in:   `{"messages":[{"role":"system","content":"be"},{"role":"developer","content":[{"type":"text","text":"kind"}]},{"role":"system","content":" "},{"role":"user","content":"hi"}]}`,
			want: `{"system":[{"text":"be"},{"text":"kind"}],` + asked + `}`,
		},
		{
			name: "later_ones_stay_at_their_place", model: nova,
			in:   `{"messages":[{"role":"user","content":"hi"},{"role":"developer","content":"be kind"},{"role":"system","content":" "},{"role":"assistant","content":"ho"},{"role":"system","content":"go on"}]}`,
			want: `{"messages":[{"role":"user","content":[{"text":"hi"},{"text":"\u003csystem-instruction\u003e\nbe kind\n\u003c/system-instruction\u003e"}]},{"role":"assistant","content":[{"text":"ho"}]},{"role":"user","content":[{"text":"\u003csystem-instruction\u003e\ngo on\n\u003c/system-instruction\u003e"}]}]}`,
		},
		{
			name: "roles_are_merged_and_blank_text_left_out", model: nova,
			in: `{"messages":[{"role":"user","content":"a"},{"role":"assistant","content":""},{"role":"user","content":[{"type":"text","text":"b"},{"type":"text","text":" \n"}]},
				{"role":"assistant","content":"c"},{"role":"assistant","content":null,"refusal":"d"},{"role":"user","content":"e"}]}`,
			want: `{"messages":[{"role":"user","content":[{"text":"a"},{"text":"b"}]},{"role":"assistant","content":[{"text":"c"},{"text":"d"}]},{"role":"user","content":[{"text":"e"}]}]}`,
		},
		{
			name: "tools_and_their_results", model: nova,
			in: `{"messages":[{"role":"user","content":"hi"},{"role":"assistant","content":"wait","tool_calls":[
				{"id":"c1","type":"function","function":{"name":"f","arguments":"{\"a\": 1}"}},{"id":"functions.g:0","type":"function","function":{"name":"g","arguments":""}}]},
				{"role":"tool","tool_call_id":"c1","content":"one"},{"role":"tool","tool_call_id":"functions.g:0","content":""},{"role":"user","content":"so?"}],
				"tools":[{"type":"function","function":{"name":"f","description":"does","parameters":{"type":"object","properties":{"a":{"type":"integer"}}},"strict":true}},{"type":"function","function":{"name":"g"}}],"tool_choice":"auto"}`,
			want: `{"messages":[{"role":"user","content":[{"text":"hi"}]},{"role":"assistant","content":[{"text":"wait"},{"toolUse":{"toolUseId":"c1","name":"f","input":{"a":1}}},{"toolUse":{"toolUseId":"functions_g_0","name":"g","input":{}}}]},` +
				`{"role":"user","content":[{"toolResult":{"toolUseId":"c1","content":[{"text":"one"}]}},{"toolResult":{"toolUseId":"functions_g_0","content":[{"text":"(no output)"}]}},{"text":"so?"}]}],` +
				`"toolConfig":{"tools":[{"toolSpec":{"name":"f","description":"does","inputSchema":{"json":{"type":"object","properties":{"a":{"type":"integer"}}}},"strict":true}},{"toolSpec":{"name":"g","inputSchema":{"json":{"type":"object","properties":{}}}}}],"toolChoice":{"auto":{}}}}`,
		},
		{
			name: "calls_in_the_past_and_tools_no_more", model: nova,
			in: `{"messages":[{"role":"user","content":"hi"},{"role":"assistant","tool_calls":[{"id":"1","function":{"name":"f","arguments":"{}"}},{"id":"2","function":{"name":"f","arguments":"{}"}}]},{"role":"tool","tool_call_id":"1","content":"x"}]}`,
			want: `{"messages":[{"role":"user","content":[{"text":"hi"}]},{"role":"assistant","content":[{"toolUse":{"toolUseId":"1","name":"f","input":{}}},{"toolUse":{"toolUseId":"2","name":"f","input":{}}}]},{"role":"user","content":[{"toolResult":{"toolUseId":"1","content":[{"text":"x"}]}},{"toolResult":{"toolUseId":"2","content":[{"text":"(no result)"}]}}]}],` +
				`"toolConfig":{"tools":[{"toolSpec":{"name":"f","inputSchema":{"json":{"type":"object","properties":{}}}}}]}}`,
		},
		{
			name: "a_tool_must_be_called", model: nova,
			in:   `{"messages":[{"role":"user","content":"hi"}],"tools":[{"type":"function","function":{"name":"f"}}],"tool_choice":"required","parallel_tool_calls":false}`,
			want: `{` + asked + `,"toolConfig":{"tools":[{"toolSpec":{"name":"f","inputSchema":{"json":{"type":"object","properties":{}}}}}],"toolChoice":{"any":{}}}}`, dropped: []string{"parallel_tool_calls"},
		},
		{
			name: "this_tool_must_be_called", model: nova,
			in:   `{"messages":[{"role":"user","content":"hi"}],"tools":[{"type":"function","function":{"name":"f"}}],"tool_choice":{"type":"function","function":{"name":"f"}}}`,
			want: `{` + asked + `,"toolConfig":{"tools":[{"toolSpec":{"name":"f","inputSchema":{"json":{"type":"object","properties":{}}}}}],"toolChoice":{"tool":{"name":"f"}}}}`,
		},
		{
			name: "no_tool_may_be_called", model: nova,
			in:   `{"messages":[{"role":"user","content":"hi"}],"tools":[{"type":"function","function":{"name":"f"}}],"tool_choice":"none"}`,
			want: `{` + asked + `}`,
		},
		{
			name: "no_tool_may_be_called_but_one_was", model: nova,
			in: `{"messages":[{"role":"user","content":"hi"},{"role":"assistant","tool_calls":[{"id":"1","function":{"name":"f","arguments":"{}"}}]},{"role":"tool","tool_call_id":"1","content":"x"}],"tools":[{"type":"function","function":{"name":"f"}}],"tool_choice":"none"}`,
			want: `{"messages":[{"role":"user","content":[{"text":"hi"}]},{"role":"assistant","content":[{"toolUse":{"toolUseId":"1","name":"f","input":{}}}]},{"role":"user","content":[{"toolResult":{"toolUseId":"1","content":[{"text":"x"}]}}]}],` +
				`"toolConfig":{"tools":[{"toolSpec":{"name":"f","inputSchema":{"json":{"type":"object","properties":{}}}}}]}}`, dropped: []string{"tool_choice"},
		},
		{
			name: "images_and_documents", model: nova,
			in: `{"messages":[{"role":"user","content":[{"type":"text","text":"see"},{"type":"image_url","image_url":{"url":"data:image/jpeg;base64,AAAA"}},
				{"type":"file","file":{"filename":"../Q3_report  (final).v2.pdf","file_data":"data:application/pdf;base64,BBBB"}},
				{"type":"file","file":{"file_data":"data:text/plain;charset=utf-8;base64,CCCC"}},{"type":"file","file":{"filename":"übung","file_data":"data:text/csv;base64,DDDD"}},
				{"type":"file","file":{"filename":".md","file_data":"data:text/markdown;base64,EEEE"}},{"type":"file","file":{"filename":"日本","file_data":"data:text/html;base64,FFFF"}}]}]}`,
			want: `{"messages":[{"role":"user","content":[{"text":"see"},{"image":{"format":"jpeg","source":{"bytes":"AAAA"}}},` +
				`{"document":{"format":"pdf","name":"Q3 report (final) v2","source":{"bytes":"BBBB"}}},{"document":{"format":"txt","name":"document","source":{"bytes":"CCCC"}}},` +
				`{"document":{"format":"csv","name":"bung","source":{"bytes":"DDDD"}}},{"document":{"format":"md","name":"md","source":{"bytes":"EEEE"}}},{"document":{"format":"html","name":"document (2)","source":{"bytes":"FFFF"}}}]}]}`,
		},
		{
			name: "image_as_a_tool's_result", model: claude,
			in: `{"messages":[{"role":"user","content":"hi"},{"role":"assistant","tool_calls":[{"id":"1","function":{"name":"f","arguments":"{}"}}]},
				{"role":"tool","tool_call_id":"1","content":[{"type":"image_url","image_url":{"url":"data:image/webp;base64,AAAA"}}]}]}`,
			want: `{"messages":[{"role":"user","content":[{"text":"hi"}]},{"role":"assistant","content":[{"toolUse":{"toolUseId":"1","name":"f","input":{}}}]},{"role":"user","content":[{"toolResult":{"toolUseId":"1","content":[{"image":{"format":"webp","source":{"bytes":"AAAA"}}}]}}]}],` +
				`"toolConfig":{"tools":[{"toolSpec":{"name":"f","inputSchema":{"json":{"type":"object","properties":{}}}}}]}}`,
		},
		{
			name: "JSON_by_a_schema", model: claude,
			in:   `{"messages":[{"role":"user","content":"hi"}],"response_format":{"type":"json_schema","json_schema":{"name":"n","schema":{"type":"object","properties":{"a":{"type":"string","minLength":1}}},"strict":true}}}`,
			want: `{` + asked + `,"outputConfig":{"textFormat":{"type":"json_schema","structure":{"jsonSchema":{"schema":"{\"type\":\"object\",\"properties\":{\"a\":{\"type\":\"string\",\"description\":\"(minLength: 1)\"}},\"additionalProperties\":false}","name":"n"}}}}}`, dropped: []string{"response_format.json_schema.schema.minLength"},
		},
		{
			name: "JSON_by_none", model: claude,
			in:   `{"messages":[{"role":"user","content":"hi"}],"response_format":{"type":"json_object"}}`,
			want: `{` + asked + `}`, dropped: []string{"response_format"},
		},
		{
			name: "answer_begun", model: claude, begun: "Once upon",
			in:   `{"messages":[{"role":"user","content":"hi"}],"reasoning_effort":"high"}`,
			want: `{"messages":[{"role":"user","content":[{"text":"hi"}]},{"role":"assistant","content":[{"text":"Once upon"}]}]}`, dropped: []string{"reasoning_effort"},
		},
	} {
		t.Run(tc.name, func(t *testing.T) {
			preq := request(tc.model, tc.in)
			preq.Continue = tc.begun
			got, _, err := new(Bedrock).body(preq)
			if err != nil || string(got) != tc.want {
				t.Errorf("\n got %s, %v\nwant %s", got, err, tc.want)
			}
			if !slices.Equal(preq.Dropped, tc.dropped) {
				t.Errorf("dropped %q, want %q", preq.Dropped, tc.dropped)
			}
			if string(preq.Body) != tc.in {
				t.Errorf("the client's body was changed: %s", preq.Body)
			}
		})
	}
}

func TestRequestReasoning(t *testing.T) {
	const (
		call     = `{"role":"assistant","tool_calls":[{"id":"1","function":{"name":"f","arguments":"{}"}}]},{"role":"tool","tool_call_id":"1","content":"x"}`
		thoughts = `{"role":"assistant","tool_calls":[{"id":"1","function":{"name":"f","arguments":"{}"},"extra_content":{"bedrock":{"reasoning":[{"reasoningText":{"text":"hm","signature":"s"}},{"redactedContent":"eHg="},{"reasoningText":{"text":"unsigned"}},{}]}}}]},{"role":"tool","tool_call_id":"1","content":"x"}`
	)
	for _, tc := range []struct {
		name, model, messages, rest string
		additional, inference       string
		dropped                     []string
	}{
		{name: "with_a_budget", model: claude, rest: `"reasoning_effort":"low","max_tokens":9000`, additional: `{"thinking":{"budget_tokens":2048,"type":"enabled"}}`, inference: `{"maxTokens":9000}`},
		{name: "without_a_limit_there_is_room_for_the_answer", model: "anthropic.claude-3-7-sonnet-20250219-v1:0", rest: `"reasoning_effort":"xhigh"`, additional: `{"thinking":{"budget_tokens":24576,"type":"enabled"}}`, inference: `{"maxTokens":32768}`},
		{name: "within_the_limit", model: claude, rest: `"reasoning_effort":"high","max_tokens":4000`, additional: `{"thinking":{"budget_tokens":2000,"type":"enabled"}}`, inference: `{"maxTokens":4000}`},
		{name: "too_small_a_limit", model: claude, rest: `"reasoning_effort":"high","max_tokens":2000`, inference: `{"maxTokens":2000}`, dropped: []string{"reasoning_effort"}},
		{name: "newer_models_find_out_themselves", model: newest, rest: `"reasoning_effort":"minimal"`, additional: `{"output_config":{"effort":"low"},"thinking":{"type":"adaptive"}}`},
		{name: "sampling_gives_way", model: newest, rest: `"reasoning_effort":"medium","temperature":0.2`, additional: `{"output_config":{"effort":"medium"},"thinking":{"type":"adaptive"}}`, dropped: []string{"temperature"}},
		{name: "narrow_sampling_gives_way", model: newest, rest: `"reasoning_effort":"medium","top_p":0.5`, additional: `{"output_config":{"effort":"medium"},"thinking":{"type":"adaptive"}}`, dropped: []string{"top_p"}},
		{name: "none", model: claude, rest: `"reasoning_effort":"none"`},
		{name: "unknown_effort", model: claude, rest: `"reasoning_effort":"lots"`, dropped: []string{"reasoning_effort"}},
		{name: "older_models", model: "anthropic.claude-3-5-haiku-20241022-v1:0", rest: `"reasoning_effort":"low"`, dropped: []string{"reasoning_effort"}},
		{name: "other_models", model: nova, rest: `"reasoning_effort":"low"`, dropped: []string{"reasoning_effort"}},
		{name: "gpt-oss", model: "openai.gpt-oss-120b-1:0", rest: `"reasoning_effort":"minimal"`, additional: `{"reasoning_effort":"low"}`},
		{name: "a_tool_that_must_be_called_rules_it_out", model: claude, rest: `"reasoning_effort":"low","tools":[{"type":"function","function":{"name":"f"}}],"tool_choice":"required"`, dropped: []string{"reasoning_effort"}},
		{name: "thoughts_that_did_not_come_back_rule_it_out", model: claude, messages: call, rest: `"reasoning_effort":"low"`, dropped: []string{"reasoning_effort"}},
		{name: "thoughts_that_came_back", model: claude, messages: thoughts, rest: `"reasoning_effort":"low","max_tokens":5000`, additional: `{"thinking":{"budget_tokens":2048,"type":"enabled"}}`, inference: `{"maxTokens":5000}`},
		{name: "a_new_question_needs_no_thoughts", model: claude, messages: call + `,{"role":"user","content":"so?"}`, rest: `"reasoning_effort":"low","max_tokens":5000`, additional: `{"thinking":{"budget_tokens":2048,"type":"enabled"}}`, inference: `{"maxTokens":5000}`},
	} {
		t.Run(tc.name, func(t *testing.T) {
			messages := `{"role":"user","content":"hi"}`
			if tc.messages != "" {
				messages += "," + tc.messages
			}
			preq := request(tc.model, `{"messages":[`+messages+`],`+tc.rest+`}`)
			body, _, err := new(Bedrock).body(preq)
			if err != nil {
				t.Fatal(err)
			}
			var got struct {
				Additional json.RawMessage `json:"additionalModelRequestFields"`
				Inference  json.RawMessage `json:"inferenceConfig"`
			}
			if err := json.Unmarshal(body, &got); err != nil {
				t.Fatal(err)
			}
			if string(got.Additional) != tc.additional || string(got.Inference) != tc.inference {
				t.Errorf("got %s and %s, want %s and %s", got.Additional, got.Inference, tc.additional, tc.inference)
			}
			if !slices.Equal(preq.Dropped, tc.dropped) {
				t.Errorf("dropped %q, want %q", preq.Dropped, tc.dropped)
			}
		})
	}
	t.Run("thoughts_go_back_to_Claude_only", func(t *testing.T) {
		const want = `"content":[{"reasoningContent":{"reasoningText":{"text":"hm","signature":"s"}}},{"reasoningContent":{"redactedContent":"eHg="}},{"toolUse":`
		for model, sent := range map[string]bool{claude: true, newest: true, nova: false} {
			body, _, err := new(Bedrock).body(request(model, `{"messages":[{"role":"user","content":"hi"},`+thoughts+`]}`))
			if err != nil || strings.Contains(string(body), want) != sent || strings.Contains(string(body), "unsigned") {
				t.Errorf("%s: %s, %v", model, body, err)
			}
		}
	})
}

func TestRequestRefused(t *testing.T) {
	for _, tc := range []struct {
		name, content, param, begun string
		reason                      provider.Reason
	}{
		{name: "image_by_URL", content: `[{"type":"image_url","image_url":{"url":"https://example.com/x.png"}}]`, param: "messages.0.content.0.image_url.url", reason: provider.ReasonUnsupported},
		{name: "image_of_another_type", content: `[{"type":"image_url","image_url":{"url":"data:image/bmp;base64,AA"}}]`, param: "messages.0.content.0.image_url.url", reason: provider.ReasonUnsupported},
		{name: "document_by_URL", content: `[{"type":"file","file":{"file_data":"https://example.com/x.pdf"}}]`, param: "messages.0.content.0.file.file_data", reason: provider.ReasonUnsupported},
		{name: "document_of_another_type", content: `[{"type":"file","file":{"file_data":"data:application/zip;base64,AA"}}]`, param: "messages.0.content.0.file.file_data", reason: provider.ReasonUnsupported},
		{name: "sound", content: `[{"type":"text","text":"x"},{"type":"input_audio","input_audio":{"data":"AA","format":"wav"}}]`, param: "messages.0.content.1", reason: provider.ReasonUnsupported},
		{name: "unknown_part", content: `[{"type":"video"}]`, param: "messages.0.content.0.type", reason: provider.ReasonInvalid},
		{name: "seam_at_a_space", content: `"hi"`, begun: "Once ", param: "messages", reason: provider.ReasonUnsupported},
	} {
		t.Run(tc.name, func(t *testing.T) {
			preq := request(nova, `{"messages":[{"role":"user","content":`+tc.content+`}]}`)
			preq.Continue = tc.begun
			// Nothing listens there: the request is refused before any call.
			_, err := newProvider(t, "http://127.0.0.1:1").Stream(t.Context(), preq)
			e, ok := errors.AsType[*provider.Error](err)
			if !ok || e.Param != tc.param || e.Reason != tc.reason {
				t.Errorf("got %v, want reason %d of %s", err, tc.reason, tc.param)
			}
		})
	}
}

// TestStrict: Claude's servers hold to a schema only if it is narrow enough.
func TestStrict(t *testing.T) {
	const tool = `{"messages":[{"role":"user","content":"hi"}],"tools":[{"type":"function","function":{"name":"f","strict":true,"parameters":{"type":"object","properties":{"n":{"type":"integer","minimum":1}}}}}]}`
	const asked = `{"type":"object","properties":{"n":{"type":"integer","minimum":1}}}`
	const held = `{"type":"object","properties":{"n":{"type":"integer","description":"(minimum: 1)"}},"additionalProperties":false}`
	for _, tc := range []struct {
		model, schema string
		strict        bool
		dropped       []string
	}{
		{claude, held, true, []string{"tools.0.function.parameters.minimum"}},
		{"anthropic.claude-3-5-haiku-20241022-v1:0", asked, false, []string{"tools.0.function.strict"}},
		{nova, asked, true, nil},
	} {
		req := request(tc.model, tool)
		body, _, err := new(Bedrock).body(req)
		spec := gjson.GetBytes(body, "toolConfig.tools.0.toolSpec")
		if err != nil || spec.Get("inputSchema.json").Raw != tc.schema || spec.Get("strict").Bool() != tc.strict || !slices.Equal(req.Dropped, tc.dropped) {
			t.Errorf("%s: %s, dropped %q, %v", tc.model, body, req.Dropped, err)
		}
	}
	_, _, err := new(Bedrock).body(request("anthropic.claude-3-5-haiku-20241022-v1:0", `{"messages":[{"role":"user","content":"hi"}],"response_format":{"type":"json_schema","json_schema":{"name":"n","schema":`+asked+`}}}`))
	if e, ok := errors.AsType[*provider.Error](err); !ok || e.Reason != provider.ReasonUnsupported || e.Param != "response_format" {
		t.Errorf("a schema for an old model: %v", err)
	}
}

// TestThoughtsOfAnthropic: what Claude has signed at Anthropic goes back to it
// here.
func TestThoughtsOfAnthropic(t *testing.T) {
	const thought = `{"role":"assistant","reasoning_content":"hm","thinking_blocks":[{"type":"thinking","thinking":"hm","signature":"s"},{"type":"redacted_thinking","data":"r"}],"tool_calls":[{"id":"1","function":{"name":"f","arguments":"{}"}}]},{"role":"tool","tool_call_id":"1","content":"x"}`
	for model, dropped := range map[string][]string{
		claude: {"messages.thinking_blocks"}, // what is sealed there is closed here
		nova:   {"messages.reasoning_content", "messages.thinking_blocks"},
	} {
		req := request(model, `{"messages":[{"role":"user","content":"hi"},`+thought+`]}`)
		body, _, err := new(Bedrock).body(req)
		sent := strings.Contains(string(body), `"content":[{"reasoningContent":{"reasoningText":{"text":"hm","signature":"s"}}},{"toolUse":`)
		if err != nil || sent != (model == claude) || !slices.Equal(req.Dropped, dropped) {
			t.Errorf("%s: %s, dropped %q, %v", model, body, req.Dropped, err)
		}
	}
}

func TestDocumentNames(t *testing.T) {
	var m messages
	seen := make(map[string]bool)
	for i, file := range [...]string{"a.pdf", "a.txt", "a (2).pdf", "a", strings.Repeat("x", 500), strings.Repeat("x", 501), "", "...", "[]()-"} {
		name := m.name(file)
		if seen[name] || name == "" || len(name) > 200 {
			t.Errorf("%d: %q", i, name)
		}
		seen[name] = true
	}
}
