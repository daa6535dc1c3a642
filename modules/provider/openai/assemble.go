package openai

import (
	"errors"
	"io"

	"github.com/caddy-chat/caddy-chat/modules/provider"
)

// assemble makes a whole answer of a stream that nobody asked for.
func assemble(s provider.Stream) (*provider.Completion, error) {
	w := provider.NewWhole()
	for {
		chunk, err := s.Next()
		switch {
		case errors.Is(err, io.EOF):
			return w.Completion()
		case errors.Is(err, provider.ErrCut):
			return nil, &provider.Error{Reason: provider.ReasonUnavailable, Err: err}
		case err != nil:
			return nil, err
		}
		if err := w.Add(chunk.Raw); err != nil {
			return nil, err
		}
	}
}
