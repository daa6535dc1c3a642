package sharedanswer

import (
	"cmp"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"net/http"
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
	// keyTTL is how long a repeated key gets the first answer.
	keyTTL = 24 * time.Hour

	// keyLease is how long a node that died keeps its keys busy, where several
	// share a store.
	keyLease = 30 * time.Second

	// eventsTTL is how long those who follow an answer may still read it from
	// the store's events. Later they find it under its key.
	eventsTTL = 10 * time.Second

	// claimRetry is the pause between two attempts to claim a key.
	claimRetry = 20 * time.Millisecond
)

// claimUser owns the claims of keys. It cannot be the name of a user, which
// holds no control characters.
const claimUser = "\x00idempotency"

// Idempotency answers a request once, however often it is sent with the same
// Idempotency-Key. The first one claims the key in the store and leads: it
// gets its answer made, which goes to its client, into the store's events for
// those that repeat it meanwhile, and under the key for those that come later.
type Idempotency struct {
	app *chat.App
	log *zap.Logger
}

// NewIdempotency returns the one of a handler.
func NewIdempotency(app *chat.App, log *zap.Logger) *Idempotency { return &Idempotency{app, log} }

// KeyedRequest is a request with an Idempotency-Key.
type KeyedRequest struct {
	Request
	Store store.Store
	Key   string // by ClientKey

	// Same is what a request must share with the first one of its key, such as
	// the body.
	Same [][]byte

	// Continue says that the answer is made to its end without any client.
	// Else it ends when the last of those who wait for it has left.
	Continue bool

	// Stands says whether a stored answer may be given again, by the note that
	// it was recorded with. Where it is set, answers with a note are stored,
	// also those that end in a failure; else those that went well.
	Stands func(ctx context.Context, note []byte) (bool, error)

	// Failure is what an error of the answer is to those who follow. Default:
	// apierror.From.
	Failure func(error) *apierror.Error
}

// Answer makes an answer by writing it to w, or returns why it did not. x leads
// to w, and lives as long as the answer is wanted.
type Answer func(x *chat.Exchange, w *Recorder) error

// keyed is a request with its places in the store.
type keyed struct {
	*Idempotency
	x      *KeyedRequest
	tenant string
	key    string           // of the stored answer
	claim  store.SessionKey // a turn that belongs to no session
	sum    [32]byte         // of what must be the same
}

func (d *Idempotency) keyed(x *KeyedRequest) *keyed {
	key := KeyOf("idempotent", x.Rec.User, x.R.URL.Path, x.Key)
	id := uuid.NewHash(sha256.New(), uuid.NameSpaceOID, []byte(key), 8)
	return &keyed{
		Idempotency: d,
		x:           x,
		tenant:      cmp.Or(x.Rec.TenantID(), noTenant),
		key:         key,
		claim:       store.SessionKey{User: claimUser, ID: id.String()},
		sum:         sumOf(x.Same),
	}
}

// Serve answers a request: with the stored answer, by following the one that
// is being made, or with one of its own. After an answer that came to nothing
// the next request tries again.
func (d *Idempotency) Serve(x *KeyedRequest, answer Answer) error {
	k := d.keyed(x)
	for {
		a, err := k.stored()
		if err != nil {
			return err
		}
		if a != nil {
			k.replay(a)
			return nil
		}
		turn := record.NewID()
		cancelled, err := x.Store.Claim(x.R.Context(), k.tenant, k.claim, turn, keyLease)
		if err == nil {
			return k.lead(turn, cancelled, answer)
		}
		if !errors.Is(err, store.ErrBusy) {
			return k.storeError("claim", err)
		}
		if answered, err := k.follow(); answered || err != nil {
			return err
		}
		// A tenant that is erased meanwhile leaves a busy key and nothing to
		// follow, so do not ask at once.
		if err := pause(x.R.Context(), claimRetry); err != nil {
			return err
		}
	}
}

func pause(ctx context.Context, d time.Duration) error {
	select {
	case <-time.After(d):
		return nil
	case <-ctx.Done():
		return context.Canceled
	}
}

// lead gets the answer made under a key that has been claimed.
func (k *keyed) lead(turn string, cancelled <-chan struct{}, answer Answer) error {
	f := k.newFeed(turn)
	// it may have been answered since the last look
	a, err := k.stored()
	if a != nil || err != nil {
		f.abandon()
		if err == nil {
			k.replay(a)
		}
		return err
	}
	leave, err := k.attend(turn)
	if err != nil {
		f.abandon()
		return err
	}
	if err := f.open(); err != nil {
		leave(false)
		f.abandon()
		return err
	}
	r, stop := k.detach(turn, cancelled, leave)
	defer stop()
	w := k.newRecorder(f)
	err = w.record(func() error { return answer(k.x.Recorded(w, r), w) })
	return w.end(err, errors.Is(context.Cause(r.Context()), errGone))
}

// detach returns the request for the answer, whose context does not end with
// the client. It renews the claim until stop is called.
func (k *keyed) detach(turn string, cancelled <-chan struct{}, leave func(early bool)) (r *http.Request, stop func()) {
	ctx, cancel := context.WithCancelCause(context.WithoutCancel(k.x.R.Context()))
	unhook := context.AfterFunc(k.x.R.Context(), func() { leave(true) })
	if k.x.Continue {
		cancelled = nil // no client ends it
	}
	var watching sync.WaitGroup
	watching.Go(func() { k.watch(ctx, turn, cancelled, cancel) })
	return k.x.R.WithContext(ctx), func() {
		unhook()
		leave(false)
		cancel(nil)
		watching.Wait() // it uses the store, which is the request's
	}
}

// watch renews the claim, and ends an answer that has lost its last client.
func (k *keyed) watch(ctx context.Context, turn string, cancelled <-chan struct{}, cancel context.CancelCauseFunc) {
	renew := time.NewTicker(keyLease / 3)
	defer renew.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-cancelled:
			cancelled = nil // it stays closed
			if k.abandoned(turn) {
				cancel(errGone)
			}
		case <-renew.C:
			if err := k.x.Store.KeepTurn(ctx, k.tenant, k.claim, turn, keyLease); err != nil {
				k.log.Warn("renewing the claim of an Idempotency-Key", zap.String("turn", turn), zap.Error(err))
			}
		}
	}
}

// stored reads the answer under the key, nil without one that stands.
func (k *keyed) stored() (*recording, error) {
	ctx := k.x.R.Context()
	value, err := k.x.Store.CacheGet(ctx, k.tenant, k.key)
	if errors.Is(err, store.ErrNotFound) {
		return nil, nil
	}
	if err != nil {
		return nil, k.storeError("cache", err)
	}
	a, err := decodeRecording(value)
	if err != nil {
		k.log.Error("reading an answer stored under its Idempotency-Key", zap.String("tenant", k.tenant), zap.Error(err))
		return nil, nil
	}
	if a.sum != k.sum {
		return nil, apierror.IdempotencyKeyReused()
	}
	if k.x.Stands == nil {
		return a, nil
	}
	stands, err := k.x.Stands(ctx, a.Note)
	if err != nil {
		return nil, k.storeError("history", err)
	}
	if !stands {
		return nil, nil
	}
	return a, nil
}

// keep stores an answer under the key, and says whether it did. A failure costs
// the replay, and not the answer.
func (k *keyed) keep(a *recording) bool {
	ctx, cancel := k.storeContext()
	defer cancel()
	if err := k.x.Store.CachePut(ctx, k.tenant, k.key, a.encode(), keyTTL); err != nil {
		k.app.StoreFailed("cache")
		k.log.Error("storing an answer under its Idempotency-Key",
			zap.String("tenant", k.x.Rec.TenantID()), zap.String("turn", a.Turn), zap.Error(err))
		return false
	}
	return true
}

// storeContext outlives the client: what an answer leaves in the store is for
// those who come later.
func (k *keyed) storeContext() (context.Context, context.CancelFunc) {
	return context.WithTimeout(context.WithoutCancel(k.x.R.Context()), storeTimeout)
}

// storeError turns a failure of the store into one to answer.
func (k *keyed) storeError(op string, err error) error {
	if errors.Is(err, context.Canceled) {
		return err // the client is gone, and the store is well
	}
	k.app.StoreFailed(op)
	return apierror.StorageUnavailable(fmt.Errorf("%s: %w", op, err))
}
