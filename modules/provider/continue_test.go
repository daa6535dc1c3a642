package provider

import "testing"

func TestContinuable(t *testing.T) {
	const (
		user = `"messages":[{"role":"user","content":"hi"}]`
		tool = `"tools":[{"type":"function","function":{"name":"f"}}]`
	)
	for _, tc := range []struct {
		name, body string
		want       bool
	}{
		{"text", `{` + user + `}`, true},
		{"one_choice", `{` + user + `,"n":1}`, true},
		{"choices_left_open", `{` + user + `,"n":null,"response_format":null}`, true},
		{"tools_that_may_be_called", `{` + user + `,` + tool + `,"tool_choice":"auto"}`, true},
		{"a_choice_without_tools", `{` + user + `,"tool_choice":"required"}`, true},
		{"text_by_name", `{` + user + `,"response_format":{"type":"text"}}`, true},
		{"after_a_tool", `{"messages":[{"role":"tool","content":"1"}]}`, true},
		{"several_choices", `{` + user + `,"n":2}`, false},
		{"forced_call", `{` + user + `,` + tool + `,"tool_choice":"required"}`, false},
		{"call_by_name", `{` + user + `,` + tool + `,"tool_choice":{"type":"function","function":{"name":"f"}}}`, false},
		{"old_call_by_name", `{` + user + `,"function_call":{"name":"f"}}`, false},
		{"JSON", `{` + user + `,"response_format":{"type":"json_object"}}`, false},
		{"JSON_by_schema", `{` + user + `,"response_format":{"type":"json_schema"}}`, false},
		{"speech", `{` + user + `,"modalities":["text","audio"]}`, false},
		{"answer_that_the_client_began", `{"messages":[{"role":"assistant","content":"he"}]}`, false},
		{"nothing_said", `{"messages":[]}`, false},
		{"nothing", `{}`, false},
	} {
		t.Run(tc.name, func(t *testing.T) {
			if got := (&Request{Body: []byte(tc.body)}).Continuable(); got != tc.want {
				t.Errorf("got %v, want %v: %s", got, tc.want, tc.body)
			}
		})
	}
}
