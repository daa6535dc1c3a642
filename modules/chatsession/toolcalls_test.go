package chatsession

import (
	"encoding/json"
	"reflect"
	"testing"

	"github.com/tidwall/gjson"
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

func TestToolCalls(t *testing.T) {
	const one = `{"id":"c1","type":"function","function":{"name":"look","arguments":"{\"at\": \"<a>\"}"}}`
	const two = `{"id":"c2","type":"function","function":{"name":"go","arguments":"{}"}}`
	for _, tc := range []struct {
		name  string
		parts []string // each a chunk's tool_calls
		text  string
		want  string // tool_calls, empty for no message
	}{
		{"by_index", []string{
			`[{"index":0,"id":"c1","type":"function","function":{"name":"look","arguments":""}}]`,
			`[{"index":0,"function":{"arguments":"{\"at\": "}}]`,
			`[{"index":0,"function":{"arguments":"\"<a>\"}"}}]`,
		}, "", "[" + one + "]"},
		{"interleaved", []string{
			`[{"index":0,"id":"c1","type":"function","function":{"name":"look","arguments":"{\"at\":"}},{"index":1,"id":"c2","type":"function","function":{"name":"go"}}]`,
			`[{"index":1,"function":{"arguments":"{"}}]`,
			`[{"index":0,"function":{"arguments":" \"<a>\"}"}},{"index":1,"function":{"arguments":"}"}}]`,
		}, "said first", "[" + one + "," + two + "]"},
		{"without_index", []string{
			`[{"id":"c1","type":"function","function":{"name":"look","arguments":"{\"at\": "}}]`,
			`[{"function":{"arguments":"\"<a>\"}"}}]`,
			`[{"id":"c2","function":{"name":"go","arguments":"{}"}}]`,
		}, "", "[" + one + "," + two + "]"},
		{"with_members_of_one_provider", []string{
			`[{"index":0,"id":"c2","type":"function","function":{"name":"go","arguments":"{}"},"extra_content":{"a":{"s":"x"}}}]`,
			`[{"index":0,"extra_content":{"a":{"s":"signed"}}}]`,
		}, "", `[{"id":"c2","type":"function","function":{"name":"go","arguments":"{}"},"extra_content":{"a":{"s":"signed"}}}]`},
		{"custom", []string{
			`[{"index":0,"id":"c1","type":"custom","custom":{"name":"run","input":"ls "}}]`,
			`[{"index":0,"custom":{"input":"-l"}}]`,
		}, "", `[{"id":"c1","type":"custom","custom":{"name":"run","input":"ls -l"}}]`},
		{"cut_before_the_name", []string{`[{"index":0,"id":"c1"}]`}, "", ""},
		{"none", []string{`[]`, `null`, `{}`, `"x"`}, "", ""},
	} {
		t.Run(tc.name, func(t *testing.T) {
			var c toolCalls
			for _, p := range tc.parts {
				c.addParts(gjson.Parse(p))
			}
			got := string(c.message(tc.text))
			if tc.want == "" {
				if got != "" {
					t.Errorf("got %s", got)
				}
				return
			}
			content := "null"
			if tc.text != "" {
				content = `"` + tc.text + `"`
			}
			if want := `{"role":"assistant","content":` + content + `,"tool_calls":` + tc.want + `}`; !sameJSON(t, got, want) {
				t.Errorf("got  %s\nwant %s", got, want)
			}
		})
	}
	t.Run("whole", func(t *testing.T) {
		var c toolCalls
		c.addWhole(gjson.Parse("[" + one + "," + two + "]"))
		if got := string(c.message("")); !sameJSON(t, got, `{"role":"assistant","content":null,"tool_calls":[`+one+","+two+`]}`) {
			t.Errorf("got %s", got)
		}
	})
}
