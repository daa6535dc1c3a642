package storetest

import (
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/caddy-chat/caddy-chat/modules/store"
)

var ledgerTests = []test{
	{"reserve_and_settle", ledgerSettle},
	{"what_does_not_fit_is_refused", ledgerExceeded},
	{"all_budgets_are_held_or_none", ledgerAllOrNone},
	{"concurrent_reserves_never_pass_the_limit", ledgerConcurrent},
	{"a_hold_grows", ledgerGrows},
	{"a_hold_that_cannot_grow_stays", ledgerCannotGrow},
	{"a_lease_that_ends_frees_the_hold", ledgerLease},
	{"reserving_again_renews_the_lease", ledgerRenew},
	{"settling_counts_once", ledgerOnce},
	{"settling_counts_without_a_hold", ledgerLate},
	{"settling_may_pass_the_limit", ledgerOver},
	{"releasing_costs_nothing", ledgerRelease},
	{"no_limit_counts_only", ledgerNoLimit},
	{"concurrent_settles_all_count", ledgerSettles},
}

const budgetName = "tokens/day/2026-11-22"

func budget(limit, want store.Amount) []store.Budget {
	return []store.Budget{{Key: budgetName, Limit: limit, Want: want, Until: time.Date(2026, 11, 25, 0, 0, 0, 0, time.UTC)}}
}

func (x *subject) reserve(id string, limit, want store.Amount) []store.Balance {
	x.Helper()
	balances, err := x.Reserve(x.ctx, tenantA, id, time.Minute, budget(limit, want))
	if err != nil {
		x.Fatalf("reserve: %v", err)
	}
	return balances
}

func (x *subject) wantExceeded(id string, limit, want store.Amount) {
	x.Helper()
	_, err := x.Reserve(x.ctx, tenantA, id, time.Minute, budget(limit, want))
	x.wantErr(err, store.ErrExceeded)
}

func (x *subject) settle(id string, want store.Amount) []store.Balance {
	x.Helper()
	balances, err := x.Settle(x.ctx, tenantA, id, budget(100, want))
	if err != nil {
		x.Fatalf("settle: %v", err)
	}
	return balances
}

func (x *subject) wantBalance(used, held store.Amount) {
	x.Helper()
	balances, err := x.Balances(x.ctx, tenantA, append([]store.Budget{{Key: "other"}}, budget(0, 0)...))
	x.ok(err)
	if len(balances) != 2 || balances[0] != (store.Balance{}) {
		x.Fatalf("balances: %+v", balances)
	}
	if balances[1] != (store.Balance{Used: used, Held: held}) {
		x.Fatalf("balance is %+v, want used %d and held %d", balances[1], used, held)
	}
}

func ledgerSettle(x *subject) {
	x.wantBalance(0, 0)
	if got := x.reserve("a", 100, 40); got[0] != (store.Balance{Held: 40}) {
		x.Errorf("after reserve: %+v", got)
	}
	x.reserve("b", 100, 60)
	x.wantBalance(0, 100)
	if got := x.settle("a", 25); got[0] != (store.Balance{Used: 25, Held: 60}) {
		x.Errorf("after settle: %+v", got)
	}
	x.settle("b", 0)
	x.wantBalance(25, 0)
}

func ledgerExceeded(x *subject) {
	x.wantExceeded("a", 100, 101)
	x.wantBalance(0, 0)
	x.reserve("a", 100, 100)
	x.wantExceeded("b", 100, 1)
	x.settle("a", 99)
	x.wantExceeded("b", 100, 2)
	x.reserve("b", 100, 1)
	x.wantBalance(99, 1)
}

func ledgerAllOrNone(x *subject) {
	two := []store.Budget{{Key: "day", Limit: 100, Want: 50}, {Key: "month", Limit: 40, Want: 50}}
	_, err := x.Reserve(x.ctx, tenantA, "a", time.Minute, two)
	x.wantErr(err, store.ErrExceeded)
	two[1].Limit = 50
	got, err := x.Reserve(x.ctx, tenantA, "a", time.Minute, two)
	x.ok(err)
	if len(got) != 2 || got[0] != (store.Balance{Held: 50}) || got[1] != (store.Balance{Held: 50}) {
		x.Errorf("after reserve: %+v", got)
	}
	two[0].Want, two[1].Want = 10, 20
	got, err = x.Settle(x.ctx, tenantA, "a", two)
	x.ok(err)
	if got[0] != (store.Balance{Used: 10}) || got[1] != (store.Balance{Used: 20}) {
		x.Errorf("after settle: %+v", got)
	}
}

func ledgerConcurrent(x *subject) {
	const n = 100
	var wg sync.WaitGroup
	errs := make([]error, n)
	for i := range n {
		wg.Go(func() {
			_, errs[i] = x.Reserve(x.ctx, tenantA, fmt.Sprint(i), time.Minute, budget(100, 7))
		})
	}
	wg.Wait()
	held := 0
	for _, err := range errs {
		if err == nil {
			held++
		} else if !errors.Is(err, store.ErrExceeded) {
			x.Fatal(err)
		}
	}
	if held != 14 {
		x.Fatalf("%d reservations of 7 fit into 100, want 14", held)
	}
	x.wantBalance(0, 98)
}

func ledgerGrows(x *subject) {
	x.reserve("a", 100, 40)
	x.reserve("b", 100, 30)
	x.reserve("a", 100, 70)
	x.wantBalance(0, 100)
	x.reserve("a", 100, 10) // smaller too
	x.wantBalance(0, 40)
}

func ledgerCannotGrow(x *subject) {
	x.reserve("a", 100, 40)
	x.reserve("b", 100, 30)
	x.wantExceeded("a", 100, 71)
	x.wantBalance(0, 70)
}

func ledgerLease(x *subject) {
	x.reserve("a", 100, 100)
	x.clock.advance(30 * time.Second)
	x.wantExceeded("b", 100, 1)
	x.clock.advance(30 * time.Second)
	x.wantBalance(0, 0)
	x.reserve("b", 100, 100)
}

func ledgerRenew(x *subject) {
	x.reserve("a", 100, 50)
	x.reserve("b", 100, 10)
	x.clock.advance(40 * time.Second)
	x.reserve("a", 100, 50)
	x.clock.advance(40 * time.Second)
	x.wantBalance(0, 50)
	x.clock.advance(20 * time.Second)
	x.wantBalance(0, 0)
}

func ledgerOnce(x *subject) {
	x.reserve("a", 100, 40)
	x.settle("a", 30)
	if got := x.settle("a", 30); got[0].Used != 30 {
		x.Errorf("after the second settle: %+v", got)
	}
	x.ok(x.ReleaseHold(x.ctx, tenantA, "a"))
	x.wantBalance(30, 0)
}

func ledgerLate(x *subject) {
	x.reserve("a", 100, 40)
	x.clock.advance(time.Hour)
	x.settle("a", 40)
	x.settle("never reserved", 5)
	x.wantBalance(45, 0)
}

func ledgerOver(x *subject) {
	x.reserve("a", 100, 40)
	x.settle("a", 140)
	x.wantBalance(140, 0)
	x.wantExceeded("b", 100, 1)
}

func ledgerRelease(x *subject) {
	x.reserve("a", 100, 100)
	x.ok(x.ReleaseHold(x.ctx, tenantA, "a"))
	x.ok(x.ReleaseHold(x.ctx, tenantA, "a"))
	x.ok(x.ReleaseHold(x.ctx, tenantA, "never was"))
	x.wantBalance(0, 0)
	x.reserve("b", 100, 100)
}

func ledgerNoLimit(x *subject) {
	x.reserve("a", 0, 1_000_000_000_000)
	x.settle("a", 1_000_000_000_000)
	x.wantBalance(1_000_000_000_000, 0)
}

func ledgerSettles(x *subject) {
	const n = 50
	var wg sync.WaitGroup
	for i := range n {
		wg.Go(func() {
			if _, err := x.Settle(x.ctx, tenantA, fmt.Sprint(i), budget(0, 3)); err != nil {
				x.Error(err)
			}
		})
	}
	wg.Wait()
	x.wantBalance(3*n, 0)
}
