package aigateway

import (
	"errors"
	"fmt"
	"io"

	"github.com/caddy-chat/caddy-chat/modules/provider"
)

// maxWhole is the largest answer that is put together.
const maxWhole = 64 << 20

// assemble calls for a stream and makes a whole answer of it. What is used is
// seen as it comes so, and a budget can end the answer.
func (a *attempt) assemble() (*provider.Completion, error) {
	if err := a.open(); err != nil {
		return nil, err
	}
	// it is still a whole answer that is waited for
	a.watch.Reset(a.c.patience(max(a.c.h.ResponseTimeout, a.c.h.FirstTokenTimeout)))
	w := provider.NewWhole()
	for size := 0; ; {
		chunk, err := a.Next()
		if errors.Is(err, io.EOF) {
			return w.Completion()
		}
		if err != nil {
			return nil, err
		}
		if size += len(chunk.Raw); size > maxWhole {
			return nil, &provider.Error{Reason: provider.ReasonBadAnswer, Err: fmt.Errorf("the answer has more than %d bytes", maxWhole)}
		}
		err = a.c.meter(a.used(), chunk)
		if _, spent := errors.AsType[*budgetError](err); spent {
			a.c.exhausted(err)
			a.over(err)
			return w.Cut(chunk.Raw)
		}
		if err == nil {
			err = w.Add(chunk.Raw)
		}
		if err != nil {
			return nil, err
		}
	}
}
