package responses

import (
	"strings"
	"testing"

	"github.com/tidwall/gjson"

	"github.com/caddy-chat/caddy-chat/modules/door"
	"github.com/caddy-chat/caddy-chat/modules/provider"
	"github.com/caddy-chat/caddy-chat/modules/sse"
)

// TestEndWithinCall ends an answer that has passed as it came, as a budget does, within a
// call of a tool and behind one.
func TestEndWithinCall(t *testing.T) {
	const begun = "event: response.created\ndata: {\"type\":\"response.created\",\"sequence_number\":0,\"response\":{\"id\":\"resp_1\",\"created_at\":1,\"model\":\"m\"}}\n\n" +
		"event: response.output_item.added\ndata: {\"type\":\"response.output_item.added\",\"sequence_number\":1,\"output_index\":0,\"item\":{\"id\":\"fc_1\",\"type\":\"function_call\",\"call_id\":\"c1\",\"name\":\"f\",\"arguments\":\"\"}}\n\n"
	const part = "event: response.function_call_arguments.delta\ndata: {\"type\":\"response.function_call_arguments.delta\",\"sequence_number\":2,\"output_index\":0,\"item_id\":\"fc_1\",\"delta\":\"{\\\"a\"}\n\n"
	const whole = "event: response.output_item.done\ndata: {\"type\":\"response.output_item.done\",\"sequence_number\":3,\"output_index\":0,\"item\":{\"id\":\"fc_1\",\"type\":\"function_call\",\"call_id\":\"c1\",\"name\":\"f\",\"arguments\":\"{}\"}}\n\n"
	for name, tc := range map[string]struct {
		events string
		want   []string // in this order
	}{
		"in the middle":    {begun + part, []string{`arguments.done`, `"sequence_number":3`, `"arguments":"{\"a"`, "output_item.done", `"status":"incomplete"`, "event: response.incomplete", `"output":[{"id":"fc_1"`}},
		"at the beginning": {begun, []string{"arguments.delta", `"sequence_number":2`, "arguments.done", "output_item.done", "event: response.incomplete"}},
		"behind it":        {begun + part + whole, []string{"event: response.incomplete", `"sequence_number":4`, `"output":[{"id":"fc_1"`}},
	} {
		c, err := Door{}.Open([]byte(`{"model":"m","input":"hi","tools":[{"type":"function","name":"f","parameters":{}}]}`))
		if err != nil {
			t.Fatal(err)
		}
		s := c.Stream()
		s.Chunk(nil, &provider.Chunk{Native: []byte(tc.events)})
		f, _ := provider.ParseChunk([]byte(`{"choices":[{"index":0,"delta":{},"finish_reason":"length"}]}`))
		b := s.Chunk(nil, &provider.Chunk{Raw: []byte(`{"choices":[{"index":0,"delta":{},"finish_reason":"length"}]}`), Facts: f})
		got := string(s.End(b, provider.Usage{}))
		rest := got
		for _, want := range tc.want {
			_, after, found := strings.Cut(rest, want)
			if !found {
				t.Errorf("%s: %s is missing, or not there, in\n%s", name, want, got)
				break
			}
			rest = after
		}
	}
}

// TestFailBehindEnd has a kept answer fail whose end came, and waits for that of its turn:
// the end is not sent, and has no number.
func TestFailBehindEnd(t *testing.T) {
	c, err := Door{Stored: true}.Open([]byte(`{"model":"m","input":"hi"}`))
	if err != nil {
		t.Fatal(err)
	}
	s := c.Stream()
	var b []byte
	for _, event := range []string{
		`{"type":"response.created","response":{"id":"resp_1","status":"in_progress"}}`,
		`{"type":"response.completed","response":{"id":"resp_1","status":"completed","output":[]}}`,
	} {
		b = s.Chunk(b, &provider.Chunk{Native: sse.AppendEvent(nil, "", gjson.Get(event, "type").Str, []byte(event))})
	}
	checkOrder(t, s.Fail(b, door.Failure{Code: "ai_error"}))
}
