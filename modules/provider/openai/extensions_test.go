package openai

import (
	"slices"
	"testing"

	"github.com/caddy-chat/caddy-chat/modules/provider"
	"github.com/caddy-chat/caddy-chat/modules/provider/providertest"
	"github.com/caddy-chat/caddy-chat/modules/provider/upstream"
)

// TestExtensions has the members of other APIs in a translated request.
func TestExtensions(t *testing.T) {
	const body = `{"model":"m","max_tokens":9,"top_k":4,"thinking":{"type":"adaptive","display":"omitted"},"reasoning_effort":"high","cache_control":{"type":"ephemeral"},` +
		`"messages":[{"role":"user","content":[{"type":"text","text":"hi","cache_control":{"type":"ephemeral"}}],"cache_control":{}},{"role":"assistant","reasoning_content":"hm"},` +
		`{"role":"assistant","content":null,"reasoning_content":"hm","thinking_blocks":[{"type":"thinking"}],"tool_calls":[{"id":"a","cache_control":{},"extra_content":{"google":{}}},{"id":"b"}]},` +
		`{"role":"tool","tool_call_id":"a","content":"x","is_error":true},{"role":"tool","tool_call_id":"b","content":[{"type":"text","text":"y"}],"is_error":true}],` +
		`"tools":[{"type":"function","cache_control":{"type":"ephemeral"},"function":{"name":"f","parameters":{"properties":{"cache_control":{}}}}}]}`
	const rest = `"messages":[{"role":"user","content":[{"type":"text","text":"hi"}]},` +
		`{"role":"assistant","content":null,"tool_calls":[{"id":"a"},{"id":"b"}]},{"role":"tool","tool_call_id":"a","content":"(the tool has failed)\nx"},` +
		`{"role":"tool","tool_call_id":"b","content":[{"type":"text","text":"(the tool has failed)\n"},{"type":"text","text":"y"}]}],` +
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
			if got, err := asPortable(o.fitted(preq), false); string(unrefused(preq.With(got)).Body) != tc.want || err != nil {
				t.Errorf("%v, got\n%s\nwant\n%s", err, got, tc.want)
			}
			dropped := []string{
				"cache_control", "messages.cache_control", "messages.content.cache_control", "messages.reasoning_content", "messages.thinking_blocks",
				"messages.tool_calls.cache_control", "messages.tool_calls.extra_content", "thinking.display", "tools.cache_control",
			}
			if tc.base == defaultBase {
				dropped = append(dropped, "top_k")
			}
			if tc.omit != nil {
				dropped = append(dropped, tc.omit...)
			}
			slices.Sort(dropped)
			if got := slices.Sorted(slices.Values(preq.Dropped)); !slices.Equal(got, dropped) {
				t.Errorf("dropped %q, want %q", got, dropped)
			}
		})
	}
}
