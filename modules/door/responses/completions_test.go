package responses

import (
	"testing"

	"github.com/tidwall/gjson"
)

// TestCustomToolsNested has custom tools in this API's shape, which chat completions have in
// another.
func TestCustomToolsNested(t *testing.T) {
	const (
		flat   = `{"type":"custom","name":"sh","description":"runs","format":{"type":"grammar","syntax":"lark","definition":"start: x"}}`
		nested = `{"type":"custom","custom":{"name":"sh","description":"runs","format":{"type":"grammar","grammar":{"syntax":"lark","definition":"start: x"}}}}`
		text   = `{"type":"custom","name":"say","format":{"type":"text"}}`
		said   = `{"type":"custom","custom":{"name":"say","format":{"type":"text"}}}`
		choice = `"tool_choice":{"type":"custom","name":"sh"}`
	)
	for name, body := range map[string]string{
		"messages": `{"messages":[{"role":"user","content":"hi"}],"tools":[` + flat + `,` + text + `],` + choice + `}`,
		"input": `{"input":[{"role":"user","content":"hi"},{"type":"custom_tool_call","call_id":"c","name":"sh","input":"ls"},{"type":"custom_tool_call_output","call_id":"c","output":"x"}],"tools":[` +
			flat + `,` + text + `],` + choice + `}`,
	} {
		root := gjson.Parse(body)
		if !Shaped(root.Get("messages"), root.Get("input"), root.Get("tools")) {
			t.Errorf("%s: not taken for this shape", name)
		}
		got, dropped, err := Completion([]byte(body))
		if err != nil || len(dropped) > 0 {
			t.Errorf("%s: %v, dropped %q", name, err, dropped)
		}
		root = gjson.ParseBytes(got)
		if tools := root.Get("tools").Raw; tools != "["+nested+","+said+"]" {
			t.Errorf("%s: the tools are %s", name, tools)
		}
		if chosen := root.Get("tool_choice"); chosen.Get("type").Str != "custom" || chosen.Get("custom.name").Str != "sh" {
			t.Errorf("%s: the choice is %s", name, chosen.Raw)
		}
		if call := root.Get("messages.1.tool_calls.0").Raw; name == "input" && call != `{"id":"c","type":"custom","custom":{"name":"sh","input":"ls"}}` {
			t.Errorf("the call is %s", call)
		}
	}
	_, dropped, err := Completion([]byte(`{"messages":[],"tools":[{"type":"function","name":"f","defer_loading":true}]}`))
	if err != nil || len(dropped) != 1 || dropped[0] != "tools.defer_loading" {
		t.Errorf("dropped %q, %v", dropped, err)
	}
}
