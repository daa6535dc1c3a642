package openai

import (
	"errors"

	"github.com/caddy-chat/caddy-chat/modules/provider"
)

// assemble reads a stream from a server that was not asked for one, and returns
// it as a whole answer.
func assemble(s provider.Stream) (*provider.Completion, error) {
	c, err := provider.Assemble(s.Next, nil)
	if errors.Is(err, provider.ErrCut) {
		return nil, &provider.Error{Reason: provider.ReasonUnavailable, Err: err}
	}
	if err == nil {
		err = provider.JudgeDocument(&c.Facts, c.Choices)
	}
	return c, err
}
