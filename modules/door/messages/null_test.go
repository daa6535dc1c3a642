package messages

import (
	"testing"

	"github.com/tidwall/sjson"
)

// TestNull has members that are null where they may be left out: they ask for nothing.
func TestNull(t *testing.T) {
	const body = `{"model":"m","max_tokens":9,"messages":[{"role":"user","content":[{"type":"text","text":"hi"}]},` +
		`{"role":"assistant","content":[{"type":"tool_use","id":"a","name":"f","input":{}}]},` +
		`{"role":"user","content":[{"type":"tool_result","tool_use_id":"a"}]}],` +
		`"tools":[{"name":"f","input_schema":{"type":"object"}}]}`
	want, err := Door{}.Open([]byte(body))
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{
		"system", "tool_choice", "thinking", "stop_sequences", "metadata", "metadata.user_id", "temperature", "top_p", "top_k",
		"stream", "service_tier", "output_config", "output_config.effort", "output_config.format", "output_format", "cache_control",
		"container", "context_management", "mcp_servers",
		"messages.0.content.0.cache_control", "messages.0.content.0.citations",
		"messages.1.content.0.cache_control", "messages.2.content.0.content", "messages.2.content.0.is_error", "messages.2.content.0.cache_control",
		"tools.0.type", "tools.0.description", "tools.0.cache_control", "tools.0.strict", "tools.0.defer_loading",
	} {
		with, err := sjson.SetRaw(body, path, "null")
		if err != nil {
			t.Fatal(err)
		}
		got, err := Door{}.Open([]byte(with))
		if err != nil {
			t.Errorf("%s: %v", path, err)
			continue
		}
		if string(got.Completion()) != string(want.Completion()) || len(got.Dropped()) > 0 || got.Refusal() != nil {
			t.Errorf("%s: dropped %q, refused %v: %s", path, got.Dropped(), got.Refusal(), got.Completion())
		}
	}
	for path, empty := range map[string]string{"mcp_servers": "[]", "container": `""`, "context_management": "{}", "metadata": "{}", "stop_sequences": "[]", "system": "[]"} {
		with, _ := sjson.SetRaw(body, path, empty)
		got, err := Door{}.Open([]byte(with))
		if err != nil || len(got.Dropped()) > 0 {
			t.Errorf("%s: %s: %v, dropped %q", path, empty, err, got.Dropped())
		}
	}
	if _, err := (Door{}).Open([]byte(`{"model":"m","max_tokens":9,"messages":[{"role":"user","content":"hi"}],"tools":null}`)); err != nil {
		t.Errorf("tools: %v", err)
	}
	for _, required := range []string{"max_tokens", "messages"} {
		without, _ := sjson.SetRaw(body, required, "null")
		if _, err := (Door{}).Open([]byte(without)); err == nil {
			t.Errorf("%s may be null", required)
		}
	}
}
