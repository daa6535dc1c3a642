package sharedanswer

import (
	"math"

	"go.uber.org/zap"

	"github.com/caddy-chat/caddy-chat/modules/store"
)

// If an answer ends when its clients leave, each request that waits for it holds
// a slot of the store's limiter. The last one to leave cancels the turn. The
// leader then checks the slots again, since another request may have come.

// slotOf returns a slot of a turn that is free while fewer than most are taken.
func slotOf(turn string, most int64) []store.Take {
	return []store.Take{{Key: "idempotency " + turn, Slots: most}}
}

// presence is what a request takes while it waits for a turn: nothing if the answer does
// not end with its clients.
func (k *keyed) presence(turn string) []store.Take {
	if k.x.Continue {
		return nil
	}
	return slotOf(turn, math.MaxInt64)
}

// attend counts the request as waiting for a turn, until leave is called. early
// says that the answer has not ended.
func (k *keyed) attend(turn string) (leave func(early bool), err error) {
	slot := k.presence(turn)
	if len(slot) > 0 {
		if _, _, err := k.x.Store.Take(k.x.R.Context(), k.tenant, slot); err != nil {
			return nil, k.storeError("take", err)
		}
	}
	return func(early bool) { k.leave(turn, slot, early) }, nil
}

// leave ends the presence of a request, and cancels a turn that has not ended when it
// was the last one.
func (k *keyed) leave(turn string, slot []store.Take, early bool) {
	k.release(slot)
	if early && len(slot) > 0 && k.abandoned(turn) {
		k.cancelTurn()
	}
}

// abandoned reports whether no request waits for the turn any more.
func (k *keyed) abandoned(turn string) bool {
	ctx, cancel := k.storeContext()
	defer cancel()
	only := slotOf(turn, 1)
	_, free, err := k.x.Store.Take(ctx, k.tenant, only)
	if err != nil {
		k.presenceFailed("take", err)
		return false
	}
	if free {
		k.release(only)
	}
	return free
}

func (k *keyed) release(slot []store.Take) {
	if len(slot) == 0 {
		return
	}
	ctx, cancel := k.storeContext()
	defer cancel()
	if err := k.x.Store.Release(ctx, k.tenant, slot); err != nil {
		k.presenceFailed("release", err)
	}
}

func (k *keyed) cancelTurn() {
	ctx, cancel := k.storeContext()
	defer cancel()
	if _, err := k.x.Store.CancelTurn(ctx, k.tenant, k.claim, ""); err != nil {
		k.presenceFailed("cancel", err)
	}
}

// presenceFailed logs an error of the store, after which an answer may continue
// without any client.
func (k *keyed) presenceFailed(op string, err error) {
	k.app.StoreFailed(op)
	k.log.Error("counting the requests that wait for an answer", zap.String("tenant", k.x.Rec.TenantID()), zap.Error(err))
}
