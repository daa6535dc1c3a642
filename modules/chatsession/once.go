package chatsession

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"time"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"github.com/google/uuid"
	"go.uber.org/zap"

	"github.com/caddy-chat/caddy-chat/modules/apierror"
	"github.com/caddy-chat/caddy-chat/modules/sharedanswer"
	"github.com/caddy-chat/caddy-chat/modules/store"
)

// outcomeKept is how long those who follow a request by its key find out how
// it ended.
const outcomeKept = 10 * time.Second

// lockUser owns the claims of keys. It is no user's name: those hold no
// control characters.
const lockUser = "\x00idempotency"

// once is a message that is answered once, however often it is sent with the
// same Idempotency-Key. Whoever claims the key takes the turn; the others
// follow it, and those who come later get what is stored.
type once struct {
	h      *Handler
	x      *exchange
	m      *message
	digest string           // of the body
	lock   store.SessionKey // what is claimed for the key: a turn that belongs to no session
}

// How a key's turn tells those who follow it how it is getting on, by the
// numbers of its events.
const (
	eventBegun = 1 // data: begun
	eventOver  = 2 // data: over
)

// begun says that the turn of the same name in the session answers the key.
type begun struct {
	Digest string `json:"digest"`
}

// over says that it has ended. Failed is set where the answer was an error,
// which frees the key.
type over struct {
	Failed *apierror.Error `json:"failed,omitempty"`
}

// answered is what is kept under a key. The text itself is in the history, and
// goes with it.
type answered struct {
	Digest  string      `json:"digest"`
	Turn    string      `json:"turn"`
	Last    int         `json:"last"`          // the number of the last event
	Seq     uint64      `json:"seq,omitempty"` // of the stored answer, 0 for none
	ID      string      `json:"id,omitempty"`
	Finish  string      `json:"finish"`
	Failure *errorEvent `json:"failure,omitempty"`
	Usage   usage       `json:"usage"`

	text string
}

func newOnce(h *Handler, x *exchange, key string, m *message) *once {
	digest := sha256.Sum256(m.body)
	id := uuid.NewHash(sha256.New(), uuid.NameSpaceOID, []byte(x.Rec.User+"\x00"+key), 8)
	return &once{
		h: h, x: x, m: m,
		digest: hex.EncodeToString(digest[:]),
		lock:   store.SessionKey{User: lockUser, ID: id.String()},
	}
}

func (o *once) cacheKey() string { return "idempotency " + o.lock.ID }

// post answers the message: from what is stored, or with a turn of its own,
// or by following the one that runs. What ended without an answer is tried
// again.
func (o *once) post(next caddyhttp.Handler) error {
	ctx, tenant := o.x.R.Context(), o.x.Rec.Tenant.ID
	for {
		before, err := o.recall()
		if err != nil {
			return err
		}
		if before != nil {
			return o.replay(before)
		}
		t := o.h.newTurn(o.x)
		_, err = o.x.store.Claim(ctx, tenant, o.lock, t.id, turnLease)
		if err == nil {
			return o.run(t, next)
		}
		if !errors.Is(err, store.ErrBusy) {
			return o.h.storeError("claim", err)
		}
		if done, err := o.join(); done || err != nil {
			return err
		}
	}
}

// run takes the turn of a key that has been claimed.
func (o *once) run(t *turn, next caddyhttp.Handler) (err error) {
	t.once = o
	var end over
	defer func() {
		ctx, cancel := t.settleContext()
		defer cancel()
		t.finish(ctx, o.lock, outcomeKept, store.Event{N: eventOver, Data: encode(end)})
	}()

	// it may have been answered since this was asked last
	before, err := o.recall()
	if err != nil {
		return err
	}
	if before != nil {
		return o.replay(before)
	}
	release, err := t.claim(*o.m.Stream)
	if err == nil {
		defer release()
		err = o.x.store.Publish(t.ctx, t.tenant, o.lock, t.id, store.Event{N: eventBegun, Data: encode(begun{o.digest})})
		if err != nil {
			return o.h.storeError("publish", err)
		}
		err = t.take(o.m, next)
	}
	if err != nil {
		end.Failed = apierror.From(err)
	}
	return err
}

// remember keeps an answer under its key. Where that fails the answer is none
// the worse.
func (o *once) remember(t *turn, e ending, last int) {
	kept := answered{Digest: o.digest, Turn: t.id, Last: last, Finish: e.finish, Usage: e.usage}
	if e.message != nil {
		kept.Seq, kept.ID = e.message.Seq, e.message.ID
	}
	if e.failure != nil {
		kept.Failure = &errorEvent{Code: e.failure.Code, Message: e.failure.Message}
	}
	ctx, cancel := t.settleContext()
	defer cancel()
	if err := o.x.store.CachePut(ctx, t.tenant, o.cacheKey(), encode(kept), sharedanswer.KeyLasts); err != nil {
		o.h.app.StoreFailed("cache")
		o.h.log.Error("keeping an answer under its Idempotency-Key", zap.String("turn", t.id), zap.Error(err))
	}
}

// recall returns what is kept under the key, nil where nothing is, or where
// the answer is not in the history any more.
func (o *once) recall() (*answered, error) {
	ctx, tenant := o.x.R.Context(), o.x.Rec.Tenant.ID
	value, err := o.x.store.CacheGet(ctx, tenant, o.cacheKey())
	if errors.Is(err, store.ErrNotFound) {
		return nil, nil
	}
	if err != nil {
		return nil, o.h.storeError("cache", err)
	}
	kept := new(answered)
	if err := json.Unmarshal(value, kept); err != nil {
		return nil, o.h.storeError("cache", err)
	}
	if kept.Digest != o.digest {
		return nil, apierror.IdempotencyKeyReused()
	}
	if kept.Seq == 0 {
		return kept, nil
	}
	m, err := o.x.message(ctx, kept.Seq, kept.ID)
	if err != nil {
		return nil, o.h.storeError("history", err)
	}
	if m == nil {
		return nil, nil
	}
	kept.text = m.Content
	return kept, nil
}
