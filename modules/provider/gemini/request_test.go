package gemini

import (
	"encoding/json"
	"errors"
	"slices"
	"testing"

	"github.com/caddy-chat/caddy-chat/modules/provider"
)

func TestRequest(t *testing.T) {
	const (
		hi      = `{"role":"user","parts":[{"text":"hi"}]}`
		results = `,{"role":"tool","tool_call_id":"c1","content":"1"},{"role":"tool","tool_call_id":"c2","content":"2"}`
	)
	for _, tc := range []struct {
		name, model, in, want string
		dropped               []string
	}{
		{
			name: "system_messages_stand_apart",
			in:   `{"messages":[{"role":"system","content":"be"},{"role":"developer","content":[{"type":"text","text":"kind"}]},{"role":"user","content":"hi"}]}`,
			want: `{"contents":[` + hi + `],"systemInstruction":{"parts":[{"text":"be"},{"text":"kind"}]}}`,
		},
		{
			name: "later_ones_stay_at_their_place",
			in:   `{"messages":[{"role":"user","content":"hi"},{"role":"developer","content":"be kind"},{"role":"assistant","content":"ho"},{"role":"system","content":"go on"}]}`,
			want: `{"contents":[{"role":"user","parts":[{"text":"hi"},{"text":"\u003csystem-instruction\u003e\nbe kind\n\u003c/system-instruction\u003e"}]},{"role":"model","parts":[{"text":"ho"}]},{"role":"user","parts":[{"text":"\u003csystem-instruction\u003e\ngo on\n\u003c/system-instruction\u003e"}]}]}`,
		},
		{
			name: "options",
			in: `{"messages":[{"role":"user","content":"hi"}],"temperature":0,"top_p":0.5,"top_k":7,"max_tokens":9,"stop":["a","b"],"seed":-3,
				"presence_penalty":0.25,"frequency_penalty":-0.5,"n":1,"user":"u","stream":true,"stream_options":{"include_usage":true}}`,
			want: `{"contents":[` + hi + `],"generationConfig":{"temperature":0,"topP":0.5,"topK":7,"maxOutputTokens":9,"stopSequences":["a","b"],"seed":-3,
				"presencePenalty":0.25,"frequencyPenalty":-0.5}}`,
			dropped: []string{"user"},
		},
		{
			name:    "seed_of_more_than_32_bits",
			in:      `{"messages":[{"role":"user","content":"hi"}],"seed":4294967296}`,
			want:    `{"contents":[` + hi + `]}`,
			dropped: []string{"seed"},
		},
		{
			name: "messages_of_one_side_are_one_content",
			in: `{"messages":[{"role":"user","content":"a"},{"role":"user","content":[{"type":"text","text":"b"},{"type":"text","text":""}]},
				{"role":"assistant","content":""},{"role":"assistant","content":"c"},{"role":"assistant","content":null,"refusal":"d"},{"role":"user","content":"e"}]}`,
			want: `{"contents":[{"role":"user","parts":[{"text":"a"},{"text":"b"}]},{"role":"model","parts":[{"text":"c"},{"text":"d"}]},{"role":"user","parts":[{"text":"e"}]}]}`,
		},
		{
			name: "an_image_of_a_tool",
			in: `{"messages":[{"role":"user","content":"a"},{"role":"assistant","tool_calls":[{"id":"c","function":{"name":"f","arguments":"{}"}},{"id":"d","function":{"name":"g","arguments":"{}"}}]},` +
				`{"role":"tool","tool_call_id":"c","content":[{"type":"image_url","image_url":{"url":"data:image/png;base64,AAAA"}}]},{"role":"tool","tool_call_id":"d","content":"two"},{"role":"user","content":"b"}]}`,
			want: `{"contents":[{"role":"user","parts":[{"text":"a"}]},{"role":"model","parts":[{"functionCall":{"id":"c","name":"f","args":{}}},{"functionCall":{"id":"d","name":"g","args":{}}}]},
				{"role":"user","parts":[{"functionResponse":{"id":"c","name":"f","response":{"result":""}}},{"functionResponse":{"id":"d","name":"g","response":{"result":"two"}}},
				{"inlineData":{"mimeType":"image/png","data":"AAAA"}},{"text":"b"}]}]}`,
		},
		{
			name: "images_audio_and_files",
			in: `{"messages":[{"role":"user","content":[{"type":"image_url","image_url":{"url":"data:image/png;base64,AAAA"}},
				{"type":"input_audio","input_audio":{"data":"BBBB","format":"mp3"}},
				{"type":"file","file":{"filename":"a.pdf","file_data":"data:application/pdf;base64,CCCC"}}]}]}`,
			want: `{"contents":[{"role":"user","parts":[{"inlineData":{"mimeType":"image/png","data":"AAAA"}},
				{"inlineData":{"mimeType":"audio/mp3","data":"BBBB"}},{"inlineData":{"mimeType":"application/pdf","data":"CCCC"}}]}]}`,
			dropped: []string{"messages.content.file.filename"},
		},
		{
			name: "tools_keep_their_schema",
			in: `{"messages":[{"role":"user","content":"hi"}],"parallel_tool_calls":true,"tools":[
				{"type":"function","function":{"name":"f","description":"d","parameters":{"$schema":"s","type":"object","properties":{"a":{"const":1}},"additionalProperties":false}}},
				{"type":"function","function":{"name":"g"}}]}`,
			want: `{"contents":[` + hi + `],"tools":[{"functionDeclarations":[
				{"name":"f","description":"d","parametersJsonSchema":{"$schema":"s","type":"object","properties":{"a":{"const":1}},"additionalProperties":false}},{"name":"g"}]}]}`,
		},
		{
			name: "what_it_has_not_is_dropped",
			in: `{"messages":[{"role":"user","content":"hi"}],"parallel_tool_calls":false,"tool_choice":"required","logit_bias":{"1":1},
				"tools":[{"type":"function","function":{"name":"f","strict":true}}]}`,
			want:    `{"contents":[` + hi + `],"tools":[{"functionDeclarations":[{"name":"f"}]}],"toolConfig":{"functionCallingConfig":{"mode":"ANY"}}}`,
			dropped: []string{"logit_bias", "parallel_tool_calls", "tools.function.strict"},
		},
		{
			name: "a_named_tool",
			in: `{"messages":[{"role":"user","content":"hi"}],"tool_choice":{"type":"function","function":{"name":"f"}},
				"tools":[{"type":"function","function":{"name":"f"}}]}`,
			want: `{"contents":[` + hi + `],"tools":[{"functionDeclarations":[{"name":"f"}]}],"toolConfig":{"functionCallingConfig":{"mode":"ANY","allowedFunctionNames":["f"]}}}`,
		},
		{
			name: "no_tool",
			in:   `{"messages":[{"role":"user","content":"hi"}],"tool_choice":"none","tools":[{"type":"function","function":{"name":"f"}}]}`,
			want: `{"contents":[` + hi + `],"tools":[{"functionDeclarations":[{"name":"f"}]}],"toolConfig":{"functionCallingConfig":{"mode":"NONE"}}}`,
		},
		{
			name: "tool_results_are_merged_and_named",
			in: `{"messages":[{"role":"user","content":"hi"},
				{"role":"assistant","content":"so","tool_calls":[
					{"id":"c1","type":"function","function":{"name":"f","arguments":"{\"a\": 12345678901234567890}"},"extra_content":{"google":{"thought_signature":"sig"}}},
					{"id":"c2","type":"function","function":{"name":"g","arguments":""}}]},
				{"role":"tool","tool_call_id":"c2","content":"{\"b\":2}"},
				{"role":"tool","tool_call_id":"c1","content":[{"type":"text","text":"o"},{"type":"text","text":"ne"}]},
				{"role":"user","content":"and?"}]}`,
			want: `{"contents":[` + hi + `,
				{"role":"model","parts":[{"text":"so"},{"functionCall":{"id":"c1","name":"f","args":{"a":12345678901234567890}},"thoughtSignature":"sig"},{"functionCall":{"id":"c2","name":"g","args":{}}}]},
				{"role":"user","parts":[{"functionResponse":{"id":"c2","name":"g","response":{"result":"{\"b\":2}"}}},{"functionResponse":{"id":"c1","name":"f","response":{"result":"o\n\nne"}}},{"text":"and?"}]}]}`,
		},
		{
			name: "an_id_used_twice_is_told_apart",
			in: `{"messages":[{"role":"user","content":"hi"},{"role":"assistant","tool_calls":[{"id":"c","function":{"name":"f","arguments":"{}"}}]},{"role":"tool","tool_call_id":"c","content":"1"},
				{"role":"assistant","tool_calls":[{"id":"c","function":{"name":"g","arguments":"{}"}}]},{"role":"tool","tool_call_id":"c","content":""}]}`,
			want: `{"contents":[` + hi + `,{"role":"model","parts":[{"functionCall":{"id":"c","name":"f","args":{}}}]},{"role":"user","parts":[{"functionResponse":{"id":"c","name":"f","response":{"result":"1"}}}]},
				{"role":"model","parts":[{"functionCall":{"id":"c_2","name":"g","args":{}}}]},{"role":"user","parts":[{"functionResponse":{"id":"c_2","name":"g","response":{"result":""}}}]}]}`,
		},
		{
			name:  "gemini_3_is_told_of_missing_signatures",
			model: "gemini-3-flash-preview",
			in: `{"messages":[{"role":"user","content":"hi"},{"role":"assistant","tool_calls":[
				{"id":"c1","function":{"name":"f","arguments":"{}"}},{"id":"c2","function":{"name":"f","arguments":"{}"}}]}` + results + `]}`,
			want: `{"contents":[` + hi + `,{"role":"model","parts":[{"functionCall":{"id":"c1","name":"f","args":{}},"thoughtSignature":"skip_thought_signature_validator"},{"functionCall":{"id":"c2","name":"f","args":{}}}]},{"role":"user","parts":[{"functionResponse":{"id":"c1","name":"f","response":{"result":"1"}}},{"functionResponse":{"id":"c2","name":"f","response":{"result":"2"}}}]}]}`,
		},
		{
			name:  "gemini_3_gets_its_signatures_back",
			model: "gemini-3-flash-preview",
			in: `{"messages":[{"role":"user","content":"hi"},{"role":"assistant","tool_calls":[
				{"id":"c1","function":{"name":"f","arguments":"{}"},"extra_content":{"google":{"thought_signature":"sig"}}}]},{"role":"tool","tool_call_id":"c1","content":"1"}]}`,
			want: `{"contents":[` + hi + `,{"role":"model","parts":[{"functionCall":{"id":"c1","name":"f","args":{}},"thoughtSignature":"sig"}]},{"role":"user","parts":[{"functionResponse":{"id":"c1","name":"f","response":{"result":"1"}}}]}]}`,
		},
		{
			name: "json_object",
			in:   `{"messages":[{"role":"user","content":"hi"}],"response_format":{"type":"json_object"}}`,
			want: `{"contents":[` + hi + `],"generationConfig":{"responseMimeType":"application/json"}}`,
		},
		{
			name: "json_schema",
			in:   `{"messages":[{"role":"user","content":"hi"}],"response_format":{"type":"json_schema","json_schema":{"name":"n","strict":true,"schema":{"type":"object","additionalProperties":false}}}}`,
			want: `{"contents":[` + hi + `],"generationConfig":{"responseMimeType":"application/json","responseJsonSchema":{"type":"object","additionalProperties":false}}}`,
		},
	} {
		t.Run(tc.name, func(t *testing.T) {
			req := &provider.Request{Model: tc.model, Body: []byte(tc.in)}
			if tc.model == "" {
				req.Model = "gemini-2.5-flash"
			}
			same(t, req, tc.want)
			if !slices.Equal(req.Dropped, tc.dropped) {
				t.Errorf("dropped %q, want %q", req.Dropped, tc.dropped)
			}
		})
	}
}

// same translates a request and compares it with JSON that may span lines.
func same(t *testing.T, req *provider.Request, want string) {
	t.Helper()
	r, err := newRequest(req)
	if err != nil {
		t.Fatal(err)
	}
	got, err := json.Marshal(r)
	if err != nil {
		t.Fatal(err)
	}
	if want, err = compact(want); err != nil {
		t.Fatal(err)
	}
	if string(got) != want {
		t.Errorf("\n got %s\nwant %s", got, want)
	}
}

func TestContinueIsTheBegunAnswer(t *testing.T) {
	req := &provider.Request{Model: "m", Continue: "Once upon", Body: []byte(`{"messages":[{"role":"user","content":"hi"}]}`)}
	same(t, req, `{"contents":[{"role":"user","parts":[{"text":"hi"}]},{"role":"model","parts":[{"text":"Once upon"}]}]}`)
}

func TestReasoningEffort(t *testing.T) {
	for _, tc := range []struct {
		model, effort, want string
		dropped             bool
	}{
		{"gemini-2.5-flash", "none", `{"thinkingBudget":0}`, false},
		{"gemini-2.5-flash", "low", `{"includeThoughts":true,"thinkingBudget":1024}`, false},
		{"gemini-2.5-flash-lite", "xhigh", `{"includeThoughts":true,"thinkingBudget":24576}`, false},
		{"gemini-2.5-pro", "none", `{"thinkingBudget":128}`, false},
		{"gemini-2.5-pro", "medium", `{"includeThoughts":true,"thinkingBudget":8192}`, false},
		{"models/gemini-3-flash-preview", "none", `{"thinkingLevel":"minimal"}`, false},
		{"gemini-3.1-pro-preview", "medium", `{"includeThoughts":true,"thinkingLevel":"medium"}`, false},
		{"gemini-flash-latest", "xhigh", `{"includeThoughts":true,"thinkingLevel":"high"}`, false},
		{"gemini-2.0-flash", "high", `null`, true},
		{"gemma-3-27b-it", "high", `null`, true},
		{"gemini-", "high", `null`, true},
		{"gemini-3-flash-preview", "", `null`, false},
	} {
		req := &provider.Request{Model: tc.model}
		th, err := think(req, tc.effort)
		got, _ := json.Marshal(th)
		if err != nil || string(got) != tc.want || len(req.Dropped) > 0 != tc.dropped {
			t.Errorf("%s %s: got %s, %v, dropped %q, want %s", tc.model, tc.effort, got, err, req.Dropped, tc.want)
		}
	}
}

func TestRefusedRequests(t *testing.T) {
	for _, tc := range []struct {
		name, in, param string
		reason          provider.Reason
	}{
		{"image_on_the_web", `{"messages":[{"role":"user","content":[{"type":"image_url","image_url":{"url":"https://example.com/a.png"}}]}]}`, "messages.0.content.0", provider.ReasonUnsupported},
		{"file_by_id", `{"messages":[{"role":"user","content":[{"type":"file","file":{"file_id":"f"}}]}]}`, "messages.0.content.0.file.file_id", provider.ReasonUnsupported},
		{"audio_without_data", `{"messages":[{"role":"user","content":[{"type":"input_audio","input_audio":{"format":"wav"}}]}]}`, "messages.0.content.0", provider.ReasonInvalid},
		{"unknown_part", `{"messages":[{"role":"user","content":[{"type":"video"}]}]}`, "messages.0.content.0.type", provider.ReasonInvalid},
		{"no_messages", `{"messages":[]}`, "messages", provider.ReasonInvalid},
		{"nothing_said", `{"messages":[{"role":"system","content":""},{"role":"user","content":""}]}`, "messages", provider.ReasonInvalid},
		{"several_choices", `{"messages":[],"n":2}`, "n", provider.ReasonUnsupported},
		{"choice_of_no_tools", `{"messages":[{"role":"user","content":"a"}],"tool_choice":"required"}`, "tool_choice", provider.ReasonInvalid},
		{"too_many_stops", `{"messages":[{"role":"user","content":"a"}],"stop":["1","2","3","4","5","6"]}`, "stop", provider.ReasonUnsupported},
		{"unknown_effort", `{"messages":[{"role":"user","content":"a"}],"reasoning_effort":"max"}`, "reasoning_effort", provider.ReasonInvalid},
		{"tool_of_another_type", `{"messages":[],"tools":[{"type":"web_search"}]}`, "tools.0.type", provider.ReasonUnsupported},
	} {
		t.Run(tc.name, func(t *testing.T) {
			_, err := newRequest(&provider.Request{Model: "gemini-2.5-flash", Body: []byte(tc.in)})
			e, ok := errors.AsType[*provider.Error](err)
			if !ok || e.Param != tc.param || e.Reason != tc.reason {
				t.Errorf("got %v, want reason %d of %s", err, tc.reason, tc.param)
			}
		})
	}
}
