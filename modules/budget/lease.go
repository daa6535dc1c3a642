package budget

import (
	"context"
	"time"

	"github.com/caddy-chat/caddy-chat/modules/store"
)

const (
	// lease is for how long a hold lives that is not renewed: as long, a crash
	// keeps a tenant from what its calls had reserved.
	lease = time.Minute

	// renewAfter leaves time for two more attempts.
	renewAfter = lease / 3

	// retryAfter is the pause after a ledger that failed while there was no
	// need to ask it.
	retryAfter = time.Second

	// renewAgain is the pause after a renewal that failed.
	renewAgain = lease / 12
)

// Keep renews the hold's lease until ctx ends or the hold does: a provider may
// be silent for longer than the lease is. It returns at once.
func (h *Hold) Keep(ctx context.Context) {
	if h == nil {
		return
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.ended {
		return
	}
	h.keep = ctx
	h.wakeAt(h.renewAt)
}

// wakeAt has wake called at a time, or earlier where that is planned already.
// Most calls end long before, so that the timer is set once.
func (h *Hold) wakeAt(at time.Time) {
	if !h.wakesAt.IsZero() && !at.Before(h.wakesAt) {
		return
	}
	h.wakesAt = at
	after := time.Until(at)
	if h.renewal == nil {
		h.renewal = time.AfterFunc(after, h.wake)
		return
	}
	h.renewal.Reset(after)
}

// wake has the next call of Used look at the lease, and renews it where the
// hold is kept and it is time. A ledger that fails is asked again a little
// later; until then Used knows that the lease may be over.
func (h *Hold) wake() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.wakesAt = time.Time{}
	h.covered.Store(nil)
	if h.ended || h.keep == nil || h.keep.Err() != nil {
		return
	}
	now := time.Now()
	if now.Before(h.renewAt) {
		h.wakeAt(h.renewAt)
		return
	}
	if err := h.renew(now); err != nil {
		h.wakeAt(now.Add(renewAgain))
		return
	}
	h.wakeAt(h.renewAt)
}

func (h *Hold) renew(now time.Time) error {
	wants := make([]store.Amount, len(h.accounts))
	for i, a := range h.accounts {
		wants[i] = a.held
	}
	return h.growTo(h.keep, now, wants)
}
