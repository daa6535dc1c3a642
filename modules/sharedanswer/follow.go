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

// follower is a request that gets the answer another one is getting.
type follower struct {
	*client
	k    *keyed
	ctx  context.Context // of its stream, for why it ended
	turn string
	sent int // bytes of the body

	ended bool   // the turn has
	done  func() // ends the count of open streams
}

// replay gives a stored answer once more.
func (k *keyed) replay(a *recording) {
	f, stop := k.newFollower(a.Turn)
	defer stop()
	f.begin(a.Status, a.Header)
	f.finish(a, a.replay())
}

// finish sends the rest of a stored answer, and tells how it ended.
func (f *follower) finish(a *recording, rest []byte) {
	err := f.write(rest)
	switch {
	case err != nil:
		f.tell(apierror.From(goneBecause(f.ctx)))
	case a.Failure != nil:
		f.tell(a.Failure)
	}
}

// follow sends the answer that is being made under the key. Where it returns
// neither an answer nor an error, the key is free, or the answer stored.
func (k *keyed) follow() (answered bool, err error) {
	turn, evs, err := k.next("", 0)
	if err != nil || len(evs) == 0 {
		return false, err
	}
	if !bytes.Equal(evs[0].Data, k.sum[:]) {
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
	// A client that does not read does not hold up the process's end.
	ctx, cancel := chat.CallContext(k.x.R.Context(), k.x.Stream)
	unhook := chat.CutShort(ctx, k.x.W, k.x.R)
	f = &follower{client: k.client(), k: k, ctx: ctx, turn: turn, done: func() {}}
	f.onBegin = func() {
		k.x.W.Header().Del(HeaderCache) // of the first request
		if f.events && k.x.OwnsConnection() {
			f.done = k.app.OpenStream(k.x.Rec.TenantID())
		}
	}
	return f, func() {
		f.done()
		unhook()
		cancel(nil)
	}
}

// next waits for the events after one. There are none where the turn has
// ended, or is forgotten.
func (k *keyed) next(turn string, n int) (string, []store.Event, error) {
	newest, evs, err := k.x.Store.Follow(k.x.R.Context(), k.tenant, k.claim, turn, n)
	if errors.Is(err, store.ErrNotFound) {
		return "", nil, nil
	}
	if err != nil {
		return "", nil, k.storeError("follow", err)
	}
	return newest, evs, nil
}

// follow goes on from the first events. What is there at once is flushed at
// once.
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
			return f.fail(goneBecause(f.ctx))
		}
		var newest string
		newest, evs, err = f.k.next(f.turn, evs[len(evs)-1].N)
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
			return goneBecause(f.ctx)
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

// end answers as the other request was answered.
func (f *follower) end(e end) (answered bool, err error) {
	f.ended = true
	rec := f.k.x.Rec
	rec.SetCall(record.Call{Model: rec.CallSoFar().Model, Attempts: e.Attempts})
	if e.Failed != nil {
		return f.fail(e.Failed)
	}
	return true, nil
}

// fail ends the answer with an error, or returns it where there is no answer
// yet.
func (f *follower) fail(err error) (answered bool, _ error) {
	if f.header == nil {
		return false, err
	}
	f.tell(apierror.From(err))
	return true, nil
}

// lost goes on after the events are gone: the client was too slow, or the node
// that made the answer has died.
func (f *follower) lost() (answered bool, err error) {
	if f.header == nil {
		return false, nil
	}
	a, err := f.k.stored()
	if err != nil || a == nil || a.Turn != f.turn || len(a.body) < f.sent {
		return f.fail(apierror.AIError().Because(errBrokenOff))
	}
	f.finish(a, a.body[f.sent:])
	return true, nil
}
