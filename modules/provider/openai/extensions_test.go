package openai

import (
	"strings"
	"testing"

	"github.com/caddy-chat/caddy-chat/modules/provider"
	"github.com/caddy-chat/caddy-chat/modules/provider/providertest"
	"github.com/caddy-chat/caddy-chat/modules/provider/upstream"
)

// TestExtensions has the members of other APIs in a translated request.
func TestExtensions(t *testing.T) {
	const body = `{"model":"m","max_tokens":9,"top_k":4,"thinking":{"type":"adaptive"},"reasoning_effort":"high","cache_control":{"type":"ephemeral"},` +
		`"messages":[{"role":"user","content":[{"type":"text","text":"hi","cache_control":{"type":"ephemeral"}}],"cache_control":{},"is_error":true},` +
		`{"role":"assistant","content":null,"thinking_blocks":[{"type":"thinking"}],"tool_calls":[{"id":"a","cache_control":{}}]},{"role":"user","content":"x"}],` +
		`"tools":[{"type":"function","cache_control":{"type":"ephemeral"},"function":{"name":"f","parameters":{"properties":{"cache_control":{}}}}}]}`
	const rest = `"messages":[{"role":"user","content":[{"type":"text","text":"hi"}]},` +
		`{"role":"assistant","content":null,"tool_calls":[{"id":"a"}]},{"role":"user","content":"x"}],` +
		`"tools":[{"type":"function","function":{"name":"f","parameters":{"properties":{"cache_control":{}}}}}]}`
	for name, tc := range map[string]struct {
		base, want string
		omit       []string
	}{
		"another server": {"http://127.0.0.1:1/v1", `{"model":"m","max_tokens":9,"top_k":4,"reasoning_effort":"high",` + rest, nil},
		"OpenAI":         {defaultBase, `{"model":"m","max_completion_tokens":9,"reasoning_effort":"high",` + rest, nil},
		"without effort": {defaultBase, `{"model":"m","max_completion_tokens":9,` + rest, []string{effortMember}},
	} {
		t.Run(name, func(t *testing.T) {
			o := &OpenAI{Upstream: upstream.Upstream{BaseURL: tc.base}}
			if err := providertest.Provision(t, o); err != nil {
				t.Fatal(err)
			}
			preq := &provider.Request{Body: []byte(body), Translated: true, Omit: tc.omit}
			fit := o.fitted(preq)
			fit.Omit = tc.omit
			if got := string(withoutExtensions(fit)); got != tc.want {
				t.Errorf("got\n%s\nwant\n%s", got, tc.want)
			}
			if told := strings.Contains(strings.Join(preq.Dropped, " "), "top_k"); told != (tc.base == defaultBase) {
				t.Errorf("dropped %v", preq.Dropped)
			}
		})
	}
}
