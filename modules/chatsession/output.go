package chatsession

import (
	"context"
	"errors"
	"slices"
	"strconv"
	"time"

	"go.uber.org/zap"

	"github.com/caddy-chat/caddy-chat/modules/apierror"
	"github.com/caddy-chat/caddy-chat/modules/provider"
	"github.com/caddy-chat/caddy-chat/modules/store"
)

// output numbers a turn's events, publishes them for clients that resume, and
// sends them to the client if it asked for a stream. Texts gather until flush.
type output struct {
	t       *turn
	ctx     context.Context // for Publish; outlives the client and the turn
	stream  *eventStream    // nil if the answer is one document
	pending []store.Event
	raws    bool // the events are those of a stream under /v1, and texts are among them
	gap     bool // an event could not be published: the next ones are not, either
	n       int
	size    int // of all events, as they are held for those who follow
	ttft    time.Duration
}

func (t *turn) newOutput(streamed bool) *output {
	o := &output{t: t, ctx: context.WithoutCancel(t.x.R.Context())}
	if streamed {
		o.stream = t.h.newEventStream(t.ctx, t.x, t.id)
		o.stream.SetHeader("X-Tokens-In", strconv.FormatInt(t.tokensIn, 10))
		o.begins(t.model)
	}
	return o
}

// begins is called when the next handler begins its answer. model is the name in
// its header and may be empty.
func (o *output) begins(model string) {
	if o.stream != nil && model != "" {
		o.stream.SetHeader("X-Model-Id", model)
	}
}

// text adds a piece of the answer.
func (o *output) text(s string) {
	if o.ttft == 0 {
		o.ttft = time.Since(o.t.begun)
	}
	if o.raws {
		return
	}
	o.pending = append(o.pending, o.number(eventText, []byte(s)))
}

// raw adds an event of a stream under /v1, which must not change until flush.
func (o *output) raw(event []byte) {
	o.pending = append(o.pending, o.number(eventRaw, event))
}

// maxEvents is how many bytes the events of a turn may take. The longest answers of models
// are less, even if each token comes in a large chunk of its own.
const maxEvents = 64 << 20

// eventCost is about what an event takes besides its data.
const eventCost = 64

// number returns the turn's next event. A turn whose events are too many to be held ends.
func (o *output) number(kind byte, data []byte) store.Event {
	o.n++
	if o.size += eventCost + len(data); o.size > maxEvents {
		o.t.tooLong(provider.TooLong("the answer", maxEvents))
	}
	return store.Event{N: o.n, Kind: kind, Data: data}
}

// flush publishes the texts that were added, and sends them with one write.
func (o *output) flush() {
	if len(o.pending) == 0 {
		return
	}
	o.publish()
	if o.stream != nil {
		o.stream.send(o.pending...)
	}
	clear(o.pending) // the store has copied them
	o.pending = o.pending[:0]
}

func (o *output) publish() {
	if o.gap {
		return
	}
	err := o.t.x.Store.Publish(o.ctx, o.t.tenant, o.t.session, o.t.id, o.pending...)
	if err == nil {
		return
	}
	o.gap = true
	if errors.Is(err, store.ErrNotFound) {
		return // the session was deleted meanwhile
	}
	o.t.h.app.StoreFailed("publish")
	o.t.h.log.Error("publishing events of a turn", zap.String("turn", o.t.id), zap.Error(err))
}

// published returns the last events as those who follow the turn get them: an
// answer of which they miss a piece does not end as if it were whole.
func (o *output) published(last []store.Event, u usage) []store.Event {
	told := slices.ContainsFunc(last, func(ev store.Event) bool { return ev.Kind == eventError })
	if !o.gap || told {
		return last
	}
	return failed(last[0].N, o.raws, apierror.StorageUnavailable(nil), u, o.t.x.Rec.TraceID)
}

// failed returns the events from number n on that end a turn with a failure.
func failed(n int, raws bool, e *apierror.Error, u usage, traceID string) (last []store.Event) {
	add := func(kind byte, data []byte) {
		last = append(last, store.Event{N: n + len(last), Kind: kind, Data: data})
	}
	if raws {
		add(eventRaw, apierror.OpenAIFrame(e, traceID))
	}
	add(eventError, provider.Encode(errorEvent{e.Code, e.Message, traceID}))
	add(eventDone, provider.Encode(doneEvent{true, finishError, u}))
	return last
}

// stop closes the stream.
func (o *output) stop() {
	if o.stream != nil {
		o.stream.Close()
	}
}
