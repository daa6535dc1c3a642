package responses

import (
	"testing"

	"github.com/caddy-chat/caddy-chat/modules/provider"
	"github.com/caddy-chat/caddy-chat/modules/sse"
)

// BenchmarkDelta compares a text delta with the chunk that it is made of.
func BenchmarkDelta(b *testing.B) {
	chunk := chunkOf(`{"id":"chatcmpl-0198f0c1","object":"chat.completion.chunk","created":1764100000,"model":"gpt-5.5-mini","choices":[{"index":0,"delta":{"content":" wonderful"},"finish_reason":null}]}`)
	b.Run("responses", func(b *testing.B) {
		s := newStream(opened(b, []byte(`{"input":"hi"}`)))
		buf := s.Chunk(nil, chunk)
		b.ReportAllocs()
		for b.Loop() {
			buf = s.Chunk(buf[:0], chunk)
		}
	})
	b.Run("chat", func(b *testing.B) {
		var buf []byte
		b.ReportAllocs()
		for b.Loop() {
			buf = sse.AppendEvent(buf[:0], "", "", chunk.Raw)
		}
	})
}

// TestDeltaAllocates keeps text deltas free of allocations, but for the text
// that is kept for the end.
func TestDeltaAllocates(t *testing.T) {
	chunk := &provider.Chunk{Facts: provider.Facts{Text: "x", Choices: 1, Content: true}}
	s := newStream(opened(t, []byte(`{"input":"hi"}`)))
	buf := s.Chunk(nil, chunk)
	if n := testing.AllocsPerRun(1000, func() { buf = s.Chunk(buf[:0], chunk) }); n >= 1 {
		t.Errorf("%v allocations a delta", n)
	}
}
