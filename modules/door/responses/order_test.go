package responses

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"strings"
	"testing"

	"github.com/tidwall/gjson"

	"github.com/caddy-chat/caddy-chat/modules/door"
	"github.com/caddy-chat/caddy-chat/modules/provider"
	"github.com/caddy-chat/caddy-chat/modules/sse"
)

// chunksOf returns the next chunk of a list with each call.
func chunksOf(list []gjson.Result) func() (*provider.Chunk, error) {
	return func() (*provider.Chunk, error) {
		if len(list) == 0 {
			return nil, io.EOF
		}
		raw := list[0].Raw
		list = list[1:]
		return chunkOf(raw), nil
	}
}

// checkOrder checks that events are as a client may rely on: numbered without gaps,
// each within what has begun, all that has begun at its end.
func checkOrder(t *testing.T, events []byte) {
	t.Helper()
	dec := sse.NewDecoder(bytes.NewReader(events), 0)
	open := make(map[string]string) // items by id, what they added up to
	last := ""
	for n := int64(0); ; n++ {
		ev, err := dec.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		v := gjson.ParseBytes(ev.Data)
		if last = v.Get("type").Str; !json.Valid(ev.Data) || last != ev.Type {
			t.Fatalf("event %q has the data %s", ev.Type, ev.Data)
		}
		if v.Get("sequence_number").Int() != n {
			t.Errorf("event %d has the number %s", n, v.Get("sequence_number").Raw)
		}
		if (n == 0) != (last == "response.created") {
			t.Errorf("event %d is %s", n, last)
		}
		id := v.Get("item_id").Str
		if _, known := open[id]; id != "" && !known {
			t.Errorf("%s of an item that is not open", last)
		}
		switch {
		case last == "response.output_item.added":
			open[v.Get("item.id").Str] = ""
		case last == "response.output_item.done":
			if _, known := open[v.Get("item.id").Str]; !known {
				t.Errorf("the end of an item that is not open: %s", ev.Data)
			}
			delete(open, v.Get("item.id").Str)
		case strings.HasSuffix(last, "part.added"):
			open[id] = ""
		case strings.HasSuffix(last, ".delta"):
			open[id] += v.Get("delta").Str
		case strings.HasSuffix(last, ".done") && !strings.HasSuffix(last, "part.done"):
			for _, name := range [...]string{"text", "refusal", "arguments", "input"} {
				if whole := v.Get(name); whole.Exists() && whole.Str != open[id] {
					t.Errorf("%s has %q, the deltas %q", last, whole.Str, open[id])
				}
			}
		}
	}
	if last != "response.failed" && len(open) > 0 {
		t.Errorf("%d items are still open", len(open))
	}
	if last != "response.completed" && last != "response.incomplete" && last != "response.failed" {
		t.Errorf("the last event is %q", last)
	}
}

// FuzzOpen opens requests. What is accepted is a chat completions request, and
// what is refused says which member is at fault.
func FuzzOpen(f *testing.F) {
	for _, body := range []string{
		`{"model":"m","input":"hi"}`,
		`{"input":[{"role":"user","content":[{"type":"input_text","text":"a"},{"type":"input_image","image_url":"data:"}]}],"tools":[{"type":"namespace","name":"n","tools":[{"type":"custom","name":"x"}]}]}`,
		`{"input":[{"type":"reasoning","encrypted_content":"` + door.Seal(thoughts{Text: "x"}) + `"},{"type":"function_call","call_id":"c","name":"f","arguments":"{}"},{"type":"function_call_output","call_id":"c","output":"1"}],"tool_choice":{"type":"function","name":"f"}}`,
		`{"input":[],"text":{"format":{"type":"json_schema","schema":{}}},"include":["x"]}`,
		`{"input":[` + strings.Repeat(`{"type":"reasoning","encrypted_content":"`+door.Seal(thoughts{Text: "x", Blocks: json.RawMessage("777")})+`"},`, 2) + `{"role":"user","content":"hi"}]}`,
	} {
		f.Add([]byte(body))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		if !json.Valid(body) || !gjson.ParseBytes(body).IsObject() {
			return // the gateway has refused it
		}
		c, err := open(body, false)
		if err != nil {
			if e, ok := errors.AsType[*provider.Error](err); !ok || e.Param == "" {
				t.Errorf("failed with %v", err)
			}
			return
		}
		if v := gjson.ParseBytes(c.completion); !json.Valid(c.completion) || len(v.Get("messages").Array()) == 0 {
			t.Errorf("became %s", c.completion)
		}
	})
}

// FuzzStream streams answers of any chunks, cut in two by failures.
func FuzzStream(f *testing.F) {
	f.Add("a", "b", `[{"index":0,"id":"c","function":{"name":"f","arguments":"{"}}]`, `[{"type":"thinking","thinking":"x"}]`, "length", true)
	f.Add("", "", `[{"id":"c","function":{"name":"f"}},{"id":"d","function":{"name":"x","arguments":"{}"}}]`, `{}`, "stop", false)
	f.Fuzz(func(t *testing.T, text, reasoning, calls, blocks, finish string, fails bool) {
		if !json.Valid([]byte(calls)) || !json.Valid([]byte(blocks)) {
			return
		}
		c := opened(t, []byte(`{"input":"hi","include":["reasoning.encrypted_content"],"tools":[{"type":"custom","name":"x"}]}`))
		delta := func(members map[string]any) *provider.Chunk {
			return chunkOf(string(provider.Encode(map[string]any{"choices": []any{map[string]any{"index": 0, "delta": members}}})))
		}
		var b []byte
		s := newStream(c)
		b = s.Chunk(b, delta(map[string]any{"role": "assistant", "reasoning_content": reasoning}))
		b = s.Chunk(b, delta(map[string]any{"content": text, "refusal": reasoning}))
		b = s.Chunk(b, delta(map[string]any{"tool_calls": json.RawMessage(calls)}))
		b = s.Chunk(b, delta(map[string]any{"content": text, "thinking_blocks": json.RawMessage(blocks)}))
		b = s.Chunk(b, delta(map[string]any{"tool_calls": json.RawMessage(calls)}))
		s.finish = finish
		if fails {
			b = s.Fail(b, door.Failure{Code: "ai_error", Message: "x"})
		}
		checkOrder(t, s.End(b, provider.Usage{}))
	})
}
