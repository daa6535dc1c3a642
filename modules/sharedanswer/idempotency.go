package sharedanswer

import (
	"cmp"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"sync"
	"time"

	"github.com/google/uuid"
	"go.uber.org/zap"

	"github.com/caddy-chat/caddy-chat/modules/apierror"
	"github.com/caddy-chat/caddy-chat/modules/chat"
	"github.com/caddy-chat/caddy-chat/modules/record"
	"github.com/caddy-chat/caddy-chat/modules/store"
)

const (
	// keyTTL is how long an answer is stored under its key.
	keyTTL = 24 * time.Hour

	// keyLease is how long a key stays busy after its node has died, if several
	// nodes share a store.
	keyLease = 30 * time.Second

	// eventsTTL is how long followers can read the events of an answer after
	// its end. Later they find it under its key.
	eventsTTL = 10 * time.Second

	// resumeWindow is the same for a numbered stream, whose clients resume
	// without the key.
	resumeWindow = 5 * time.Minute

	// claimRetry is the pause between two attempts to claim a key.
	claimRetry = 20 * time.Millisecond
)

// claimUser returns the name under which the claims of a user's keys are. No user
// can have it, because names have no control characters.
func claimUser(user string) string { return "\x00idempotency " + user }

// Idempotency answers a request once, however often it is sent with the same
// Idempotency-Key. The first request claims the key in the store and leads. Its
// answer goes to its client, into the store's events for requests that repeat
// the key meanwhile, and under the key for later ones.
type Idempotency struct {
	app *chat.App
	log *zap.Logger
}

// NewIdempotency returns an Idempotency for a handler.
func NewIdempotency(app *chat.App, log *zap.Logger) *Idempotency { return &Idempotency{app, log} }

// KeyedRequest is a request with an Idempotency-Key. Its exchange has leased the
// store.
type KeyedRequest struct {
	Request
	Key string // by ClientKey

	// Same is what all requests with the key must have in common, such as the
	// body.
	Same [][]byte

	// Numbered gives the events of a stream ids, by which Resume goes on.
	Numbered bool

	// Gates are those of the request's body, to be passed by who leads.
	Gates record.Gates

	// Begins says that the Answer claims the key together with its turn, see ClaimOf.
	Begins bool

	// Continue lets the answer finish without any client. Otherwise it ends
	// when the last request that waits for it has left.
	Continue bool

	// Stands reports whether a stored answer may be replayed, given its note.
	// If it is set, answers with a note are stored, including those that end
	// in a failure. Otherwise only successful answers are stored.
	Stands func(ctx context.Context, note []byte) (bool, error)

	// Failure returns the failure that followers are answered when the Answer
	// returned an error. Default: apierror.From.
	Failure func(error) *apierror.Error
}

// Answer writes an answer to x, whose writer is a *Recorder, or returns why it
// could not. The context of x ends when the answer is no longer wanted.
type Answer func(x *chat.Exchange) error

// keyed is a request with its keys in the store.
type keyed struct {
	*Idempotency
	x      *KeyedRequest
	tenant string
	key    string           // of the stored answer
	claim  store.SessionKey // a turn without a session
	sum    [32]byte         // of KeyedRequest.Same

	retries bool // an answer was begun, and given up
}

func (d *Idempotency) keyed(x *KeyedRequest) *keyed {
	key := KeyOf("idempotent", x.Rec.User, record.Path(x.R), x.Key)
	id := uuid.NewHash(sha256.New(), uuid.NameSpaceOID, []byte(key), 8)
	return &keyed{
		Idempotency: d,
		x:           x,
		tenant:      cmp.Or(x.Rec.TenantID(), noTenant),
		key:         key,
		claim:       store.SessionKey{User: claimUser(x.Rec.User), ID: id.String()},
		sum:         sumOf(x.Same),
	}
}

// Serve answers a request with the stored answer, with the one that another
// request leads, or by leading. If a leader fails, the next request leads.
func (d *Idempotency) Serve(x *KeyedRequest, answer Answer) error {
	k := d.keyed(x)
	var refused error
	if x.Begins {
		f := k.newFeed(record.NewID())
		c := k.newClaim(f)
		err := k.lead(f, c, answer) // seldom a repeated request
		taken := errors.Is(err, store.ErrKeyTaken)
		switch {
		case err == nil, c.isMade(), !taken && apierror.From(err).Status >= http.StatusInternalServerError:
			return err
		case !taken:
			refused = err // unless the key has an answer
		}
	}
	over := false
	for {
		f := k.newFeed(record.NewID())
		c := k.newClaim(f)
		value, err := k.claimNow(c, over)
		switch {
		case errors.Is(err, store.ErrLost):
			if err := k.takeOver(); err != nil {
				return err
			}
		case errors.Is(err, store.ErrBusy):
			if answered, err := k.follow(); answered || err != nil {
				return err
			}
			// The key of a tenant that is being erased is busy and has nothing to
			// follow, so do not spin.
			if err := pause(x.R.Context(), claimRetry); err != nil {
				return err
			}
		case err != nil:
			return err
		default:
			a, err := k.stored(value)
			if c.isMade() && a == nil && err == nil && refused == nil {
				return k.lead(f, c, answer)
			}
			c.giveUp()
			if a != nil {
				k.replay(a)
			}
			if a != nil || err != nil {
				return err
			}
			if refused != nil {
				return refused
			}
			over = true // the value does not stand
		}
	}
}

// claimNow claims the key and passes the gates with it. If there is a value it does neither,
// unless it claims over that. Errors are store.ErrLost, store.ErrBusy or *apierror.Error.
func (k *keyed) claimNow(c *Claim, over bool) (value []byte, err error) {
	err = k.x.Gates.EnterWith(func(takes []store.Take) error {
		var left <-chan struct{}
		takes = append(slices.Clip(takes), c.presence...)
		value, left, err = k.x.Store.ClaimKey(k.x.R.Context(), k.tenant, c.KeyClaim, over, takes)
		if err == nil && left == nil {
			return store.ErrKeyTaken // who is given a value needs no slot
		}
		if err == nil {
			c.made(left)
		}
		return err
	})
	if errors.Is(err, store.ErrKeyTaken) {
		return value, nil
	}
	if _, ok := errors.AsType[*apierror.Error](err); ok || err == nil || errors.Is(err, store.ErrLost) || errors.Is(err, store.ErrBusy) {
		return value, err
	}
	return nil, k.storeError("claim", err)
}

func pause(ctx context.Context, d time.Duration) error {
	select {
	case <-time.After(d):
		return nil
	case <-ctx.Done():
		return apierror.Cancelled(ctx)
	}
}

// lead makes the answer for a key that this request has claimed, or whose answer claims
// it, unless ErrKeyTaken is the answer.
func (k *keyed) lead(f *feed, c *Claim, answer Answer) error {
	r, stop := k.detach(c)
	defer stop()
	w := k.newRecorder(f, c)
	err := w.record(func() error { return answer(k.x.Recorded(w, r)) })
	if errors.Is(err, store.ErrKeyTaken) && !c.isMade() {
		return err
	}
	left := errors.Is(context.Cause(r.Context()), errGone)
	return w.end(err, left || apierror.Ended(r.Context()) != nil)
}

// detach returns the request for the answer, whose context does not end with the
// client, and renews the claim until stop is called.
func (k *keyed) detach(c *Claim) (r *http.Request, stop func()) {
	outlive, release := k.x.Outlive()
	ctx, cancel := context.WithCancelCause(outlive)
	unhook := context.AfterFunc(k.x.R.Context(), func() {
		if e := apierror.Ended(k.x.R.Context()); e != nil {
			cancel(e) // before leave ends the answer for another reason
		}
		if !k.x.Continue && !c.isMade() {
			cancel(errGone)
			return
		}
		c.leave(true)
	})
	var watching sync.WaitGroup
	watching.Go(func() { c.watch(ctx, cancel) })
	return k.x.R.WithContext(ctx), func() {
		unhook()
		c.leave(false)
		cancel(nil)
		release()
		watching.Wait() // the lease of the store ends with the request
	}
}

// stored returns the answer that is the value under the key, or nil if there is none to
// replay.
func (k *keyed) stored(value []byte) (*recording, error) {
	if value == nil {
		return nil, nil
	}
	a, err := decodeRecording(value)
	if err != nil {
		k.log.Error("reading an answer stored under its Idempotency-Key", zap.String("tenant", k.tenant), zap.Error(err))
		return nil, nil
	}
	if a.Lost {
		k.retries = true
		return nil, nil
	}
	if a.sum != k.sum {
		return nil, apierror.IdempotencyKeyReused()
	}
	if k.x.Stands == nil {
		return a, nil
	}
	stands, err := k.x.Stands(k.x.R.Context(), a.Note)
	if err != nil {
		return nil, k.storeError("history", err)
	}
	if !stands {
		return nil, nil
	}
	return a, nil
}

// keep stores an answer under the key, and reports whether it did. Without it the
// client still gets its answer, but no replay.
func (k *keyed) keep(a *recording) bool {
	ctx, cancel := k.storeContext()
	defer cancel()
	if err := k.x.Store.CacheKeep(ctx, k.tenant, k.claim, k.key, a.encode(), keyTTL); err != nil {
		k.app.StoreFailed("cache")
		k.log.Error("storing an answer under its Idempotency-Key",
			zap.String("tenant", k.x.Rec.TenantID()), zap.String("turn", a.Turn), zap.Error(err))
		return false
	}
	return true
}

// storeContext returns a context that outlives the client, for writes that later
// requests depend on.
func (k *keyed) storeContext() (context.Context, context.CancelFunc) {
	return context.WithTimeout(context.WithoutCancel(k.x.R.Context()), storeTimeout)
}

// storeError turns an error of the store into the one to answer.
func (k *keyed) storeError(op string, err error) error {
	if errors.Is(err, context.Canceled) {
		return apierror.Cancelled(k.x.R.Context()) // the store did not fail
	}
	k.app.StoreFailed(op)
	return apierror.StorageUnavailable(fmt.Errorf("%s: %w", op, err))
}
