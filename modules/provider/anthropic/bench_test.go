package anthropic

import (
	"bytes"
	"net/http"
	"strings"
	"testing"

	"github.com/caddy-chat/caddy-chat/modules/provider"
	"github.com/caddy-chat/caddy-chat/modules/provider/native"
)

type readCloser struct{ *bytes.Reader }

func (readCloser) Close() error { return nil }

// BenchmarkChunk compares an event that passes as it came with one that is turned into
// a chunk of a chat completion.
func BenchmarkChunk(b *testing.B) {
	const n = 1000
	events := []byte("event: message_start\ndata: {\"type\":\"message_start\",\"message\":{\"model\":\"m\",\"usage\":{\"input_tokens\":3}}}\n\n" +
		strings.Repeat("event: content_block_delta\ndata: {\"type\":\"content_block_delta\",\"index\":0,\"delta\":{\"type\":\"text_delta\",\"text\":\" some words\"}}\n\n", n))
	for name, open := range map[string]func(*http.Response) provider.Stream{
		"native": func(r *http.Response) provider.Stream {
			return native.NewStream(b.Context(), r, new(reader), new(provider.Request), readMessage)
		},
		"translated": func(r *http.Response) provider.Stream { return newStream(b.Context(), r, "m", nil) },
	} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for i := 0; i < b.N; i += n {
				s := open(&http.Response{Body: readCloser{bytes.NewReader(events)}})
				for {
					if _, err := s.Next(); err != nil {
						break
					}
				}
			}
		})
	}
}
