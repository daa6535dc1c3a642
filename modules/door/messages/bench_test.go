package messages

import (
	"testing"

	"github.com/caddy-chat/caddy-chat/modules/provider"
	"github.com/caddy-chat/caddy-chat/modules/sse"
)

const textChunk = `{"id":"chatcmpl-1","object":"chat.completion.chunk","created":1,"model":"up","choices":[{"index":0,"delta":{"content":" and so on"},"finish_reason":null}]}`

// scanned returns a chunk of text as providers make it.
func scanned(tb testing.TB, scan *provider.Scanner) provider.Chunk {
	c, ok := scan.Scan([]byte(textChunk))
	if !ok {
		tb.Fatal("the chunk is not a regular one")
	}
	return provider.Chunk{Raw: []byte(textChunk), Facts: c.Facts, Regular: true}
}

// BenchmarkText writes a chunk of text as an event of each API.
func BenchmarkText(b *testing.B) {
	var scan provider.Scanner
	chunk := scanned(b, &scan)
	b.Run("openai", func(b *testing.B) {
		var buf []byte
		b.ReportAllocs()
		for b.Loop() {
			scan.Scan(chunk.Raw)
			buf = sse.AppendEvent(buf[:0], "", "", chunk.Raw)
		}
	})
	b.Run("messages", func(b *testing.B) {
		s := (&call{}).Stream()
		var buf []byte
		b.ReportAllocs()
		for b.Loop() {
			scan.Scan(chunk.Raw)
			buf = s.Chunk(buf[:0], &chunk)
		}
	})
}

// TestTextAllocates sends text in the middle of an answer, which must not allocate.
func TestTextAllocates(t *testing.T) {
	var scan provider.Scanner
	chunk := scanned(t, &scan)
	s := (&call{}).Stream()
	buf := s.Chunk(make([]byte, 0, 4096), &chunk)
	if n := testing.AllocsPerRun(100, func() { buf = s.Chunk(buf[:0], &chunk) }); n != 0 {
		t.Errorf("%v allocations a chunk", n)
	}
}
