package anthropic

import (
	"strings"
	"testing"

	"github.com/tidwall/gjson"
)

func TestMarked(t *testing.T) {
	const end = `,"cache_control":{"type":"ephemeral"}`
	for name, tt := range map[string]struct{ body, want string }{
		"nothing":           {`{"messages":[]}`, `{"messages":[]` + end + `}`},
		"text":              {`{"system":"be \u00e9","max_tokens":1.0}`, `{"system":[{"type":"text","text":"be \u00e9"` + end + `}],"max_tokens":1.0` + end + `}`},
		"no text":           {`{"system":"","tools":[{"name":"f"}]}`, `{"system":"","tools":[{"name":"f"` + end + `}]` + end + `}`},
		"blocks":            {`{"system":[{"type":"text","text":"a"}, {"type":"text","text":"b"} ],"tools":[{"name":"f"}]}`, `{"system":[{"type":"text","text":"a"}, {"type":"text","text":"b"` + end + `} ],"tools":[{"name":"f"}]` + end + `}`},
		"tools":             {`{"tools":[{"name":"f"},{"name":"g"}],"messages":[]}`, `{"tools":[{"name":"f"},{"name":"g"` + end + `}],"messages":[]` + end + `}`},
		"deferred":          {`{"tools":[{"name":"f","defer_loading":true}]}`, `{"tools":[{"name":"f","defer_loading":true}]` + end + `}`},
		"null":              {`{"system":[{"text":"a","cache_control":null}],"cache_control":null}`, `{"system":[{"text":"a"` + end + `}]` + end + `}`},
		"in a text":         {`{"system":"say \"cache_control\""}`, `{"system":[{"type":"text","text":"say \"cache_control\""` + end + `}]` + end + `}`},
		"odd":               {`{"system":7,"tools":[1]}`, `{"system":7,"tools":[1]` + end + `}`},
		"its own":           {`{"system":"a","cache_control":{"type":"ephemeral","ttl":"1h"}}`, ""},
		"its own in system": {`{"system":[{"text":"a","cache_control":{}}]}`, ""},
		"its own in a tool": {`{"tools":[{"cache_control":{}},{}],"system":"a"}`, ""},
		"its own in a turn": {`{"messages":[{"role":"user","content":"a"},{"content":[{"type":"tool_result","content":[{"type":"text","cache_control":{}}]}]}],"system":"a"}`, ""},
	} {
		t.Run(name, func(t *testing.T) {
			if tt.want == "" {
				tt.want = tt.body
			}
			if !gjson.Valid(tt.want) {
				t.Fatal("the test wants what is no JSON")
			}
			if got := string(marked([]byte(tt.body))); got != tt.want {
				t.Errorf("got %s\nwant %s", got, tt.want)
			}
		})
	}
}

func TestUnmarked(t *testing.T) {
	const mark = `"cache_control":{"type":"ephemeral"}`
	block := func(marked bool) string {
		if marked {
			return `{"type":"text","text":"a",` + mark + `}`
		}
		return `{"type":"text","text":"a"}`
	}
	said := func(marked ...bool) string {
		var list []string
		for _, m := range marked {
			list = append(list, `{"role":"user","content":[`+block(m)+`]}`)
		}
		return `"messages":[` + strings.Join(list, ",") + `]`
	}
	for name, tt := range map[string]struct{ body, want string }{
		"as many as it may have": {`{` + said(true, true, true, true) + `}`, `{` + said(true, true, true, true) + `}`},
		"more":                   {`{` + said(true, true, true, true, true, true) + `}`, `{` + said(false, false, true, true, true, true) + `}`},
		"others in front":        {`{"system":[` + block(true) + `],"tools":[{"name":"f",` + mark + `}],` + mark + `,` + said(true, true, true) + `}`, `{"system":[` + block(true) + `],"tools":[{"name":"f",` + mark + `}],` + mark + `,` + said(false, false, true) + `}`},
		"in a result": {
			`{"messages":[{"role":"user","content":[{"type":"tool_result","content":[` + block(true) + `],` + mark + `}]},` + strings.TrimPrefix(said(true, true, true), `"messages":[`) + `}`,
			`{"messages":[{"role":"user","content":[{"type":"tool_result","content":[` + block(false) + `],` + mark + `}]},` + strings.TrimPrefix(said(true, true, true), `"messages":[`) + `}`,
		},
		"as an argument": {`{"messages":[{"role":"assistant","content":[{"type":"tool_use","input":{` + mark + `}}]},` + strings.TrimPrefix(said(true, true, true, true), `"messages":[`) + `}`, `{"messages":[{"role":"assistant","content":[{"type":"tool_use","input":{` + mark + `}}]},` + strings.TrimPrefix(said(true, true, true, true), `"messages":[`) + `}`},
	} {
		t.Run(name, func(t *testing.T) {
			if got := string(unmarked([]byte(tt.body))); got != tt.want {
				t.Errorf("got\n%s\nwant\n%s", got, tt.want)
			}
		})
	}
}
