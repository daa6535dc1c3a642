package chatsession

import (
	"encoding/json"
	"reflect"
	"strings"
	"testing"

	"github.com/tidwall/gjson"

	"github.com/caddy-chat/caddy-chat/modules/provider"
)

func sameJSON(t *testing.T, a, b string) bool {
	t.Helper()
	var x, y any
	if err := json.Unmarshal([]byte(a), &x); err != nil {
		t.Fatalf("%v: %s", err, a)
	}
	if err := json.Unmarshal([]byte(b), &y); err != nil {
		t.Fatalf("%v: %s", err, b)
	}
	return reflect.DeepEqual(x, y)
}

func TestWireAnswer(t *testing.T) {
	const (
		call     = `"tool_calls":[{"id":"c1","type":"function","function":{"name":"look","arguments":"{\"at\": \"<a>\"}"},"extra_content":{"s":"x"}}]`
		thoughts = `"reasoning_content":"hm","reasoning":"h","reasoning_details":[{"type":"reasoning.text","text":"hm","index":0,"signature":"s"}],"thinking_blocks":[{"type":"thinking","thinking":"hm","signature":"s"}]`
	)
	for _, tc := range []struct {
		name, message, text string
		answersTools        bool
		want                string
	}{
		{"only_text", `{"content":"hi"}`, "hi", false, ""},
		{"nothing", `{}`, "", true, ""},
		{"text_with_reasoning", `{"content":"hi",` + thoughts + `}`, "hi", false, ""},
		{"text_with_reasoning_after_tools", `{"content":"hi",` + thoughts + `}`, "hi", true, `{"role":"assistant","content":"hi",` + thoughts + `}`},
		{"calls", `{"content":null,` + call + `}`, "", false, `{"role":"assistant","content":null,` + call + `}`},
		{"calls_with_text_and_reasoning", `{"content":"hi",` + call + `,` + thoughts + `,"audio":{"id":"a"},"annotations":[]}`, "hi", false, `{"role":"assistant","content":"hi",` + call + `,` + thoughts + `}`},
		{"calls_with_an_empty_reasoning", `{"reasoning_content":"","reasoning":null,` + call + `}`, "", false, `{"role":"assistant","content":null,"reasoning_content":"",` + call + `}`},
		{"calls_that_broke_off", `{"tool_calls":[{"id":"c1"}],` + thoughts + `}`, "", false, ""},
		{"a_function_call", `{"function_call":{"name":"f","arguments":"{}"},"reasoning":"h"}`, "", false, `{"role":"assistant","content":null,"function_call":{"name":"f","arguments":"{}"},"reasoning":"h"}`},
	} {
		t.Run(tc.name, func(t *testing.T) {
			var whole, streamed provider.Message
			whole.AddWhole(gjson.Parse(tc.message))
			streamed.Add(gjson.Parse(tc.message))
			for _, m := range []*provider.Message{&whole, &streamed} {
				got, err := wireAnswer(m, tc.text, tc.answersTools)
				if err != nil {
					t.Fatal(err)
				}
				if tc.want == "" && got != nil || tc.want != "" && !sameJSON(t, string(got), tc.want) {
					t.Errorf("got  %s\nwant %s", got, tc.want)
				}
			}
		})
	}
	t.Run("without_line_breaks_and_broken_letters", func(t *testing.T) {
		var m provider.Message
		m.Add(gjson.Parse("{\"tool_calls\":[{\"id\":\"c\",\"function\":{\"name\":\"f\"},\"x\":{\n\"a\": \"\xff\"}}]}"))
		got, err := wireAnswer(&m, "", false)
		if want := `{"role":"assistant","content":null,"tool_calls":[{"id":"c","type":"function","function":{"name":"f","arguments":"{}"},"x":{"a":"` + "\ufffd" + `"}}]}`; err != nil || string(got) != want {
			t.Errorf("got  %s, %v\nwant %s", got, err, want)
		}
	})
}

// TestReasoningIsBounded: reasoning that is too large is left out as a whole, and
// the calls beside it stay.
func TestReasoningIsBounded(t *testing.T) {
	a := newAnswer(&output{t: new(turn)})
	a.event([]byte(`{"choices":[{"index":0,"delta":{"role":"assistant","reasoning_content":"first "}}]}`))
	piece := strings.Repeat("x", 1<<10)
	for range maxReasoning/len(piece) + 10 {
		a.event([]byte(`{"choices":[{"index":0,"delta":{"reasoning_content":"` + piece + `"}}]}`))
	}
	a.event([]byte(`{"choices":[{"index":0,"delta":{"reasoning_content":"last","tool_calls":[{"index":0,"id":"c","function":{"name":"f","arguments":"{}"}}]},"finish_reason":"tool_calls"}]}`))
	if a.failure != nil {
		t.Fatal(a.failure)
	}
	got, err := wireAnswer(&a.message, "", false)
	if want := `{"role":"assistant","content":null,"tool_calls":[{"id":"c","type":"function","function":{"name":"f","arguments":"{}"}}]}`; err != nil || string(got) != want {
		t.Errorf("got %s, %v", got, err)
	}
}
