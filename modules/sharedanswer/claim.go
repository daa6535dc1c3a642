package sharedanswer

import (
	"context"
	"net/http"
	"slices"
	"sync/atomic"
	"time"

	"go.uber.org/zap"

	"github.com/caddy-chat/caddy-chat/modules/store"
)

// Claim is the claim of a key, which an answer may make together with its turn.
type Claim struct {
	store.KeyClaim
	k        *keyed
	f        *feed
	presence []store.Take           // how the request counts as waiting for the answer
	begun    chan (<-chan struct{}) // gets the channel of the claim's cancellation once it is made
	is       atomic.Bool            // made
	left     atomic.Bool            // the request has left
}

func (k *keyed) newClaim(f *feed) *Claim {
	return &Claim{
		KeyClaim: store.KeyClaim{Session: k.claim, Turn: f.turn, Lease: keyLease, Key: k.key, First: f.request()},
		k:        k, f: f, presence: k.presence(f.turn), begun: make(chan (<-chan struct{}), 1),
	}
}

// ClaimOf returns the claim that the answer which is written to w has to make; nil if
// there is none, or it is made already.
func ClaimOf(w http.ResponseWriter) *Claim {
	if r := RecorderOf(w); r != nil && !r.claim.isMade() {
		return r.claim
	}
	return nil
}

// With adds the claim to how a turn begins; nil adds nothing. Call Made once the turn has
// begun. If the key is taken, the Answer returns store.ErrKeyTaken and must leave nothing
// behind, since it may be called once more.
func (c *Claim) With(b store.Beginning) store.Beginning {
	if c != nil {
		b.Key, b.Takes = &c.KeyClaim, append(slices.Clip(b.Takes), c.presence...)
	}
	return b
}

// Made says that a turn has begun with the claim.
func (c *Claim) Made(b store.Begun) {
	if c != nil {
		c.made(b.KeyLeft)
	}
}

func (c *Claim) made(left <-chan struct{}) {
	c.is.Store(true)
	c.begun <- left
}

func (c *Claim) isMade() bool { return c.is.Load() }

// giveUp frees the key, if the claim is made.
func (c *Claim) giveUp() {
	if c.isMade() {
		c.f.abandon()
		c.leave(false)
	}
}

// leave says that the request does not wait for the answer any more, which has not ended
// if it is early.
func (c *Claim) leave(early bool) {
	if c.isMade() && !c.left.Swap(true) {
		c.k.leave(c.Turn, c.presence, early)
	}
}

// watch renews the claim once it is made, and cancels the answer when its last client
// has left, until ctx ends.
func (c *Claim) watch(ctx context.Context, cancel context.CancelCauseFunc) {
	var cancelled <-chan struct{}
	select {
	case <-ctx.Done():
		return
	case cancelled = <-c.begun:
	}
	if c.k.x.Continue {
		cancelled = nil // it does not end with its clients
	}
	renew := time.NewTicker(keyLease / 3)
	defer renew.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-cancelled:
			cancelled = nil // it is closed
			if c.k.abandoned(c.Turn) {
				cancel(errGone)
			}
		case <-renew.C:
			if err := c.k.x.Store.KeepTurn(ctx, c.k.tenant, c.Session, c.Turn, keyLease); err != nil {
				c.k.log.Warn("renewing the claim of an Idempotency-Key", zap.String("turn", c.Turn), zap.Error(err))
			}
		}
	}
}
