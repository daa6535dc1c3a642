package storetest

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/caddy-chat/caddy-chat/modules/store"
)

// keyClaim claims under the key "k", with the turns of session 1.
func keyClaim(turn string) store.KeyClaim {
	return store.KeyClaim{
		Session: key(1), Turn: turn, Lease: time.Minute,
		Key: "k", First: store.Event{N: 1, Kind: 'r', Data: []byte(turn)},
	}
}

// claimKey claims without slots, and not over a value.
func (x *subject) claimKey(turn string) (value []byte, cancelled <-chan struct{}, err error) {
	return x.ClaimKey(x.ctx, tenantA, keyClaim(turn), false, nil)
}

func turnClaimKey(x *subject) {
	value, cancelled, err := x.claimKey("t1")
	x.ok(err)
	if value != nil || cancelled == nil {
		x.Fatalf("got a value of %q, channel %v", value, cancelled)
	}
	turn, evs, err := x.Follow(x.ctx, tenantA, key(1), "", 0)
	x.ok(err)
	if turn != "t1" || len(evs) != 1 || evs[0].N != 1 || evs[0].Kind != 'r' || string(evs[0].Data) != "t1" {
		x.Errorf("turn %s begins with %v", turn, evs)
	}
	_, _, err = x.claimKey("t2")
	x.wantErr(err, store.ErrBusy)
	x.ok(x.Publish(x.ctx, tenantA, key(1), "t1", store.Event{N: 2, Kind: 'b'}))
	x.ok(x.FinishTurn(x.ctx, tenantA, key(1), "t1", 0, store.Event{N: 3, Kind: 'e'}))
	_, cancelled, err = x.claimKey("t3")
	x.ok(err)
	_, err = x.CancelTurn(x.ctx, tenantA, key(1), "")
	x.ok(err)
	x.wantCancelled(cancelled)
}

func turnClaimKeyKept(x *subject) {
	for _, v := range []string{"value", ""} {
		x.ok(x.CachePut(x.ctx, tenantA, "k", []byte(v), time.Minute))
		value, cancelled, err := x.claimKey("t1")
		x.ok(err)
		if value == nil || string(value) != v || cancelled != nil {
			x.Fatalf("got %q, channel %v, want %q", value, cancelled, v)
		}
	}
	_, _, err := x.Follow(x.ctx, tenantA, key(1), "", 0)
	x.wantErr(err, store.ErrNotFound)

	value, cancelled, err := x.ClaimKey(x.ctx, tenantA, keyClaim("t2"), true, nil)
	x.ok(err)
	if value == nil || cancelled == nil {
		x.Errorf("over a value: got %q, channel %v", value, cancelled)
	}
	_, _, err = x.ClaimKey(x.ctx, tenantB, keyClaim("t3"), false, nil)
	x.ok(err)
	x.ok(x.FinishTurn(x.ctx, tenantA, key(1), "t2", 0))

	x.clock.advance(time.Minute)
	value, cancelled, err = x.claimKey("t4")
	x.ok(err)
	if value != nil || cancelled == nil {
		x.Errorf("when the value has expired: got %q, channel %v", value, cancelled)
	}
	ctx, cancel := context.WithCancel(x.ctx)
	cancel()
	_, _, err = x.ClaimKey(ctx, tenantA, keyClaim("t5"), false, nil)
	x.wantErr(err, context.Canceled)
	x.ok(x.FinishTurn(x.ctx, tenantA, key(1), "t4", 0))
	_, _, err = x.claimKey("t6")
	x.ok(err)
}

func turnClaimKeyWithSlots(x *subject) {
	claim := func(turn string) error {
		_, _, err := x.ClaimKey(x.ctx, tenantA, keyClaim(turn), false, slotOf(2))
		return err
	}
	x.ok(claim("t1"))
	x.wantErr(claim("t2"), store.ErrBusy) // and takes none
	x.ok(x.FinishTurn(x.ctx, tenantA, key(1), "t1", 0))
	x.ok(x.CachePut(x.ctx, tenantA, "k", []byte("value"), time.Hour))
	x.ok(claim("t3")) // who is given a value takes none
	if !x.take(tenantA, slotOf(2)) {
		x.Error("no slot is free")
	}
	x.ok(claim("t4"))
	x.ok(x.CachePut(x.ctx, tenantA, "k", []byte("value"), time.Second))
	x.clock.advance(time.Second)
	x.wantErr(claim("t5"), store.ErrNoSlot)
	x.ok(x.Release(x.ctx, tenantA, slotOf(2)))
	x.ok(claim("t6"))
}

// turnClaimKeyOnce has many requests with one key: one of them leads, and puts its answer
// under the key before it ends.
func turnClaimKeyOnce(x *subject) {
	var leaders atomic.Int64
	var all sync.WaitGroup
	for i := range 20 {
		all.Go(func() {
			turn := fmt.Sprint("t", i)
			for {
				value, cancelled, err := x.claimKey(turn)
				if errors.Is(err, store.ErrBusy) {
					continue
				}
				if err == nil && cancelled != nil {
					leaders.Add(1)
					err = errors.Join(
						x.CachePut(x.ctx, tenantA, "k", []byte(turn), time.Hour),
						x.FinishTurn(x.ctx, tenantA, key(1), turn, 0),
					)
				} else if err == nil && value == nil {
					err = errors.New("neither a claim nor a value")
				}
				if err != nil {
					x.Error(err)
				}
				return
			}
		})
	}
	all.Wait()
	if n := leaders.Load(); n != 1 {
		x.Errorf("%d led, want 1", n)
	}
}
