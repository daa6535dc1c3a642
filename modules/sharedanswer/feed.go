package sharedanswer

import (
	"cmp"
	"context"
	"encoding/json"
	"time"

	"go.uber.org/zap"

	"github.com/caddy-chat/caddy-chat/modules/apierror"
	"github.com/caddy-chat/caddy-chat/modules/store"
)

// The kinds of a feed's events, in their order.
const (
	eventRequest = 'r' // the sum of the request that leads
	eventHead    = 'h' // a head as JSON
	eventBody    = 'b' // bytes
	eventEnd     = 'e' // an end as JSON
)

// end is how a feed ended.
type end struct {
	Failed   *apierror.Error `json:"failed,omitempty"` // why there is no answer, or not all of it
	Attempts int             `json:"attempts"`         // calls made for it

	// Left says that all clients had left and that nothing was stored. A
	// request that comes now makes an answer of its own.
	Left bool `json:"left,omitempty"`
}

// feed is the turn of a claimed key: its events are the answer for those who
// follow it.
type feed struct {
	k    *keyed
	ctx  context.Context // outlives the client
	turn string
	n    int   // events so far
	size int   // bytes of the body so far
	err  error // why nothing more is published
}

func (k *keyed) newFeed(turn string) *feed {
	return &feed{k: k, ctx: context.WithoutCancel(k.x.R.Context()), turn: turn}
}

func (f *feed) event(kind byte, data []byte) store.Event {
	f.n++
	return store.Event{N: f.n, Kind: kind, Data: data}
}

// open says which request is answered.
func (f *feed) open() error {
	if err := f.publish(eventRequest, f.k.sum[:]); err != nil {
		return f.k.storeError("publish", err)
	}
	return nil
}

// head begins the answer.
func (f *feed) head(h head) {
	if f.err == nil {
		f.err = f.publish(eventHead, encodeJSON(h))
	}
}

// body goes on with it. What would be too much to hold for others ends the feed
// and not the answer.
func (f *feed) body(p []byte) {
	if f.err != nil || len(p) == 0 {
		return
	}
	if f.size > 0 && f.size+len(p) > maxShared {
		f.err = errTooLong
		_ = f.publish(eventEnd, encodeJSON(end{Failed: apierror.AIError()})) // or else with the answer
		return
	}
	f.size += len(p)
	f.err = f.publish(eventBody, p)
}

func (f *feed) publish(kind byte, data []byte) error {
	err := f.k.x.Store.Publish(f.ctx, f.k.tenant, f.k.claim, f.turn, f.event(kind, data))
	if err != nil {
		f.k.log.Debug("publishing an answer for those who repeat its key", zap.String("turn", f.turn), zap.Error(err))
	}
	return err
}

// finish ends the feed with the last events, and frees the key.
func (f *feed) finish(e end, last ...store.Event) {
	if f.err != nil {
		// those who follow have not all of it
		e.Failed, last = cmp.Or(e.Failed, apierror.AIError()), nil
	}
	f.free(eventsTTL, append(last, f.event(eventEnd, encodeJSON(e)))...)
}

// abandon frees the key and leaves nothing to follow.
func (f *feed) abandon() { f.free(0) }

func (f *feed) free(ttl time.Duration, last ...store.Event) {
	ctx, cancel := f.k.storeContext()
	defer cancel()
	if err := f.k.x.Store.FinishTurn(ctx, f.k.tenant, f.k.claim, f.turn, ttl, last...); err != nil {
		f.k.app.StoreFailed("finish")
		f.k.log.Error("freeing an Idempotency-Key", zap.String("turn", f.turn), zap.Error(err))
	}
}

// encodeJSON renders one of our own types, which cannot fail.
func encodeJSON(v any) []byte {
	b, _ := json.Marshal(v)
	return b
}
