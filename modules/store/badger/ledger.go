package badger

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	kv "github.com/dgraph-io/badger/v4"

	"github.com/caddy-chat/caddy-chat/modules/store"
)

// settledFor is how long a settled reservation is known as such: a second
// Settle comes from the same request, if at all.
const settledFor = 10 * time.Minute

// ledger holds what a tenant has reserved, and its counters that slide. Only
// what was used of the others is on disk: a reservation has no owner any more
// once the process is gone.
type ledger struct {
	mu      sync.Mutex
	holds   map[string]*hold
	held    map[string]store.Amount // sum of the holds by key
	windows map[string]*window      // by key, those that something counts in

	// soonest is no later than the first end of a lease, so that most calls
	// need not look at all of them.
	soonest time.Time

	settled map[string]struct{}
	order   []settlement // oldest first
}

type hold struct {
	budgets []store.Budget
	until   time.Time
}

type settlement struct {
	id string
	at time.Time
}

// reset forgets everything, and returns how many windows that were.
func (l *ledger) reset() (windows int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	windows = len(l.windows)
	l.holds, l.held, l.windows, l.settled, l.order = nil, nil, nil, nil, nil
	return windows
}

// expire drops the holds whose lease is over.
func (l *ledger) expire(now time.Time) {
	for len(l.order) > 0 && now.Sub(l.order[0].at) >= settledFor {
		delete(l.settled, l.order[0].id)
		l.order = l.order[1:]
	}
	if len(l.holds) == 0 || now.Before(l.soonest) {
		return
	}
	l.soonest = now.Add(24 * time.Hour)
	for id, h := range l.holds {
		if !now.Before(h.until) {
			l.drop(id)
		} else if h.until.Before(l.soonest) {
			l.soonest = h.until
		}
	}
}

func (l *ledger) drop(id string) {
	h := l.holds[id]
	if h == nil {
		return
	}
	delete(l.holds, id)
	for _, b := range h.budgets {
		if l.held[b.Key] -= b.Want; l.held[b.Key] == 0 {
			delete(l.held, b.Key)
		}
	}
}

func (l *ledger) put(id string, budgets []store.Budget, until time.Time) {
	l.drop(id)
	if l.holds == nil {
		l.holds, l.held = make(map[string]*hold), make(map[string]store.Amount)
	}
	if len(l.holds) == 0 || until.Before(l.soonest) {
		l.soonest = until
	}
	l.holds[id] = &hold{budgets: append([]store.Budget(nil), budgets...), until: until}
	for _, b := range budgets {
		l.held[b.Key] += b.Want
	}
}

func (l *ledger) settle(id string, now time.Time) {
	l.drop(id)
	if l.settled == nil {
		l.settled = make(map[string]struct{})
	}
	l.settled[id] = struct{}{}
	l.order = append(l.order, settlement{id, now})
}

// own is what a hold already has of a key.
func (l *ledger) own(id, key string) (sum store.Amount) {
	if h := l.holds[id]; h != nil {
		for _, b := range h.budgets {
			if b.Key == key {
				sum += b.Want
			}
		}
	}
	return sum
}

// used reads a counter; one that may be forgotten is.
func (d *db) used(txn *kv.Txn, tenant, key string) (n store.Amount, err error) {
	item, err := txn.Get(budgetKey(tenant, key))
	if errors.Is(err, kv.ErrKeyNotFound) {
		return 0, nil
	}
	if err != nil {
		return 0, err
	}
	err = item.Value(func(v []byte) error {
		until, rest, err := stamp(v)
		if err != nil {
			return err
		}
		if len(rest) != 8 {
			return errors.New("counter is not 8 bytes")
		}
		if d.now().UnixMilli() < until {
			n = store.Amount(binary.BigEndian.Uint64(rest))
		}
		return nil
	})
	return n, err
}

// balances reads counters. id is whose hold is not in the way of what is
// wanted; empty for nobody's.
func (d *db) balances(l *ledger, tenant, id string, budgets []store.Budget) ([]store.Balance, error) {
	list := make([]store.Balance, len(budgets))
	err := d.view(func(txn *kv.Txn) error {
		for i, b := range budgets {
			if b.Window > 0 {
				list[i] = d.slide(l, id, b)
				continue
			}
			used, err := d.used(txn, tenant, b.Key)
			if err != nil {
				return err
			}
			list[i] = store.Balance{Used: used, Held: l.held[b.Key]}
		}
		return nil
	})
	return list, err
}

// Reserve implements store.Ledger.
func (d *db) Reserve(ctx context.Context, tenant, id string, lease time.Duration, budgets []store.Budget) ([]store.Balance, error) {
	l, leave, err := d.openLedger(ctx, tenant)
	if err != nil {
		return nil, err
	}
	defer leave()

	// what a new call used could not be counted, and would be free
	if d.full.Load() && l.holds[id] == nil && counted(budgets) {
		return nil, fmt.Errorf("reserving a budget: %w", errFull)
	}
	if !d.roomFor(l, budgets) {
		return nil, store.ErrFull
	}
	list, err := d.balances(l, tenant, id, budgets)
	if err != nil {
		return nil, fmt.Errorf("reading a budget: %w", err)
	}
	if _, ok := l.settled[id]; ok {
		return list, nil // it came too late to hold anything
	}
	for i, b := range budgets {
		if b.Limit > 0 && b.Want > b.Limit-list[i].Used-list[i].Held+l.own(id, b.Key) {
			return list, store.ErrExceeded
		}
	}

	l.put(id, budgets, d.now().Add(lease))
	for i, b := range budgets {
		list[i].Held = l.held[b.Key]
	}
	return list, nil
}

// Settle implements store.Ledger. It counts whether or not the hold is still
// there.
func (d *db) Settle(ctx context.Context, tenant, id string, budgets []store.Budget) ([]store.Balance, error) {
	l, leave, err := d.openLedger(ctx, tenant)
	if err != nil {
		return nil, err
	}
	defer leave()

	if _, ok := l.settled[id]; !ok {
		if err := d.addAll(tenant, budgets); err != nil {
			return nil, fmt.Errorf("settling a budget: %w", err)
		}
		for _, b := range budgets {
			if b.Window > 0 {
				d.addToWindow(l, b)
			}
		}
		l.settle(id, d.now())
	}

	list, err := d.balances(l, tenant, "", budgets)
	if err != nil {
		return nil, fmt.Errorf("reading a budget: %w", err)
	}
	return list, nil
}

// counted says whether any of the counters is on disk.
func counted(budgets []store.Budget) bool {
	return slices.ContainsFunc(budgets, func(b store.Budget) bool { return b.Window == 0 })
}

// addAll counts what was used of the counters on disk, all or none.
func (d *db) addAll(tenant string, budgets []store.Budget) error {
	if !counted(budgets) {
		return nil
	}
	if d.full.Load() {
		return errFull
	}
	return d.commit(func(txn *kv.Txn) error {
		for _, b := range budgets {
			if b.Window > 0 {
				continue
			}
			if err := d.add(txn, tenant, b); err != nil {
				return err
			}
		}
		return nil
	})
}

func (d *db) add(txn *kv.Txn, tenant string, b store.Budget) error {
	used, err := d.used(txn, tenant, b.Key)
	if err != nil {
		return err
	}
	until := int64(never)
	if !b.Until.IsZero() {
		until = b.Until.UnixMilli()
	}
	value := stamped(until, binary.BigEndian.AppendUint64(nil, uint64(used+b.Want)))
	return txn.SetEntry(d.reclaim(kv.NewEntry(budgetKey(tenant, b.Key), value), until))
}

// ReleaseHold implements store.Ledger.
func (d *db) ReleaseHold(ctx context.Context, tenant, id string) error {
	l, leave, err := d.openLedger(ctx, tenant)
	if err != nil {
		return err
	}
	defer leave()
	l.drop(id)
	return nil
}

// Balances implements store.Ledger.
func (d *db) Balances(ctx context.Context, tenant string, budgets []store.Budget) ([]store.Balance, error) {
	l, leave, err := d.openLedger(ctx, tenant)
	if err != nil {
		return nil, err
	}
	defer leave()

	list, err := d.balances(l, tenant, "", budgets)
	if err != nil {
		return nil, fmt.Errorf("reading a budget: %w", err)
	}
	return list, nil
}

// openLedger begins a call on a tenant's ledger, locked and without what has
// expired. leave ends it.
func (d *db) openLedger(ctx context.Context, tenant string) (l *ledger, leave func(), err error) {
	if err := d.enter(ctx); err != nil {
		return nil, nil, err
	}
	t := d.tenant(tenant)
	t.erase.RLock()
	t.ledger.mu.Lock()
	t.ledger.expire(d.now())
	return &t.ledger, func() {
		t.ledger.mu.Unlock()
		t.erase.RUnlock()
		d.leave()
	}, nil
}
