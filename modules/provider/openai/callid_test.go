package openai

import (
	"io"
	"strings"
	"testing"

	"github.com/tidwall/gjson"
)

// TestToolCallWithoutAnID: a result can only be sent for a call that has one.
func TestToolCallWithoutAnID(t *testing.T) {
	const begin = `data: {"choices":[{"index":0,"delta":{"role":"assistant","tool_calls":[{"index":0,"function":{"name":"f","arguments":""}}]}}]}` + "\n\n"
	const more = `data: {"choices":[{"index":0,"delta":{"tool_calls":[{"index":0,"function":{"arguments":"{}"}}]}}]}` + "\n\n"
	s := newStream(t.Context(), io.NopCloser(strings.NewReader(begin+more)))
	chunk, err := s.Next()
	if err != nil {
		t.Fatal(err)
	}
	if id := gjson.GetBytes(chunk.Raw, "choices.0.delta.tool_calls.0.id").Str; !strings.HasPrefix(id, "call_") {
		t.Errorf("the call has the id %q: %s", id, chunk.Raw)
	}
	chunk, err = s.Next()
	if err != nil {
		t.Fatal(err)
	}
	if id := gjson.GetBytes(chunk.Raw, "choices.0.delta.tool_calls.0.id"); id.Exists() {
		t.Errorf("its arguments have another id: %s", chunk.Raw)
	}

	answer := []byte(`{"object":"chat.completion","choices":[{"index":0,"message":{"role":"assistant","content":null,"tool_calls":[{"type":"function","function":{"name":"f","arguments":"{}"}}]},"finish_reason":"tool_calls"}]}`)
	whole := mendCompletion(answer, gjson.ParseBytes(answer))
	if id := gjson.GetBytes(whole, "choices.0.message.tool_calls.0.id").Str; !strings.HasPrefix(id, "call_") {
		t.Errorf("the whole answer's call has the id %q", id)
	}
}

// TestOneIDForTwoCalls has a server give two calls the same id, which could not be answered
// apart.
func TestOneIDForTwoCalls(t *testing.T) {
	list := gjson.Parse(`[{"index":0,"id":"a","type":"function","function":{"name":"f","arguments":"{}"}},{"index":1,"id":"a","type":"function","function":{"name":"f","arguments":"{}"}},{"index":2,"id":"b","type":"function","function":{"name":"f","arguments":"{}"}}]`)
	whole, _ := mendWhole(list)
	streamed, _ := new(calls).mend(list)
	for what, mended := range map[string]string{"whole": whole, "streamed": streamed} {
		ids := gjson.Get(mended, "#.id").Array()
		if len(ids) != 3 || ids[0].Str != "a" || ids[1].Str == "a" || ids[1].Str == "" || ids[2].Str != "b" {
			t.Errorf("%s: %s", what, ids)
		}
	}
}
