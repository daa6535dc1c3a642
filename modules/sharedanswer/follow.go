package sharedanswer

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"

	"github.com/caddy-chat/caddy-chat/modules/apierror"
	"github.com/caddy-chat/caddy-chat/modules/chat"
	"github.com/caddy-chat/caddy-chat/modules/record"
	"github.com/caddy-chat/caddy-chat/modules/store"
)

// follower sends the answer of another request with the same key.
type follower struct {
	*client
	k    *keyed
	ctx  context.Context // ends with the client, and a stream's also at shutdown
	turn string
	sent int // bytes of the body sent

	ended bool // the turn has ended
}

// replay sends a stored answer.
func (k *keyed) replay(a *recording) {
	f, stop := k.newFollower(a.Turn)
	defer stop()
	f.begin(a.Status, a.Header)
	f.finish(a, a.replay())
}

// finish sends the rest of a stored answer, and its failure if any.
func (f *follower) finish(a *recording, rest []byte) {
	err := f.write(rest)
	switch {
	case err != nil:
		f.tell(apierror.From(apierror.Cancelled(f.ctx)))
	case a.Failure != nil:
		f.failureID = a.FailureID
		f.tell(a.Failure)
	}
}

// follow sends the answer of the running turn. If it returns false and no error,
// the key has become free or the answer is stored.
func (k *keyed) follow() (answered bool, err error) {
	turn, evs, err := k.next(k.x.R.Context(), "", 0)
	if err != nil || len(evs) == 0 {
		return false, err
	}
	if sum, _ := cutRequest(evs[0].Data); !bytes.Equal(sum, k.sum[:]) {
		return false, apierror.IdempotencyKeyReused()
	}
	leave, err := k.attend(turn)
	if err != nil {
		return false, err
	}
	f, stop := k.newFollower(turn)
	defer stop()
	defer func() { leave(!f.ended) }()
	return f.follow(evs)
}

func (k *keyed) newFollower(turn string) (f *follower, stop func()) {
	// A client that does not read must not delay the shutdown.
	ctx, cancel := chat.CallContext(k.x.R.Context(), k.x.Stream)
	f = &follower{client: k.client(), k: k, ctx: ctx, turn: turn}
	f.stream = k.x.NewStream(ctx, chat.KeepAlive{})        // the leader's keep-alives are among the events
	f.onBegin = func() { k.x.W.Header().Del(HeaderCache) } // the leader's
	return f, func() {
		f.stream.Close()
		cancel(nil)
	}
}

// next waits for the events after number n of a turn. It returns none if the
// turn has ended or the store has dropped it.
func (k *keyed) next(ctx context.Context, turn string, n int) (string, []store.Event, error) {
	newest, evs, err := k.x.Store.Follow(ctx, k.tenant, k.claim, turn, n)
	if errors.Is(err, store.ErrLost) {
		if err := k.endLost(newest, n); err != nil {
			return "", nil, err
		}
		newest, evs, err = k.x.Store.Follow(ctx, k.tenant, k.claim, turn, n)
	}
	if errors.Is(err, store.ErrNotFound) {
		return "", nil, nil
	}
	if err != nil && ctx.Err() != nil {
		return "", nil, apierror.Cancelled(ctx)
	}
	if err != nil {
		return "", nil, k.storeError("follow", err)
	}
	return newest, evs, nil
}

// follow sends the events that come with and after evs. It flushes once for all
// events that one read returned.
func (f *follower) follow(evs []store.Event) (answered bool, err error) {
	for {
		if f.header == nil && endOf(evs[len(evs)-1]).Left {
			return false, nil
		}
		for _, ev := range evs {
			if err := f.take(ev); err != nil {
				return f.fail(err)
			}
			if ev.Kind == eventEnd {
				return f.end(endOf(ev))
			}
		}
		if err := f.flush(); err != nil {
			return f.fail(apierror.Cancelled(f.ctx))
		}
		var newest string
		newest, evs, err = f.k.next(f.k.x.R.Context(), f.turn, evs[len(evs)-1].N)
		if err != nil {
			return f.fail(err)
		}
		if len(evs) == 0 || newest != f.turn {
			return f.lost()
		}
	}
}

func (f *follower) take(ev store.Event) error {
	switch ev.Kind {
	case eventHead:
		var h head
		if err := json.Unmarshal(ev.Data, &h); err != nil {
			return f.k.storeError("follow", err)
		}
		f.begin(h.Status, h.Header)
	case eventBody:
		if _, err := f.x.W.Write(ev.Data); err != nil {
			return apierror.Cancelled(f.ctx)
		}
		f.sent += len(ev.Data)
	}
	return nil
}

func endOf(ev store.Event) (e end) {
	if ev.Kind == eventEnd {
		_ = json.Unmarshal(ev.Data, &e) // written by us
	}
	return e
}

// end completes the answer the way the leader ended.
func (f *follower) end(e end) (answered bool, err error) {
	f.ended = true
	rec := f.k.x.Rec
	rec.SetCall(record.Call{Model: rec.CallSoFar().Model, Attempts: e.Attempts})
	if e.Failed != nil {
		f.failureID = e.FailureID
		return f.fail(e.Failed)
	}
	return true, nil
}

// fail ends the answer with an error, or returns the error if the answer has not
// begun.
func (f *follower) fail(err error) (answered bool, _ error) {
	if f.header == nil {
		return false, err
	}
	f.tell(apierror.From(err))
	return true, nil
}

// lost continues when the events are gone, because the client was too slow or
// the leader's node has died. It sends the rest of the stored answer, if there
// is one.
func (f *follower) lost() (answered bool, err error) {
	if f.header == nil {
		return false, nil
	}
	value, err := f.k.x.Store.CacheGet(f.k.x.R.Context(), f.k.tenant, f.k.key)
	if err != nil {
		return f.fail(apierror.AIError().Because(errBrokenOff))
	}
	a, err := f.k.stored(value)
	if err != nil || a == nil || a.Turn != f.turn || len(a.body) < f.sent {
		return f.fail(apierror.AIError().Because(errBrokenOff))
	}
	f.finish(a, a.body[f.sent:])
	return true, nil
}
