package openai

import (
	"fmt"
	"slices"
	"strings"
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

// TestSignedReasoning has a proxy of Claude, which calls the model otherwise: it gets what it
// has signed itself, in every API, and nobody else's.
func TestSignedReasoning(t *testing.T) {
	const (
		blocks = `"thinking_blocks":[{"type":"thinking","thinking":"deep","signature":"sig"}]`
		calls  = `"tool_calls":[{"id":"a","extra_content":{"google":{"thought_signature":"sig"}}}]`
		by     = `"extra_content":{"reasoning":{"model":"%s"}}`
	)
	for _, tc := range []struct {
		name, model, by string
		blocks, calls   bool // are kept
		translated      bool
	}{
		{"its own", "smart", "smart", true, true, false},
		{"its own, through a door", "smart", "smart", true, true, true},
		{"another's", "smart", "claude-opus", false, false, false},
		{"a relative's", "anthropic/claude-opus", "claude-opus", true, false, false},
		{"a relative's, through a door", "anthropic/claude-opus", "claude-opus", false, false, true},
		{"somebody's", "smart", "", false, false, false},
		{"somebody's of a known name", "claude", "", true, false, false},
	} {
		t.Run(tc.name, func(t *testing.T) {
			for _, signed := range []struct {
				what string
				kept bool
				name string
			}{{`"content":"so",` + blocks, tc.blocks, "messages.thinking_blocks"}, {calls, tc.calls, "messages.tool_calls.extra_content"}} {
				message := `{"role":"assistant",` + signed.what
				if tc.by != "" {
					message += "," + strings.Replace(by, "%s", tc.by, 1)
				}
				preq := &provider.Request{Model: tc.model, Body: []byte(`{"messages":[` + message + `}]}`), Translated: tc.translated}
				got, err := asPortable(preq, false)
				if err != nil || strings.Contains(string(got), "sig") != signed.kept || slices.Contains(preq.Dropped, signed.name) == signed.kept {
					t.Errorf("%v, dropped %q, got %s", err, preq.Dropped, got)
				}
				if strings.Contains(string(got), `"reasoning":`) {
					t.Errorf("the server is told who has written it: %s", got)
				}
			}
		})
	}
}

// TestItemsOfReasoning has items of Responses on their way to chat completions, which do not
// know them, whoever has made them.
func TestItemsOfReasoning(t *testing.T) {
	const (
		item    = `{"type":"reasoning","index":1,"item":{"type":"reasoning","id":"rs_1","encrypted_content":"g"}}`
		claudes = `{"type":"thinking","thinking":"hm","signature":"s"}`
	)
	for _, tc := range []struct{ model, blocks string }{{"gpt-5.5", item}, {"gpt-5.6", item}, {"gpt-5.5", item + "," + claudes}} {
		for _, translated := range []bool{false, true} {
			body := `{"messages":[{"role":"assistant","content":"so","reasoning_content":"hm","thinking_blocks":[` + tc.blocks + `],"extra_content":{"reasoning":{"model":"gpt-5.5"}}}]}`
			preq := &provider.Request{Model: tc.model, Body: []byte(body), Translated: translated}
			got, err := asPortable(preq, false)
			want := `{"messages":[{"role":"assistant","content":"so"}]}`
			if err != nil || string(got) != want || fmt.Sprint(preq.Dropped) != "[messages.reasoning_content messages.thinking_blocks]" {
				t.Errorf("%s: %v, dropped %q, got %s", tc.model, err, preq.Dropped, got)
			}
		}
	}
}
