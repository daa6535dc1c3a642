package sharedanswer

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"net/http"

	"github.com/caddy-chat/caddy-chat/modules/apierror"
	"github.com/caddy-chat/caddy-chat/modules/sse"
	"github.com/caddy-chat/caddy-chat/modules/store"
)

// Resume answers with the events of a numbered stream that come after the one that
// the client saw last, and follows it to its end. The turn is found for the user
// whose request has begun it.
func (d *Idempotency) Resume(x *Request, turn string) error {
	k := &keyed{Idempotency: d, x: &KeyedRequest{Request: *x}, tenant: cmp.Or(x.Rec.TenantID(), noTenant)}
	var err error
	k.claim, err = x.Store.FindTurn(x.R.Context(), k.tenant, claimUser(x.Rec.User), turn)
	if errors.Is(err, store.ErrNotFound) {
		return apierror.NotFound()
	}
	if err != nil {
		return k.storeError("find", err)
	}
	n, err := LastSeen(x.R, turn)
	if err != nil {
		return err
	}
	f, stop := k.newFollower(turn)
	defer stop()
	r := &resuming{follower: f, n: n}
	if n > 0 {
		r.seen.id = EventID(turn, n)
	}
	if err := r.run(); err != nil {
		_, err = f.fail(err)
		return err
	}
	return nil
}

// resuming is a follower that has seen the beginning of the stream.
type resuming struct {
	*follower
	n    int // of the last event that it has seen
	seen seen
	head head // as the leader has sent it; Status is 0 before
}

// run sends what the client has not seen. It begins the answer when there is
// something to send or to wait for.
func (r *resuming) run() error {
	for n := 0; ; {
		newest, evs, err := r.k.next(r.ctx, r.turn, n)
		if err != nil {
			return err
		}
		if len(evs) == 0 || newest != r.turn {
			return r.gone()
		}
		for _, ev := range evs {
			if err := r.take(ev); err != nil {
				return err
			}
			if ev.Kind == eventEnd {
				return r.end(endOf(ev))
			}
		}
		n = evs[len(evs)-1].N
		if r.head.Status != 0 {
			r.start()
		}
		if r.x.R.Method == http.MethodHead {
			return nil
		}
	}
}

// take sends the part of an event that the client has not seen.
func (r *resuming) take(ev store.Event) error {
	switch ev.Kind {
	case eventRequest:
		_, r.k.key = cutRequest(ev.Data)
	case eventHead:
		if err := json.Unmarshal(ev.Data, &r.head); err != nil {
			return r.k.storeError("follow", err)
		}
		if !sse.IsStream(r.head.Header) {
			return apierror.NotFound() // a document has no events
		}
	case eventBody:
		rest := r.seen.rest(ev.Data)
		if len(rest) == 0 {
			return nil
		}
		r.start()
		if err := r.write(rest); err != nil {
			return apierror.Cancelled(r.ctx)
		}
	}
	return nil
}

// start sends the header, unless it was sent.
func (r *resuming) start() {
	if r.header == nil {
		r.begin(r.head.Status, r.head.Header)
		_ = r.flush() // the client may have gone
	}
}

// end ends the answer the way the leader did.
func (r *resuming) end(e end) error {
	switch {
	case r.head.Status == 0:
		return apierror.NotFound() // it has failed before any event
	case e.Failed != nil && r.n < numberOf(e.FailureID):
		r.start()
		r.failureID = e.FailureID
		return e.Failed
	case r.header == nil:
		r.x.W.WriteHeader(http.StatusNoContent)
	}
	return nil
}

// gone is the end of a turn whose events the store has dropped meanwhile.
func (r *resuming) gone() error {
	if r.header == nil {
		return apierror.NotFound()
	}
	return apierror.AIError().Because(errBrokenOff)
}

// endLost ends the newest turn of the key, whose node is gone, after its event n.
func (k *keyed) endLost(turn string, n int) error {
	ctx, cancel := k.storeContext()
	defer cancel()
	last := end{Failed: apierror.NodeGone(), FailureID: k.idAfter(ctx, turn)}
	e := store.Ending{Turn: turn, Keep: resumeWindow, Last: []store.Event{last.event(n + 1)}}
	ended, err := k.x.Store.EndLost(ctx, k.tenant, k.claim, e)
	if ended && k.key != "" {
		err = k.x.Store.CacheKeep(ctx, k.tenant, k.claim, k.key, lostRecording.encode(), keyTTL)
	}
	if err != nil {
		return k.storeError("end a lost turn", err)
	}
	return nil
}

// idAfter returns the id of the event that comes after all of a turn, if they have ids.
func (k *keyed) idAfter(ctx context.Context, turn string) string {
	last := 0
	for n := 0; ; {
		_, evs, err := k.x.Store.Follow(ctx, k.tenant, k.claim, turn, n)
		if err != nil || len(evs) == 0 {
			break // all of it has been read
		}
		for _, ev := range evs {
			if ev.Kind == eventBody {
				last = max(last, lastNumber(ev.Data, turn))
			}
		}
		n = evs[len(evs)-1].N
	}
	if last == 0 {
		return ""
	}
	return EventID(turn, last+1)
}

// takeOver frees the key of a leader whose node is gone.
func (k *keyed) takeOver() error {
	ctx, cancel := k.storeContext()
	defer cancel()
	turn, n := "", 0
	for {
		newest, evs, err := k.x.Store.Follow(ctx, k.tenant, k.claim, turn, n)
		switch {
		case errors.Is(err, store.ErrLost):
			return k.endLost(newest, n)
		case errors.Is(err, store.ErrNotFound), err == nil && len(evs) == 0, errors.Is(err, context.DeadlineExceeded):
			return nil // another request has done so
		case err != nil:
			return k.storeError("follow", err)
		}
		turn, n = newest, evs[len(evs)-1].N
		if evs[len(evs)-1].Kind == eventEnd {
			return nil
		}
	}
}
