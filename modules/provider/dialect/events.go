package dialect

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net/http"

	"github.com/caddy-chat/caddy-chat/modules/provider"
	"github.com/caddy-chat/caddy-chat/modules/provider/upstream"
	"github.com/caddy-chat/caddy-chat/modules/sse"
)

// Events reads the events of an answer that is streamed as server-sent events,
// whatever its Content-Type says. An answer that is one JSON document counts as
// a single event.
type Events struct {
	ctx  context.Context
	body io.ReadCloser
	dec  *sse.Decoder // nil until the first bytes show what the body is
	raw  bool
	end  bool
}

// NewEvents begins to read an answer. Nothing of it may have been read yet.
func NewEvents(ctx context.Context, resp *http.Response) *Events {
	return &Events{ctx: ctx, body: resp.Body}
}

// KeepRaw has the events of a stream carry their Raw. Call it before Next.
func (e *Events) KeepRaw() { e.raw = true }

// Next returns the next event that has data, valid until the following call.
// Pass its error to Ended.
func (e *Events) Next() (sse.Event, error) {
	if e.end {
		return sse.Event{}, io.EOF
	}
	if e.dec == nil {
		begin, rest, err := upstream.Peek(e.body)
		if err != nil {
			return sse.Event{}, err
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
		if e.raw {
			e.dec.KeepRaw()
		}
	}
	for {
		ev, err := e.dec.Next()
		if err != nil {
			return sse.Event{}, err
		}
		if len(bytes.TrimSpace(ev.Data)) > 0 {
			return ev, nil
		}
	}
}

// Ended returns what the stream ends with when Next fails with err. finished
// says that the answer is complete. If it is not, a single document was not an
// answer, and a stream was cut.
func (e *Events) Ended(err error, finished bool) error {
	err = upstream.Ended(e.ctx, err, finished)
	if e.end && errors.Is(err, provider.ErrCut) {
		return provider.BadAnswer(errors.New("the answer is a document without an end"))
	}
	return err
}

// Close ends the call. atEnd says that only the end of the body is left to
// read: the connection is then kept for the next call.
func (e *Events) Close(atEnd bool) error { return upstream.Close(e.body, atEnd) }
