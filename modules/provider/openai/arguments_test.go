package openai

import "testing"

func TestGoodArguments(t *testing.T) {
	const call = `{"id":"c","type":"function","function":{"name":"f","arguments":`
	for _, tc := range []struct{ name, in, want string }{
		{"an object", `{"role":"assistant","content":null,"tool_calls":[` + call + `"{ \"a\":1}"}}]}`, ``},
		{"cut off", `{"role":"assistant","content":null,"tool_calls":[` + call + `"{\"a"}}]}`, `{"role":"assistant","content":"(the arguments of the call of f are not a JSON object: {\"a)","tool_calls":[` + call + `"{}"}}]}`},
		{
			"cut off behind text", `{"role":"assistant","content":"so","tool_calls":[` + call + `"{}"}},` + call + `"[1]"}}]}`,
			`{"role":"assistant","content":"so\n\n(the arguments of the call of f are not a JSON object: [1])","tool_calls":[` + call + `"{}"}},` + call + `"{}"}}]}`,
		},
		{
			"cut off behind parts", `{"role":"assistant","content":[],"tool_calls":[` + call + `"7"}}]}`,
			`{"role":"assistant","content":[{"type":"text","text":"(the arguments of the call of f are not a JSON object: 7)"}],"tool_calls":[` + call + `"{}"}}]}`,
		},
		{"empty", `{"role":"assistant","tool_calls":[` + call + `""}}]}`, `{"role":"assistant","tool_calls":[` + call + `"{}"}}]}`},
		{"null as text", `{"role":"assistant","tool_calls":[` + call + `"null"}}]}`, `{"role":"assistant","tool_calls":[` + call + `"{}"}}]}`},
		{"null", `{"role":"assistant","tool_calls":[` + call + `null}}]}`, `{"role":"assistant","tool_calls":[` + call + `"{}"}}]}`},
		{"no text", `{"role":"assistant","tool_calls":[` + call + `{"a":1}}}]}`, `{"role":"assistant","tool_calls":[` + call + `"{\"a\":1}"}}]}`},
		{"no calls", `{"role":"user","content":"tool_calls"}`, ``},
	} {
		t.Run(tc.name, func(t *testing.T) {
			in := `{"x" : 1,"messages":[` + tc.in + `],"y":[ ]}`
			want := in
			if tc.want != "" {
				want = `{"x" : 1,"messages":[` + tc.want + `],"y":[ ]}`
			}
			got, bad := goodArguments([]byte(in))
			if string(got) != want || bad != (tc.want != "") {
				t.Errorf("%v\n got %s\nwant %s", bad, got, want)
			}
		})
	}
}
