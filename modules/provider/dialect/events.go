package dialect

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"

	"github.com/caddy-chat/caddy-chat/modules/provider"
	"github.com/caddy-chat/caddy-chat/modules/provider/upstream"
	"github.com/caddy-chat/caddy-chat/modules/sse"
)

// Events reads the events of an answer that is streamed as server-sent
// events, whatever its Content-Type says. An answer that is one JSON document
// instead is its only event.
type Events struct {
	ctx  context.Context
	body io.ReadCloser
	dec  *sse.Decoder // nil until the first bytes told what the body is
	end  bool
}

// NewEvents begins to read an answer, of which nothing is read yet.
func NewEvents(ctx context.Context, resp *http.Response) *Events {
	return &Events{ctx: ctx, body: resp.Body}
}

// Next returns the next event that has data, valid until the following call.
// io.EOF is the end of the body: whether the answer was finished then, the
// caller has to know. Another error is a connection that broke, or the cause
// for which the context ended.
func (e *Events) Next() (sse.Event, error) {
	if e.end {
		return sse.Event{}, io.EOF
	}
	if e.dec == nil {
		begin, rest, err := upstream.Peek(e.body)
		if err != nil {
			return sse.Event{}, e.failed(err)
		}
		switch upstream.KindOf(begin) {
		case upstream.KindJSON:
			e.end = true
			doc, err := upstream.ReadAll(e.ctx, rest)
			return sse.Event{Data: doc}, err
		case upstream.KindOther:
			return sse.Event{}, upstream.NoStream()
		}
		e.dec = sse.NewDecoder(rest, upstream.MaxEvent)
	}
	for {
		ev, err := e.dec.Next()
		if err != nil {
			return sse.Event{}, e.failed(err)
		}
		if len(bytes.TrimSpace(ev.Data)) > 0 {
			return ev, nil
		}
	}
}

// Cut is what it means that there are no more events, where the answer was not
// finished: it was cut off, or it was a document of another kind.
func (e *Events) Cut() error {
	if e.end {
		return &provider.Error{
			Reason: provider.ReasonBadAnswer,
			Status: http.StatusOK,
			Err:    errors.New("the answer is a document without an end"),
		}
	}
	return provider.ErrCut
}

func (e *Events) failed(err error) error {
	switch {
	case e.ctx.Err() != nil:
		return fmt.Errorf("reading the stream: %w", context.Cause(e.ctx))
	case errors.Is(err, sse.ErrTooLong):
		return &provider.Error{Reason: provider.ReasonBadAnswer, Status: http.StatusOK, Err: err}
	case errors.Is(err, io.EOF):
		return io.EOF
	}
	return fmt.Errorf("%w: %w", provider.ErrCut, err)
}

// Close ends the call. Where the answer's end was seen, the connection is
// kept for the next call.
func (e *Events) Close(finished bool) error {
	if finished {
		return upstream.Drain(e.body)
	}
	return e.body.Close()
}
