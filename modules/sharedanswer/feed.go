package sharedanswer

import (
	"cmp"
	"context"
	"time"

	"go.uber.org/zap"

	"github.com/caddy-chat/caddy-chat/modules/apierror"
	"github.com/caddy-chat/caddy-chat/modules/provider"
	"github.com/caddy-chat/caddy-chat/modules/store"
)

// The kinds of a feed's events, in the order in which they appear.
const (
	eventRequest = 'r' // the leader's checksum, see keyed.sum, and keyed.key
	eventHead    = 'h' // a head as JSON
	eventBody    = 'b' // bytes
	eventEnd     = 'e' // an end as JSON
)

// end is how a feed ended.
type end struct {
	Failed   *apierror.Error `json:"failed,omitempty"` // nil if the answer is complete
	Attempts int             `json:"attempts"`         // model calls made for it

	// Left says that all clients had left and nothing was stored. A later
	// request then leads an answer of its own.
	Left bool `json:"left,omitempty"`

	// FailureID is the id of the event that reports the failure; empty if the
	// events have none.
	FailureID string `json:"failureId,omitempty"`
}

// event returns the end as the event with this number.
func (e end) event(n int) store.Event {
	return store.Event{N: n, Kind: eventEnd, Data: provider.Encode(e)}
}

// feed publishes an answer to its followers, as events of the turn that has
// claimed the key.
type feed struct {
	k    *keyed
	ctx  context.Context // outlives the client
	turn string
	keep time.Duration // how long its events can be read after its end
	n    int           // events published
	size int           // bytes of the body published
	err  error         // why nothing more is published
}

func (k *keyed) newFeed(turn string) *feed {
	return &feed{k: k, ctx: context.WithoutCancel(k.x.R.Context()), turn: turn, keep: eventsTTL}
}

func (f *feed) event(kind byte, data []byte) store.Event {
	f.n++
	return store.Event{N: f.n, Kind: kind, Data: data}
}

// request returns the first event, which says which request is answered.
func (f *feed) request() store.Event {
	return f.event(eventRequest, append(f.k.sum[:len(f.k.sum):len(f.k.sum)], f.k.key...))
}

// cutRequest returns what the first event has.
func cutRequest(data []byte) (sum []byte, key string) {
	n := min(len(keyed{}.sum), len(data))
	return data[:n], string(data[n:])
}

// head publishes the head of the answer.
func (f *feed) head(h head) {
	if f.err == nil {
		f.err = f.publish(eventHead, provider.Encode(h))
	}
}

// body publishes a part of the body. A body that is too large for the store ends
// the feed, but not the answer.
func (f *feed) body(p []byte) {
	if f.err != nil || len(p) == 0 {
		return
	}
	if f.size > 0 && f.size+len(p) > maxShared {
		f.err = errTooLong
		_ = f.publish(eventEnd, provider.Encode(end{Failed: apierror.AIError()})) // finish tries again
		return
	}
	f.size += len(p)
	f.err = f.publish(eventBody, p)
}

func (f *feed) publish(kind byte, data []byte) error {
	err := f.k.x.Store.Publish(f.ctx, f.k.tenant, f.k.claim, f.turn, f.event(kind, data))
	if err != nil {
		f.k.log.Debug("publishing an answer to its followers", zap.String("turn", f.turn), zap.Error(err))
	}
	return err
}

// finish ends the feed with the last events, and frees the key.
func (f *feed) finish(e end, last ...store.Event) {
	if f.err != nil {
		// the followers do not have all of the answer
		e.Failed, last = cmp.Or(e.Failed, apierror.AIError()), nil
	}
	f.free(f.keep, append(last, f.event(eventEnd, provider.Encode(e)))...)
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
