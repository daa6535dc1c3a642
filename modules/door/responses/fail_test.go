package responses

import (
	"bytes"
	"path/filepath"
	"testing"

	"github.com/tidwall/gjson"

	"github.com/caddy-chat/caddy-chat/modules/door"
	"github.com/caddy-chat/caddy-chat/modules/provider"
)

// TestBrokenOff has each sample fail, or end at its limit as a cancelled one does, after each
// of its chunks. The response has all items that were begun, the open ones as incomplete,
// but for reasoning, which has no status.
func TestBrokenOff(t *testing.T) {
	ends := map[string]func(*stream, []byte) []byte{
		"failed": func(s *stream, b []byte) []byte { return s.Fail(b, door.Failure{Code: "ai_error"}) },
		"incomplete": func(s *stream, b []byte) []byte {
			s.finish = "length"
			return s.End(b, provider.Usage{})
		},
	}
	for _, file := range inputs(t, "answers") {
		for status, end := range ends {
			t.Run(filepath.Base(file)+"/"+status, func(t *testing.T) {
				sample := gjson.ParseBytes(read(t, file))
				for n := range len(sample.Get("chunks").Array()) + 1 {
					s := newStream(opened(t, []byte(sample.Get("request").Raw)))
					var sent []byte
					for _, raw := range sample.Get("chunks").Array()[:n] {
						sent = s.Chunk(sent, chunkOf(raw.Raw))
					}
					done := bytes.Count(sent, []byte("event: response.output_item.done\n"))
					told := bytes.Count(sent, []byte("event: response.output_item.added\n"))
					events := end(s, sent)
					if status == "failed" {
						if got := events[len(sent):]; bytes.Count(got, []byte("event: ")) != 2 {
							t.Errorf("after %d chunks it fails with\n%s", n, got)
						}
					} else {
						told = bytes.Count(events, []byte("event: response.output_item.added\n"))
					}
					if n > 0 {
						checkOrder(t, events)
					}
					r := gjson.ParseBytes(events[bytes.LastIndex(events, []byte("data: "))+len("data: "):]).Get("response")
					output := r.Get("output").Array()
					if r.Get("status").Str != status || len(output) != told {
						t.Errorf("after %d chunks %d items were begun, and it is %s", n, told, r.Raw)
					}
					for i, item := range output {
						if i >= done && item.Get("type").Str != typeReasoning && item.Get("status").Str != statusIncomplete {
							t.Errorf("after %d chunks an item that was open is %s", n, item.Raw)
						}
					}
				}
			})
		}
	}
}
