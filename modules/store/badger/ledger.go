package badger

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/caddy-chat/caddy-chat/modules/store"
)

// ledger holds what a tenant has reserved and used. All of it is in memory;
// counters that do not slide are written to the disk a moment after they
// change.
type ledger struct {
	tenant string

	mu       sync.Mutex
	holds    holds
	counters counters
	windows  map[string]*window // by key, those that something counts in
}

// eraseLedger forgets all that memory has of a ledger. No commit may run
// beside it, or it would write counters that are about to be deleted.
func (d *db) eraseLedger(l *ledger) {
	d.unsaved.committing.Lock()
	defer d.unsaved.committing.Unlock()
	l.mu.Lock()
	defer l.mu.Unlock()
	d.windows.Add(-int64(len(l.windows)))
	l.holds, l.windows = holds{}, nil
	l.counters = counters{queued: l.counters.queued}
}

// balances reads counters. id is whose hold is not in the way of what is
// wanted; empty for no hold.
func (d *db) balances(l *ledger, now time.Time, id string, budgets []store.Budget) ([]store.Balance, error) {
	list := make([]store.Balance, len(budgets))
	for i, b := range budgets {
		if b.Window > 0 {
			list[i] = d.slide(l, now, id, b)
			continue
		}
		c, err := d.counter(l, b.Key)
		if err != nil {
			return nil, fmt.Errorf("reading a budget: %w", err)
		}
		list[i] = store.Balance{Used: c.at(now), Held: l.holds.sums[b.Key]}
	}
	return list, nil
}

// Reserve implements store.Ledger.
func (d *db) Reserve(ctx context.Context, tenant, id string, lease time.Duration, budgets []store.Budget) ([]store.Balance, error) {
	t, err := d.enterTenant(ctx, tenant)
	if err != nil {
		return nil, err
	}
	defer d.leaveTenant(t)
	l, now := d.lockLedger(t)
	defer l.mu.Unlock()

	if counted(budgets) && !l.holds.has(id) {
		if err := d.writable(); err != nil {
			return nil, fmt.Errorf("reserving a budget: %w", err)
		}
	}
	if !d.roomFor(l, budgets) {
		return nil, store.ErrFull
	}
	list, err := d.balances(l, now, id, budgets)
	if err != nil {
		return nil, err
	}
	if l.holds.isSettled(id) {
		return list, nil // it came too late to hold anything
	}
	for i, b := range budgets {
		if b.Limit > 0 && b.Want > b.Limit-list[i].Used-list[i].Held+l.holds.own(id, b.Key) {
			return list, store.ErrExceeded
		}
	}

	l.holds.put(id, budgets, now.Add(lease))
	for i, b := range budgets {
		list[i].Held = l.holds.sums[b.Key]
	}
	return list, nil
}

// Settle implements store.Ledger. It counts whether or not the hold is still
// there.
func (d *db) Settle(ctx context.Context, tenant, id string, budgets []store.Budget) ([]store.Balance, error) {
	t, err := d.enterTenant(ctx, tenant)
	if err != nil {
		return nil, err
	}
	defer d.leaveTenant(t)

	saved := counted(budgets)
	if saved && d.unsaved.overdue() {
		_ = d.commitCounters() // writable returns its error
	}
	list, err := d.settle(t, id, budgets)
	if err != nil || !saved || !d.syncWrites {
		return list, err
	}
	if err := d.commitCounters(); err != nil {
		return nil, fmt.Errorf("settling a budget: %w", err)
	}
	return list, nil
}

func (d *db) settle(t *tenant, id string, budgets []store.Budget) ([]store.Balance, error) {
	l, now := d.lockLedger(t)
	defer l.mu.Unlock()

	if !l.holds.isSettled(id) {
		if err := d.use(l, now, budgets); err != nil {
			return nil, fmt.Errorf("settling a budget: %w", err)
		}
		l.holds.settle(id, now)
	}
	return d.balances(l, now, "", budgets)
}

// counted says whether any of the counters is on disk.
func counted(budgets []store.Budget) bool {
	return slices.ContainsFunc(budgets, func(b store.Budget) bool { return b.Window == 0 })
}

// use counts in all budgets, or in none.
func (d *db) use(l *ledger, now time.Time, budgets []store.Budget) error {
	if counted(budgets) {
		if err := d.writable(); err != nil {
			return err
		}
	}
	for _, b := range budgets {
		if b.Window > 0 {
			continue
		}
		if _, err := d.counter(l, b.Key); err != nil {
			return err
		}
	}
	for _, b := range budgets {
		if b.Window > 0 {
			d.addToWindow(l, now, b)
			continue
		}
		c := l.counters.byKey[b.Key]
		c.add(b, now)
		d.noteUnsaved(l, c)
	}
	return nil
}

// ReleaseHold implements store.Ledger.
func (d *db) ReleaseHold(ctx context.Context, tenant, id string) error {
	t, err := d.enterTenant(ctx, tenant)
	if err != nil {
		return err
	}
	defer d.leaveTenant(t)
	l, _ := d.lockLedger(t)
	defer l.mu.Unlock()
	l.holds.drop(id)
	return nil
}

// Balances implements store.Ledger.
func (d *db) Balances(ctx context.Context, tenant string, budgets []store.Budget) ([]store.Balance, error) {
	t, err := d.enterTenant(ctx, tenant)
	if err != nil {
		return nil, err
	}
	defer d.leaveTenant(t)
	l, now := d.lockLedger(t)
	defer l.mu.Unlock()
	return d.balances(l, now, "", budgets)
}

// enterTenant begins a call of a tenant, which ends with leaveTenant unless
// an error is returned.
func (d *db) enterTenant(ctx context.Context, id string) (*tenant, error) {
	if err := d.enter(ctx); err != nil {
		return nil, err
	}
	t := d.tenant(id)
	t.erase.RLock()
	return t, nil
}

func (d *db) leaveTenant(t *tenant) {
	t.erase.RUnlock()
	d.leave()
}

// lockLedger returns a tenant's ledger, locked and without holds that have
// expired, and the time of that.
func (d *db) lockLedger(t *tenant) (*ledger, time.Time) {
	l := &t.ledger
	l.mu.Lock()
	now := d.now()
	l.holds.expire(now)
	return l, now
}
