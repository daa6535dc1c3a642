package storetest

import (
	"fmt"
	"sync"
	"time"

	"github.com/caddy-chat/caddy-chat/modules/store"
)

// windowTests are those of counters that slide.
var windowTests = []test{
	{"what_was_settled_counts_for_the_window", windowSlides},
	{"in_no_interval_is_more_than_the_limit_admitted", windowExact},
	{"a_hold_counts_while_it_is_held", windowHolds},
	{"a_lease_that_ends_frees_the_hold", windowLease},
	{"waits_until_what_is_wanted_fits", windowWaits},
	{"a_hold_is_not_in_its_own_way", windowOwn},
	{"resets_when_all_is_free", windowResets},
	{"settling_may_pass_the_limit", windowOver},
	{"settling_counts_once", windowOnce},
	{"all_are_held_or_none_with_other_budgets", windowAllOrNone},
	{"concurrent_reserves_never_pass_the_limit", windowConcurrent},
	{"no_limit_counts_only", windowNoLimit},
	{"many_settles_count_all", windowMany},
	{"tenants_do_not_see_each_other", windowIsolated},
	{"a_request_is_let_through_while_something_is_left", windowTakeWithin},
}

func tokens(limit, want store.Amount) []store.Budget {
	return []store.Budget{{Key: "tokens/1m/user:" + user, Limit: limit, Want: want, Window: time.Minute}}
}

// wantWindow checks what counts, and returns the balance for want.
func (x *subject) wantWindow(limit, want, used, held store.Amount) store.Balance {
	x.Helper()
	balances, err := x.Balances(x.ctx, tenantA, tokens(limit, want))
	x.ok(err)
	if len(balances) != 1 || balances[0].Used != used || balances[0].Held != held {
		x.Fatalf("balances are %+v, want used %d and held %d", balances, used, held)
	}
	return balances[0]
}

// spend reserves and settles at once.
func (x *subject) spend(id string, n store.Amount) {
	x.Helper()
	if err := x.hold(id, 100, n); err != nil {
		x.Fatalf("reserve: %v", err)
	}
	_, err := x.Settle(x.ctx, tenantA, id, tokens(100, n))
	x.ok(err)
}

func (x *subject) hold(id string, limit, want store.Amount) error {
	_, err := x.Reserve(x.ctx, tenantA, id, 2*time.Minute, tokens(limit, want))
	return err
}

func (x *subject) wantTime(what string, got, want time.Duration) {
	x.Helper()
	if (got - want).Abs() > time.Millisecond {
		x.Errorf("%s is %v, want %v", what, got, want)
	}
}

func windowSlides(x *subject) {
	x.spend("a", 60)
	x.clock.advance(20 * time.Second)
	x.spend("b", 40)
	x.wantErr(x.hold("c", 100, 1), store.ErrExceeded)
	x.clock.advance(40*time.Second - time.Millisecond)
	x.wantErr(x.hold("c", 100, 1), store.ErrExceeded)
	x.clock.advance(time.Millisecond)
	x.wantWindow(100, 0, 40, 0)
	x.wantErr(x.hold("c", 100, 61), store.ErrExceeded)
	x.ok(x.hold("c", 100, 60))
	x.clock.advance(20 * time.Second)
	x.wantWindow(100, 0, 0, 60)
}

// windowExact reserves whenever it may, with holds that live for different
// times, and looks at every interval.
func windowExact(x *subject) {
	type settled struct {
		at time.Time
		n  store.Amount
	}
	var list []settled
	open := make(map[string]int) // when a hold is settled, by step
	for step := range 600 {
		for id, at := range open {
			if at == step {
				n := store.Amount(5 + step%13)
				_, err := x.Settle(x.ctx, tenantA, id, tokens(100, n))
				x.ok(err)
				list = append(list, settled{x.clock.Now(), n})
				delete(open, id)
			}
		}
		id := fmt.Sprint(step)
		if x.hold(id, 100, 18) == nil {
			open[id] = step + 1 + step%20
		}
		x.clock.advance(time.Second)
	}
	if len(list) < 50 {
		x.Fatalf("only %d were let through", len(list))
	}
	for i, first := range list {
		sum := store.Amount(0)
		for _, s := range list[i:] {
			if s.at.Sub(first.at) < time.Minute {
				sum += s.n
			}
		}
		if sum > 100 {
			x.Fatalf("%d were used in the minute from %v", sum, first.at)
		}
	}
}

func windowHolds(x *subject) {
	x.ok(x.hold("a", 100, 100))
	x.clock.advance(90 * time.Second) // longer than the window, shorter than the lease
	x.wantErr(x.hold("b", 100, 1), store.ErrExceeded)
	_, err := x.Settle(x.ctx, tenantA, "a", tokens(100, 100))
	x.ok(err)
	x.clock.advance(59 * time.Second)
	x.wantErr(x.hold("b", 100, 1), store.ErrExceeded)
	x.clock.advance(time.Second)
	x.ok(x.hold("b", 100, 100))
	x.ok(x.ReleaseHold(x.ctx, tenantA, "b"))
	x.wantWindow(100, 0, 0, 0)
}

func windowLease(x *subject) {
	x.ok(x.hold("a", 100, 70))
	x.clock.advance(time.Minute)
	x.ok(x.hold("a", 100, 70)) // renewed
	x.clock.advance(time.Minute + time.Second)
	x.wantWindow(100, 0, 0, 70)
	x.clock.advance(time.Minute - time.Second)
	x.wantWindow(100, 0, 0, 0)
	x.ok(x.hold("b", 100, 100))
}

func windowWaits(x *subject) {
	x.spend("a", 30)
	x.clock.advance(10 * time.Second)
	x.spend("b", 50)
	x.clock.advance(10 * time.Second)
	for want, wait := range map[store.Amount]time.Duration{20: 0, 21: 40 * time.Second, 50: 40 * time.Second, 51: 50 * time.Second, 100: 50 * time.Second} {
		x.wantTime(fmt.Sprint("the wait for ", want), x.wantWindow(100, want, 80, 0).Wait, wait)
	}
	balances, err := x.Reserve(x.ctx, tenantA, "c", time.Minute, tokens(100, 51))
	x.wantErr(err, store.ErrExceeded)
	x.wantTime("the wait of what was refused", balances[0].Wait, 50*time.Second)

	// a hold has no end that anybody knows
	x.ok(x.hold("c", 100, 20))
	x.wantTime("the wait beside a hold", x.wantWindow(100, 30, 80, 20).Wait, 40*time.Second)
	x.wantTime("the wait for what a hold is in the way of", x.wantWindow(100, 100, 80, 20).Wait, 50*time.Second)
	x.clock.advance(50 * time.Second)
	x.wantTime("the wait for a hold alone", x.wantWindow(100, 100, 0, 20).Wait, 0)
}

func windowOwn(x *subject) {
	x.spend("a", 30)
	x.ok(x.hold("b", 100, 60))
	x.ok(x.hold("b", 100, 70))
	balances, err := x.Reserve(x.ctx, tenantA, "b", time.Minute, tokens(100, 80))
	x.wantErr(err, store.ErrExceeded)
	x.wantTime("the wait", balances[0].Wait, time.Minute)
	x.wantWindow(100, 0, 30, 70)
}

func windowResets(x *subject) {
	reset := func() time.Duration {
		b, err := x.Balances(x.ctx, tenantA, tokens(100, 0))
		x.ok(err)
		return b[0].Reset.Sub(x.clock.Now())
	}
	x.wantTime("reset of an empty one", reset(), 0)
	x.spend("a", 10)
	x.clock.advance(10 * time.Second)
	x.spend("b", 10)
	x.clock.advance(10 * time.Second)
	x.wantTime("reset", reset(), 50*time.Second)
	x.ok(x.hold("c", 100, 10))
	x.wantTime("reset while something is held", reset(), time.Minute)
}

func windowOver(x *subject) {
	x.ok(x.hold("a", 100, 40))
	_, err := x.Settle(x.ctx, tenantA, "a", tokens(100, 140))
	x.ok(err)
	x.wantTime("the wait", x.wantWindow(100, 1, 140, 0).Wait, time.Minute)
	x.wantErr(x.hold("b", 100, 1), store.ErrExceeded)
	x.clock.advance(time.Minute)
	x.ok(x.hold("b", 100, 100))
}

func windowOnce(x *subject) {
	for range 2 {
		_, err := x.Settle(x.ctx, tenantA, "a", tokens(100, 40))
		x.ok(err)
	}
	x.wantWindow(100, 0, 40, 0)
}

func windowAllOrNone(x *subject) {
	both := append(budget(50, 60), tokens(100, 60)...)
	_, err := x.Reserve(x.ctx, tenantA, "a", time.Minute, both)
	x.wantErr(err, store.ErrExceeded)
	x.wantWindow(100, 0, 0, 0)
	both[0].Limit, both[1].Limit = 100, 50
	_, err = x.Reserve(x.ctx, tenantA, "a", time.Minute, both)
	x.wantErr(err, store.ErrExceeded)
	x.wantBalance(0, 0)
	both[1].Limit = 100
	_, err = x.Reserve(x.ctx, tenantA, "a", time.Minute, both)
	x.ok(err)
	both[0].Want, both[1].Want = 10, 20
	balances, err := x.Settle(x.ctx, tenantA, "a", both)
	x.ok(err)
	if balances[0].Used != 10 || balances[1].Used != 20 || balances[1].Held != 0 {
		x.Errorf("after settle: %+v", balances)
	}
	x.clock.advance(time.Minute)
	x.wantBalance(10, 0)
	x.wantWindow(100, 0, 0, 0)
}

func windowConcurrent(x *subject) {
	var wg sync.WaitGroup
	var mu sync.Mutex
	granted := 0
	for i := range 100 {
		wg.Go(func() {
			id := fmt.Sprint(i)
			if x.hold(id, 100, 7) != nil {
				return
			}
			if _, err := x.Settle(x.ctx, tenantA, id, tokens(100, 7)); err != nil {
				x.Error(err)
			}
			mu.Lock()
			defer mu.Unlock()
			granted++
		})
	}
	wg.Wait()
	if granted != 14 {
		x.Fatalf("%d calls of 7 fit into 100, want 14", granted)
	}
	x.wantWindow(100, 0, 98, 0)
}

func windowNoLimit(x *subject) {
	x.ok(x.hold("a", 0, 1000))
	x.wantErr(x.hold("b", 100, 1), store.ErrExceeded)
	_, err := x.Settle(x.ctx, tenantA, "a", tokens(0, 1000))
	x.ok(err)
	x.wantWindow(0, 1, 1000, 0)
}

// windowMany settles far more often than a store may want to remember one by
// one: it may count rather too much, never too little.
func windowMany(x *subject) {
	const n = 5000
	for i := range n {
		_, err := x.Settle(x.ctx, tenantA, fmt.Sprint(i), tokens(0, 1))
		x.ok(err)
		x.clock.advance(10 * time.Millisecond)
	}
	x.wantWindow(0, 0, n, 0)
	x.clock.advance(30 * time.Second) // the first 2,001 are a minute old or more
	balances, err := x.Balances(x.ctx, tenantA, tokens(0, 0))
	x.ok(err)
	if used := balances[0].Used; used < n-2001 || used > n-1950 {
		x.Errorf("after 80 s %d count, want %d or little more", used, n-2001)
	}
	x.clock.advance(30 * time.Second)
	x.wantWindow(0, 0, 0, 0)
}

func windowIsolated(x *subject) {
	x.spend("a", 100)
	_, err := x.Reserve(x.ctx, tenantB, "a", time.Minute, tokens(100, 100))
	x.ok(err)
	x.ok(x.ReleaseHold(x.ctx, tenantB, "a"))
	x.wantWindow(100, 0, 100, 0)
}

func windowTakeWithin(x *subject) {
	takes := append(oneTake("k", 10), store.Take{Key: "s", Slots: 1})
	take := func(want bool, used, held store.Amount, remaining int64) {
		x.Helper()
		budgets := append(tokens(100, 1), store.Budget{Key: "unbounded", Want: 1_000})
		results, balances, granted, err := x.TakeWithin(x.ctx, tenantA, takes, budgets)
		x.ok(err)
		if granted != want || len(results) != len(takes) || len(balances) != len(budgets) {
			x.Fatalf("granted %v, want %v: %+v %+v", granted, want, results, balances)
		}
		if got := results[0].Windows[0].Remaining; got != remaining {
			x.Fatalf("%d requests remain, want %d", got, remaining)
		}
		if balances[0].Used != used || balances[0].Held != held {
			x.Fatalf("balances are %+v, want used %d and held %d", balances, used, held)
		}
		if granted {
			x.ok(x.Release(x.ctx, tenantA, takes))
		}
	}
	take(true, 0, 0, 9)
	x.spend("a", 99)
	take(true, 99, 0, 8)
	x.ok(x.hold("b", 100, 1))
	take(false, 99, 1, 8)
	x.ok(x.ReleaseHold(x.ctx, tenantA, "b"))
	take(true, 99, 0, 7)
	_, err := x.Settle(x.ctx, tenantA, "c", tokens(100, 1))
	x.ok(err)
	take(false, 100, 0, 7)
	x.clock.advance(time.Minute)
	take(true, 0, 0, 9)
}
