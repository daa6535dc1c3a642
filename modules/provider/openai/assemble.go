package openai

import (
	"errors"
	"io"

	"github.com/caddy-chat/caddy-chat/modules/provider"
)

// assemble reads a stream from a server that was not asked for one, and returns
// it as a whole answer.
func assemble(s provider.Stream) (*provider.Completion, error) {
	w := provider.NewWhole()
	for {
		chunk, err := s.Next()
		switch {
		case errors.Is(err, io.EOF):
			c, err := w.Completion()
			if err == nil {
				err = provider.JudgeDocument(&c.Facts, c.Choices)
			}
			return c, err
		case errors.Is(err, provider.ErrCut):
			return nil, &provider.Error{Reason: provider.ReasonUnavailable, Err: err}
		case err != nil:
			return nil, err
		}
		if err := w.AddChunk(chunk); err != nil {
			return nil, err
		}
	}
}
