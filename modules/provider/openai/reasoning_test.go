package openai

import (
	"slices"
	"testing"

	"github.com/caddy-chat/caddy-chat/modules/provider"
	"github.com/caddy-chat/caddy-chat/modules/provider/upstream"
)

// TestReasoningOfOthers: some servers refuse reasoning that another provider wants
// back.
func TestReasoningOfOthers(t *testing.T) {
	const (
		user    = `{"role":"user","content":"hi","reasoning":"mine"}`
		tail    = ` , "seed" : 1 }`
		call    = `"tool_calls":[{"id":"a","type":"function","function":{"name":"f","arguments":"{}"}}]`
		thought = `{"role":"assistant","reasoning_content":"hm","content":null,"reasoning":"h","thinking_blocks":[],` + call + `}`
	)
	body := `{ "messages": [` + user + `, ` + thought + `]` + tail
	for _, tc := range []struct {
		base, want string
		dropped    []string
	}{
		{"https://api.deepseek.com/v1", body, nil},
		{"http://127.0.0.1:8000/v1", body, nil},
		{"https://api.mistral.ai.example/v1", body, nil},
		{"https://api.mistral.ai/v1", `{ "messages": [` + user + `,{"role":"assistant","content":null,` + call + `}]` + tail, []string{"messages.reasoning_content", "messages.reasoning", "messages.thinking_blocks"}},
		{"https://api.groq.com/openai/v1", `{ "messages": [` + user + `,{"role":"assistant","content":null,"reasoning":"h",` + call + `}]` + tail, []string{"messages.reasoning_content", "messages.thinking_blocks"}},
	} {
		preq := &provider.Request{Body: []byte(body), TraceID: "t"}
		got, err := newOpenAI(t, upstream.Upstream{BaseURL: tc.base}).withoutReasoning(preq)
		if err != nil || string(got.Body) != tc.want || got.TraceID != "t" || !slices.Equal(preq.Dropped, tc.dropped) {
			t.Errorf("%s: %v, dropped %q\n got %s\nwant %s", tc.base, err, preq.Dropped, got.Body, tc.want)
		}
		if string(preq.Body) != body {
			t.Errorf("%s: the caller's body was changed: %s", tc.base, preq.Body)
		}
	}
	for _, body := range []string{`{}`, `{"messages":"reasoning"}`, `{"messages":[{"role":"user","content":"\"reasoning"}]}`, `{"messages":[1,null,"reasoning"]}`} {
		preq := &provider.Request{Body: []byte(body)}
		if got, err := withoutReasoning(preq, ""); got != preq || err != nil {
			t.Errorf("%s: %s, %v", body, got.Body, err)
		}
	}
}
