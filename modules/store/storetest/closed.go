package storetest

import (
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/caddy-chat/caddy-chat/modules/store"
)

var closedTests = []test{
	{"every_call_answers_that_it_is_closed", closedCalls},
	{"closing_twice_is_fine", closedTwice},
	{"closing_wakes_who_waits", closedWakes},
	{"closing_waits_for_running_calls", closedWaits},
}

func closedCalls(x *subject) {
	x.append(tenantA, key(1), create, "1")
	x.ok(x.Close())
	s, ctx := x.Store, x.ctx
	for name, call := range map[string]func() error{
		"Append":      func() error { return s.Append(ctx, tenantA, key(1), create, x.message("2")) },
		"Retract":     func() error { return s.Retract(ctx, tenantA, key(1), 1, 1) },
		"History":     func() error { _, _, err := s.History(ctx, tenantA, key(1), store.Range{Limit: 1}); return err },
		"Sessions":    func() error { _, _, err := s.Sessions(ctx, tenantA, user, nil, 1); return err },
		"Delete":      func() error { return s.Delete(ctx, tenantA, key(1)) },
		"EraseTenant": func() error { return s.EraseTenant(ctx, tenantA) },
		"Claim":       func() error { _, err := s.Claim(ctx, tenantA, key(1), "t", time.Minute); return err },
		"Begin": func() error {
			_, err := s.Begin(ctx, tenantA, key(1), store.Beginning{Turn: "t", Lease: time.Minute}, x.message("2"))
			return err
		},
		"KeepTurn":    func() error { return s.KeepTurn(ctx, tenantA, key(1), "t", time.Minute) },
		"Publish":     func() error { return s.Publish(ctx, tenantA, key(1), "t", store.Event{N: 1}) },
		"FinishTurn":  func() error { return s.FinishTurn(ctx, tenantA, key(1), "t", time.Minute) },
		"Lost":        func() error { _, err := s.Lost(ctx, tenantA, key(1)); return err },
		"EndLost":     func() error { _, err := s.EndLost(ctx, tenantA, key(1), store.Ending{Turn: "t"}); return err },
		"CancelTurn":  func() error { _, err := s.CancelTurn(ctx, tenantA, key(1), ""); return err },
		"Follow":      func() error { _, _, err := s.Follow(ctx, tenantA, key(1), "", 0); return err },
		"FindTurn":    func() error { _, err := s.FindTurn(ctx, tenantA, user, "t"); return err },
		"Take":        func() error { _, _, err := s.Take(ctx, tenantA, oneTake("k", 1)); return err },
		"Release":     func() error { return s.Release(ctx, tenantA, oneTake("k", 1)) },
		"Reserve":     func() error { _, err := s.Reserve(ctx, tenantA, "r", time.Minute, budget(1, 1)); return err },
		"Settle":      func() error { _, err := s.Settle(ctx, tenantA, "r", budget(1, 1)); return err },
		"ReleaseHold": func() error { return s.ReleaseHold(ctx, tenantA, "r") },
		"Balances":    func() error { _, err := s.Balances(ctx, tenantA, budget(0, 0)); return err },
		"CacheGet":    func() error { _, err := s.CacheGet(ctx, tenantA, "k"); return err },
		"CachePut":    func() error { return s.CachePut(ctx, tenantA, "k", nil, time.Minute) },
	} {
		x.Run(name, func(t *testing.T) {
			if err := call(); !isClosed(err) {
				t.Errorf("error is %v, want %v", err, store.ErrClosed)
			}
		})
	}
}

func closedTwice(x *subject) {
	x.ok(x.Close())
	x.ok(x.Close())
	x.Size() // no error to return, and no panic
}

// closedWakes closes the store while followers begin to wait.
func closedWakes(x *subject) {
	const followers = 20
	for i := range followers {
		x.claim(key(i), "t1")
	}
	failed := make(chan error)
	for i := range followers {
		go func() {
			_, _, err := x.Follow(x.ctx, tenantA, key(i), "t1", 0)
			failed <- err
		}()
	}
	x.ok(x.Close())
	for range followers {
		x.wantErr(<-failed, store.ErrClosed)
	}
}

func closedWaits(x *subject) {
	var wg sync.WaitGroup
	started := make(chan struct{}, 20)
	for w := range 20 {
		wg.Go(func() {
			for i := 0; ; i++ {
				err := x.Append(x.ctx, tenantA, key(w), create, x.message(fmt.Sprint(i)))
				if i == 0 {
					started <- struct{}{}
				}
				if isClosed(err) {
					return
				}
				if err != nil {
					x.Errorf("append while closing: %v", err)
					return
				}
			}
		})
	}
	for range 20 {
		<-started
	}
	x.ok(x.Close())
	wg.Wait()
}

func isClosed(err error) bool { return errors.Is(err, store.ErrClosed) }
