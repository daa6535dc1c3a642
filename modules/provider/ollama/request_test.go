package ollama

import (
	"errors"
	"slices"
	"testing"

	"github.com/caddy-chat/caddy-chat/modules/provider"
)

func TestChatBody(t *testing.T) {
	const weather = `{"type":"function","function":{"name":"weather","description":"d","parameters":{"type":"object","properties":{"city":{"type":"string"}}},"strict":true}}`
	for _, tc := range []struct {
		name, in, want string
		dropped        []string
	}{
		{
			name: "conversation",
			in:   `{"model":"alias","messages":[{"role":"system","content":"be"},{"role":"developer","content":"kind"},{"role":"user","content":"hi"},{"role":"assistant","content":"ho","reasoning_content":"hm"},{"role":"user","content":""}]}`,
			want: `{"model":"m:1","messages":[{"role":"system","content":"be\n\nkind"},{"role":"user","content":"hi"},{"role":"assistant","content":"ho","thinking":"hm"},{"role":"user","content":""}],"stream":true}`,
		},
		{
			name:    "whose reasoning",
			in:      `{"messages":[{"role":"assistant","content":"ho","reasoning":"hm","extra_content":{"reasoning":{"model":"m:1"}}},{"role":"assistant","content":"ho","reasoning":"hm","extra_content":{"reasoning":{"model":"m:2"}}}]}`,
			want:    `{"model":"m:1","messages":[{"role":"assistant","content":"ho","thinking":"hm"},{"role":"assistant","content":"ho"}],"stream":true}`,
			dropped: []string{"messages.reasoning"},
		},
		{
			name: "later system messages stay at their place",
			in:   `{"model":"alias","messages":[{"role":"user","content":"hi"},{"role":"developer","content":"be kind"},{"role":"system","content":""},{"role":"assistant","content":"ho"},{"role":"system","content":"go on"}]}`,
			want: `{"model":"m:1","messages":[{"role":"user","content":"hi"},{"role":"user","content":"\u003csystem-instruction\u003e\nbe kind\n\u003c/system-instruction\u003e"},{"role":"assistant","content":"ho"},{"role":"user","content":"\u003csystem-instruction\u003e\ngo on\n\u003c/system-instruction\u003e"}],"stream":true}`,
		},
		{
			name: "tools both ways",
			in: `{"messages":[{"role":"user","content":"hi"},
				{"role":"assistant","content":null,"tool_calls":[{"id":"c1","type":"function","function":{"name":"weather","arguments":"{\"city\": \"Köln\"}"}},{"id":"c2","type":"function","function":{"name":"now","arguments":""}}]},
				{"role":"tool","tool_call_id":"c2","content":"noon"},{"role":"tool","tool_call_id":"c1","content":[{"type":"text","text":"rain"}]},{"role":"tool","tool_call_id":"c9","content":"?"}],
				"tools":[` + weather + `,{"type":"function","function":{"name":"now"}}],"tool_choice":"auto","parallel_tool_calls":false}`,
			want: `{"model":"m:1","messages":[{"role":"user","content":"hi"},{"role":"assistant","content":"","tool_calls":[{"id":"c1","function":{"name":"weather","arguments":{"city":"Köln"}}},{"id":"c2","function":{"name":"now","arguments":{}}}]},` +
				`{"role":"tool","content":"noon","tool_name":"now","tool_call_id":"c2"},{"role":"tool","content":"rain","tool_name":"weather","tool_call_id":"c1"},{"role":"user","content":"(the result of an earlier tool call)\n?"}],` +
				`"tools":[{"type":"function","function":{"name":"weather","description":"d","parameters":{"type":"object","properties":{"city":{"type":"string"}}}}},{"type":"function","function":{"name":"now"}}],"stream":true}`,
			dropped: []string{"parallel_tool_calls", "tools.function.strict"},
		},
		{
			name: "no call wanted",
			in:   `{"messages":[],"tools":[` + weather + `],"tool_choice":"none"}`,
			want: `{"model":"m:1","messages":[],"stream":true}`,
		},
		{
			name: "texts side by side",
			in: `{"messages":[{"role":"system","content":[{"type":"text","text":"A"},{"type":"text","text":"B"}]},{"role":"user","content":[{"type":"text","text":"one"},{"type":"text","text":""},{"type":"text","text":"two\n"},{"type":"text","text":"three"}]},
				{"role":"assistant","content":[{"type":"text","text":"hel"},{"type":"text","text":"lo"}],"tool_calls":[{"id":"c1","type":"function","function":{"name":"f","arguments":"{}"}}]},
				{"role":"tool","tool_call_id":"c1","content":[{"type":"text","text":"x"},{"type":"text","text":"y"}],"is_error":true}]}`,
			want: `{"model":"m:1","messages":[{"role":"system","content":"A\n\nB"},{"role":"user","content":"one\n\ntwo\nthree"},{"role":"assistant","content":"hello","tool_calls":[{"id":"c1","function":{"name":"f","arguments":{}}}]},` +
				`{"role":"tool","content":"(the tool has failed)\nx\n\ny","tool_name":"f","tool_call_id":"c1"}],"stream":true}`,
		},
		{
			name: "images",
			in:   `{"messages":[{"role":"user","content":[{"type":"text","text":"what "},{"type":"image_url","image_url":{"url":"data:image/png;base64,AAAA","detail":"low"}},{"type":"text","text":"is it?"},{"type":"image_url","image_url":{"url":"data:image/jpeg;base64,BBBB"}}]}]}`,
			want: `{"model":"m:1","messages":[{"role":"user","content":"what is it?","images":["AAAA","BBBB"]}],"stream":true}`, dropped: []string{"messages.content.image_url.detail"},
		},
		{
			name: "options",
			in:   `{"messages":[],"max_completion_tokens":7,"max_tokens":9,"temperature":0,"top_p":0.5,"top_k":40,"frequency_penalty":0.1,"presence_penalty":-0.1,"seed":3,"stop":["a","b"],"user":"u","logit_bias":{"1":2}}`,
			want: `{"model":"m:1","messages":[],"options":{"num_predict":7,"temperature":0,"top_p":0.5,"top_k":40,"frequency_penalty":0.1,"presence_penalty":-0.1,"seed":3,"stop":["a","b"]},"stream":true}`, dropped: []string{"user", "logit_bias"},
		},
		{name: "one stop", in: `{"messages":[],"stop":"a"}`, want: `{"model":"m:1","messages":[],"options":{"stop":["a"]},"stream":true}`},
		{name: "any JSON", in: `{"messages":[],"response_format":{"type":"json_object"}}`, want: `{"model":"m:1","messages":[],"format":"json","stream":true}`},
		{name: "JSON by schema", in: `{"messages":[],"response_format":{"type":"json_schema","json_schema":{"name":"n","strict":true,"schema":{"type":"object"}}}}`, want: `{"model":"m:1","messages":[],"format":{"type":"object"},"stream":true}`},
		{name: "text", in: `{"messages":[],"response_format":{"type":"text"},"n":1}`, want: `{"model":"m:1","messages":[],"stream":true}`},
		{name: "no thinking", in: `{"messages":[],"reasoning_effort":"none"}`, want: `{"model":"m:1","messages":[],"think":false,"stream":true}`},
		{name: "some thinking", in: `{"messages":[],"reasoning_effort":"medium"}`, want: `{"model":"m:1","messages":[],"think":"medium","stream":true}`},
		{name: "least thinking", in: `{"messages":[],"reasoning_effort":"minimal"}`, want: `{"model":"m:1","messages":[],"think":"low","stream":true}`},
		{name: "most thinking", in: `{"messages":[],"reasoning_effort":"xhigh"}`, want: `{"model":"m:1","messages":[],"think":"high","stream":true}`},
	} {
		t.Run(tc.name, func(t *testing.T) {
			preq := &provider.Request{Model: "m:1", Body: []byte(tc.in)}
			got, err := chatBody(preq, true)
			if err != nil || string(got) != tc.want {
				t.Errorf("\n got %s, %v\nwant %s", got, err, tc.want)
			}
			if !slices.Equal(preq.Dropped, tc.dropped) {
				t.Errorf("dropped %q, want %q", preq.Dropped, tc.dropped)
			}
		})
	}
}

func TestRefused(t *testing.T) {
	image := func(u string) string {
		return `{"messages":[{"role":"user","content":[{"type":"image_url","image_url":{"url":"` + u + `"}}]}]}`
	}
	const tools = `"messages":[],"tools":[{"type":"function","function":{"name":"f"}}]`
	for _, tc := range []struct {
		name, in, param string
		reason          provider.Reason
	}{
		{"image_by_url", image("https://example.com/a.png"), "messages.0.content.0.image_url.url", provider.ReasonUnsupported},
		{"audio", `{"messages":[{"role":"user","content":[{"type":"input_audio","input_audio":{"data":"AA","format":"wav"}}]}]}`, "messages.0.content.0", provider.ReasonUnsupported},
		{"file", `{"messages":[{"role":"user","content":[{"type":"file","file":{"file_data":"data:application/pdf;base64,AA"}}]}]}`, "messages.0.content.0", provider.ReasonUnsupported},
		{"several_choices", `{"messages":[],"n":2}`, "n", provider.ReasonUnsupported},
		{"forced_call", `{` + tools + `,"tool_choice":"required"}`, "tool_choice", provider.ReasonUnsupported},
		{"call_by_name", `{` + tools + `,"tool_choice":{"type":"function","function":{"name":"f"}}}`, "tool_choice", provider.ReasonUnsupported},
		{"no_tokens", `{"messages":[],"max_tokens":0}`, "max_tokens", provider.ReasonInvalid},
		{"no_limit", `{"messages":[],"max_completion_tokens":-1}`, "max_completion_tokens", provider.ReasonInvalid},
		{"unknown_effort", `{"messages":[],"reasoning_effort":"huge"}`, "reasoning_effort", provider.ReasonInvalid},
	} {
		t.Run(tc.name, func(t *testing.T) {
			_, err := chatBody(&provider.Request{Body: []byte(tc.in)}, false)
			if e, ok := errors.AsType[*provider.Error](err); !ok || e.Reason != tc.reason || e.Param != tc.param {
				t.Errorf("got %+v, want reason %d of %s", err, tc.reason, tc.param)
			}
		})
	}
}
