package openai

import (
	"context"

	"github.com/caddy-chat/caddy-chat/modules/provider"
	"github.com/caddy-chat/caddy-chat/modules/provider/native"
)

// completeBeside answers a request of Responses with a chat completion that holds the
// response.
func (o *OpenAI) completeBeside(ctx context.Context, preq *provider.Request) (*provider.Completion, error) {
	came, err := o.completeResponse(ctx, preq, preq.Beside)
	if err != nil {
		return nil, err
	}
	c := new(fromResponse).completion(came)
	c.Body = native.Beside(c.Body, came.Native)
	c.Facts.Content, c.Facts.OutputBytes = came.Content, came.OutputBytes
	return c, nil
}

// streamBeside answers a request of Responses with chunks that hold its events.
func (o *OpenAI) streamBeside(ctx context.Context, preq *provider.Request) (provider.Stream, error) {
	s, err := o.streamResponse(ctx, preq, preq.Beside)
	if err != nil {
		return nil, err
	}
	return &besideStream{responseChunks{Stream: s}}, nil
}

// besideStream adds their events to the chunks.
type besideStream struct{ responseChunks }

// Next implements provider.Stream.
func (s *besideStream) Next() (*provider.Chunk, error) {
	chunk, came, err := s.next()
	if err != nil || came == nil {
		return chunk, err
	}
	chunk.Raw, chunk.Event = native.Beside(chunk.Raw, native.Data(came.Native)), came.Native
	// what has no place in a chat completion counts, too
	chunk.Content, chunk.OutputBytes = came.Content, came.OutputBytes
	return chunk, nil
}
