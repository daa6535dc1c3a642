package responses

import (
	"encoding/json"
	"testing"

	"github.com/tidwall/gjson"
)

// TestTextsOfAConversation has messages of several texts stand in front of a request's own.
func TestTextsOfAConversation(t *testing.T) {
	const texts = `[{"type":"text","text":"one"},{"type":"text","text":"two"}]`
	c := opened(t, []byte(`{"input":"hi"}`))
	body, _, ok := c.Whole("", []json.RawMessage{
		[]byte(`{"role":"developer","content":` + texts + `}`),
		[]byte(`{"role":"assistant","content":null,"tool_calls":[{"id":"c","type":"function","function":{"name":"f","arguments":"{}"}}]}`),
		[]byte(`{"role":"tool","tool_call_id":"c","content":` + texts + `}`),
		[]byte(`{"role":"developer","content":[{"type":"text","text":"three"}]}`),
	})
	for path, want := range map[string]string{
		"input.0.content": `[{"text":"one","type":"input_text"},{"text":"two","type":"input_text"}]`,
		"input.2.output":  `[{"text":"one","type":"input_text"},{"text":"two","type":"input_text"}]`,
		"input.3.content": `"three"`,
	} {
		if got := gjson.GetBytes(body, path).Raw; !ok || got != want {
			t.Errorf("%s is %s, want %s", path, got, want)
		}
	}
}

// TestEmptyMembers has members that say nothing.
func TestEmptyMembers(t *testing.T) {
	c := opened(t, []byte(`{"input":"hi","include":[],"metadata":{},"context_management":[],"prompt_cache_options":{},"max_tool_calls":null,"truncation":null}`))
	if len(c.Dropped()) > 0 {
		t.Errorf("dropped %q", c.Dropped())
	}
}
