package sharedanswer

import (
	"math"
	"sync"

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

// attend counts the request as waiting for a turn, until leave is called. early
// says that the answer has not ended.
func (k *keyed) attend(turn string) (leave func(early bool), err error) {
	if k.x.Continue {
		return func(bool) {}, nil
	}
	slot := slotOf(turn, math.MaxInt64)
	if _, _, err := k.x.Store.Take(k.x.R.Context(), k.tenant, slot); err != nil {
		return nil, k.storeError("take", err)
	}
	var once sync.Once
	return func(early bool) {
		once.Do(func() {
			k.release(slot)
			if early && k.abandoned(turn) {
				k.cancelTurn()
			}
		})
	}, nil
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
