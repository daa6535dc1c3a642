package upstream

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/caddy-chat/caddy-chat/modules/provider"
	"github.com/caddy-chat/caddy-chat/modules/sse"
)

// Ended returns what a stream ends with when reading its body fails with err. A
// finished answer stays finished, whatever follows it. If the answer is not
// finished, the end of the body is a cut.
func Ended(ctx context.Context, err error, finished bool) error {
	perr, ok := errors.AsType[*provider.Error](err)
	switch {
	case finished:
		return io.EOF
	case ctx.Err() != nil:
		return fmt.Errorf("reading the stream: %w", context.Cause(ctx))
	case ok:
		return perr
	case errors.Is(err, sse.ErrTooLong):
		return provider.TooLong("an event of the answer", MaxEvent)
	case errors.Is(err, io.EOF):
		return provider.ErrCut
	}
	return fmt.Errorf("%w: %w", provider.ErrCut, err)
}

// Close ends a call. atEnd says that only the end of the body is left to read:
// the connection is then kept for the next call.
func Close(body io.ReadCloser, atEnd bool) error {
	if atEnd {
		return Drain(body)
	}
	return body.Close()
}

const (
	drainBytes   = 4 << 10
	drainTimeout = 50 * time.Millisecond
)

// Drain closes a body of which only the end is left. It reads that end, so that
// the connection can be reused, but does not wait long for it.
func Drain(body io.ReadCloser) error {
	timer := time.AfterFunc(drainTimeout, func() { body.Close() })
	defer timer.Stop()
	_, _ = io.CopyN(io.Discard, body, drainBytes)
	return body.Close()
}
