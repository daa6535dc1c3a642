package items

import (
	"slices"
	"testing"

	"github.com/tidwall/gjson"

	"github.com/caddy-chat/caddy-chat/modules/provider"
)

// TestMessages has messages become items, byte for byte.
func TestMessages(t *testing.T) {
	const (
		call   = `{"id":"c1","type":"function","function":{"name":"f","arguments":"{\"a\": 1}"}}`
		called = `{"arguments":"{\"a\": 1}","call_id":"c1","name":"f","type":"function_call"}`
	)
	for name, tc := range map[string]struct{ messages, items string }{
		"texts": {
			`{"role":"system","content":"be brief"},{"role":"user","content":"hi <b>"},{"role":"assistant","content":"so"}`,
			`{"role":"developer","content":"be brief"},{"role":"user","content":"hi <b>"},{"type":"message","role":"assistant","content":[{"annotations":[],"text":"so","type":"output_text"}]}`,
		},
		"a refusal": {
			`{"role":"assistant","content":null,"refusal":"no"}`,
			`{"type":"message","role":"assistant","content":[{"refusal":"no","type":"refusal"}]}`,
		},
		"parts": {
			`{"role":"user","content":[{"type":"text","text":"see"},{"type":"image_url","image_url":{"url":"data:image/png;base64,AA=="}},{"type":"image_url","image_url":{"url":"https://a.test/b.png","detail":"low"}},{"type":"file","file":{"filename":"a.pdf","file_data":"data:application/pdf;base64,AA=="}},{"type":"file","file":{"file_id":"file-1"}}]}`,
			`{"type":"message","role":"user","content":[{"text":"see","type":"input_text"},{"detail":"auto","image_url":"data:image/png;base64,AA==","type":"input_image"},{"detail":"low","image_url":"https://a.test/b.png","type":"input_image"},{"file_data":"data:application/pdf;base64,AA==","filename":"a.pdf","type":"input_file"},{"file_id":"file-1","type":"input_file"}]}`,
		},
		"a call and its result": {
			`{"role":"assistant","content":"see","tool_calls":[` + call + `]},{"role":"tool","tool_call_id":"c1","content":"sun"}`,
			`{"type":"message","role":"assistant","content":[{"annotations":[],"text":"see","type":"output_text"}]},` + called + `,{"type":"function_call_output","call_id":"c1","output":"sun"}`,
		},
		"a result with an image": {
			`{"role":"tool","tool_call_id":"c1","content":[{"type":"text","text":"sun"},{"type":"image_url","image_url":{"url":"data:image/png;base64,AA=="}}]}`,
			`{"type":"function_call_output","call_id":"c1","output":[{"text":"sun","type":"input_text"},{"detail":"auto","image_url":"data:image/png;base64,AA==","type":"input_image"}]}`,
		},
		"a custom tool": {
			`{"role":"assistant","content":null,"tool_calls":[{"id":"c2","type":"custom","custom":{"name":"sh","input":"ls"}}]},{"role":"tool","tool_call_id":"c2","content":"a"}`,
			`{"call_id":"c2","input":"ls","name":"sh","type":"custom_tool_call"},{"type":"custom_tool_call_output","call_id":"c2","output":"a"}`,
		},
	} {
		t.Run(name, func(t *testing.T) {
			var l List
			for _, m := range gjson.Parse("[" + tc.messages + "]").Array() {
				if !l.Add(m) {
					t.Errorf("%s has no form", m.Raw)
				}
			}
			if got := string(provider.Encode(l.Items)); got != "["+tc.items+"]" || l.Dropped != nil {
				t.Errorf("got\n%s, dropped %q\nwant\n[%s]", got, l.Dropped, tc.items)
			}
		})
	}
	for _, m := range []string{`{"role":"user","content":[{"type":"input_audio","input_audio":{}}]}`, `{"role":"tool","content":[{"type":"new"}]}`, `{"role":"function","content":"x"}`} {
		if new(List).Add(gjson.Parse(m)) {
			t.Errorf("%s has a form", m)
		}
	}
}

// TestReasoning has reasoning stand where it came in the answer.
func TestReasoning(t *testing.T) {
	const (
		first   = `{"type":"reasoning","index":1,"item":{"type":"reasoning","id":"rs_1"}}`
		behind  = `{"type":"reasoning","index":2,"said":true,"item":{"type":"reasoning","id":"rs_2"}}`
		between = `{"type":"reasoning","index":2,"calls":1,"item":{"type":"reasoning","id":"rs_2"}}`
		last    = `{"type":"reasoning","index":2,"said":true,"calls":2,"item":{"type":"reasoning","id":"rs_2"}}`
		claudes = `{"type":"thinking","thinking":"hm","signature":"s"}`
		text    = `"content":"so"`
		calls   = `"tool_calls":[{"id":"c1","function":{"name":"f"}},{"id":"c2","function":{"name":"f"}}]`
	)
	for name, tc := range map[string]struct {
		message string
		items   []string // their ids, or types
		dropped []string
	}{
		"before a text":           {text + `,"thinking_blocks":[` + first + `]`, []string{"rs_1", "message"}, nil},
		"before calls":            {`"content":null,` + calls + `,"thinking_blocks":[` + first + `]`, []string{"rs_1", "c1", "c2"}, nil},
		"between calls":           {`"content":null,` + calls + `,"thinking_blocks":[` + first + `,` + between + `]`, []string{"rs_1", "c1", "rs_2", "c2"}, nil},
		"behind the text":         {text + `,` + calls + `,"thinking_blocks":[` + first + `,` + behind + `]`, []string{"rs_1", "message", "rs_2", "c1", "c2"}, nil},
		"a text behind a call":    {text + `,"tool_calls":[{"id":"c1"}],"thinking_blocks":[` + first + `,` + between + `]`, []string{"rs_1", "c1", "rs_2", "message"}, nil},
		"nothing follows":         {text + `,` + calls + `,"thinking_blocks":[` + first + `,` + last + `]`, []string{"rs_1", "message", "c1", "c2"}, []string{"messages.thinking_blocks"}},
		"its call is gone":        {text + `,"thinking_blocks":[` + behind + `]`, []string{"message"}, []string{"messages.thinking_blocks"}},
		"another maker's":         {text + `,"thinking_blocks":[` + claudes + `],"reasoning_content":"hm"`, []string{"message"}, []string{"messages.reasoning_content", "messages.thinking_blocks"}},
		"beside another maker's":  {text + `,"thinking_blocks":[` + claudes + `,` + first + `],"reasoning_content":"hm"`, []string{"rs_1", "message"}, []string{"messages.thinking_blocks"}},
		"readable, and in blocks": {text + `,"thinking_blocks":[` + first + `],"reasoning_content":"hm"`, []string{"rs_1", "message"}, nil},
		"only readable":           {text + `,"reasoning_content":"hm"`, []string{"message"}, []string{"messages.reasoning_content"}},
	} {
		t.Run(name, func(t *testing.T) {
			var l List
			l.Add(gjson.Parse(`{"role":"assistant",` + tc.message + `}`))
			var got []string
			for _, raw := range l.Items {
				item := gjson.ParseBytes(raw)
				got = append(got, item.Get("id").Str+item.Get("call_id").Str)
				if got[len(got)-1] == "" {
					got[len(got)-1] = item.Get("type").Str
				}
			}
			if !slices.Equal(got, tc.items) || !slices.Equal(l.Dropped, tc.dropped) {
				t.Errorf("got %q, dropped %q, want %q and %q", got, l.Dropped, tc.items, tc.dropped)
			}
		})
	}
}

func TestReasoningOf(t *testing.T) {
	for in, want := range map[string]string{
		`{"type":"reasoning","id":"rs_1","status":"completed","summary":[],"encrypted_content":"g"}`: `{"type":"reasoning","id":"rs_1","summary":[],"encrypted_content":"g"}`,
		`{"type":"reasoning","summary":[],"content":[{"type":"reasoning_text","text":"hm"}]}`:        `{"type":"reasoning","summary":[],"content":[{"type":"reasoning_text","text":"hm"}]}`,
		`{"type":"reasoning","id":"rs_1","summary":[{"type":"summary_text","text":"hm"}]}`:           "",
		`{"type":"reasoning","id":"rs_1","summary":[],"content":[],"encrypted_content":null}`:        "",
	} {
		if got, ok := ReasoningOf(gjson.Parse(in)); string(got) != want || ok != (want != "") {
			t.Errorf("%s became %s, %t", in, got, ok)
		}
	}
	for in, want := range map[string]string{
		`{"summary":[{"text":"a"},{"text":"b"}]}`:             "a\n\nb",
		`{"summary":[],"content":[{"text":"a"},{"text":""}]}`: "a",
		`{"summary":[]}`: "",
	} {
		if got := Readable(gjson.Parse(in)); got != want {
			t.Errorf("%s says %q, want %q", in, got, want)
		}
	}
}
