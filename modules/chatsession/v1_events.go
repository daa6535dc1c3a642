package chatsession

import (
	"context"
	"errors"

	"github.com/caddy-chat/caddy-chat/modules/apierror"
	"github.com/caddy-chat/caddy-chat/modules/chat"
	"github.com/caddy-chat/caddy-chat/modules/provider"
	"github.com/caddy-chat/caddy-chat/modules/sharedanswer"
	"github.com/caddy-chat/caddy-chat/modules/sse"
	"github.com/caddy-chat/caddy-chat/modules/store"
)

// TakesChunks implements chat.ChunkTaker.
func (w *v1Writer) TakesChunks() bool { return w.stage != stageWaiting && w.a.events != nil }

// TakeChunk implements chat.ChunkTaker.
func (w *v1Writer) TakeChunk(c *provider.Chunk) error {
	if w.stage == stageFailed {
		return errUnstored
	}
	_ = w.a.TakeChunk(c) // a failure to parse it is no failure to write it
	w.add("", c.Raw)
	if w.taker == nil || !w.taker.TakesChunks() || w.isLost() {
		return nil
	}
	w.taken = true
	return w.taker.TakeChunk(c)
}

// FlushChunks implements chat.ChunkTaker.
func (w *v1Writer) FlushChunks() error {
	w.o.flush()
	if len(w.events) == 0 {
		return nil
	}
	err := w.forward(w.events)
	w.events, w.taken = sse.Reuse(w.events), false
	return err
}

// takeEvents takes the events of a stream that the next handler writes as bytes. Only
// whole ones are passed on.
func (w *v1Writer) takeEvents(next func() (sse.Event, bool, error)) error {
	for {
		if w.stage == stageFailed {
			return errUnstored
		}
		ev, ok, err := next()
		if err != nil {
			w.a.fail(provider.TooLong("an event of the answer", sse.MaxEvent))
			return errors.Join(w.FlushChunks(), w.a.failure)
		}
		if !ok {
			return w.FlushChunks()
		}
		if w.a.done || w.a.broken {
			continue // it has ended
		}
		if w.a.failure == nil {
			w.a.event(ev.Data)
		}
		if !w.a.done && !w.a.broken {
			w.add(ev.Type, ev.Data)
			continue
		}
		if err := w.takeLast(ev); err != nil {
			return err
		}
	}
}

// takeLast takes the event that ends the stream. The usage of ai_gateway is known only
// after it has returned.
func (w *v1Writer) takeLast(ev sse.Event) error {
	if err := w.FlushChunks(); err != nil {
		return err
	}
	w.last = sse.AppendEvent(nil, "", ev.Type, ev.Data)
	if w.isGateway() {
		return nil
	}
	if e := w.settle(); e.unstored {
		w.tell(e.failure)
		return errUnstored
	}
	return w.release()
}

// add adds an event of the stream, for the client and for those who follow.
func (w *v1Writer) add(name string, data []byte) {
	w.events = w.withID(w.events, w.o.n+1)
	from := len(w.events)
	w.events = sse.AppendEvent(w.events, "", name, data)
	w.o.raw(w.events[from:])
}

// withID appends the line with an event's id.
func (w *v1Writer) withID(dst []byte, n int) []byte {
	if len(w.id) == 0 {
		return dst
	}
	return appendID(dst, w.id, n)
}

// endEvents returns the event of /v1 that ends the stream, if there is one, and has
// it sent to the client.
func (w *v1Writer) endEvents(e ending) []store.Event {
	if w.stage == stageWaiting || w.a.events == nil {
		return nil
	}
	failure := w.untold(e)
	end := w.last
	switch {
	case failure != nil:
		end = apierror.OpenAIFrame(failure, w.t.x.Rec.TraceID)
	case end == nil && errors.Is(context.Cause(w.t.ctx), errAnswered):
		end = sse.AppendEvent(nil, "", "", []byte(provider.EndMark)) // the upstream has not sent it
	}
	if end == nil {
		return nil
	}
	ev := w.o.number(eventRaw, end)
	numbered := append(w.withID(nil, ev.N), end...)
	if failure == nil {
		w.held = append(w.held, numbered...)
		return []store.Event{ev}
	}
	w.frame = numbered
	if recorder := sharedanswer.RecorderOf(w.t.x.W); recorder != nil && len(w.id) > 0 {
		recorder.FailsAs(sharedanswer.EventID(w.t.id, ev.N))
	}
	return []store.Event{ev}
}

// untold returns the failure that the stream still has to report, or nil.
func (w *v1Writer) untold(e ending) *apierror.Error {
	switch {
	case e.unstored:
		return e.failure
	case w.handed != nil:
		return w.a.failure
	case w.a.failure != nil && apierror.Ended(w.t.ctx) != nil:
		return e.failure
	}
	return nil
}

// Interface guard
var _ chat.ChunkTaker = (*v1Writer)(nil)
