package chatsession

import (
	"context"
	"strconv"
	"time"

	"go.uber.org/zap"

	"github.com/caddy-chat/caddy-chat/modules/store"
)

// output numbers a turn's events, publishes them for clients that resume, and
// sends them to the client if it asked for a stream. Texts gather until flush.
type output struct {
	t       *turn
	ctx     context.Context // for Publish; outlives the client and the turn
	stream  *eventStream    // nil if the answer is one document
	pending []store.Event
	n       int
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
	if o.n == 0 {
		o.ttft = time.Since(o.t.begun)
	}
	o.pending = append(o.pending, o.number(eventText, []byte(s)))
}

// number returns the turn's next event.
func (o *output) number(kind byte, data []byte) store.Event {
	o.n++
	return store.Event{N: o.n, Kind: kind, Data: data}
}

// flush publishes the texts that were added, and sends them with one write.
func (o *output) flush() {
	if len(o.pending) == 0 {
		return
	}
	if err := o.t.x.store.Publish(o.ctx, o.t.tenant, o.t.session, o.t.id, o.pending...); err != nil {
		o.t.h.log.Debug("publishing events of a turn", zap.String("turn", o.t.id), zap.Error(err))
	}
	if o.stream != nil {
		o.stream.send(o.pending...)
	}
	clear(o.pending) // the store has copied them
	o.pending = o.pending[:0]
}

// stop closes the stream.
func (o *output) stop() {
	if o.stream != nil {
		o.stream.Close()
	}
}
