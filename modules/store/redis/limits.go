package redis

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"go.uber.org/zap"

	"github.com/caddy-chat/caddy-chat/modules/store"
)

// slotLease is how long a slot is held without renewal: by then the slots of a node
// that died are free.
const slotLease = 30 * time.Second

// slots are those that requests of this node hold.
type slots struct {
	last atomic.Int64

	mu   sync.Mutex
	held map[slotKey]map[string]struct{}
}

type slotKey struct{ tenant, key string }

func (s *slots) init() { s.held = make(map[slotKey]map[string]struct{}) }

func (s *slots) add(tenant string, takes []store.Take, id string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, t := range takes {
		if !t.HoldsSlot() {
			continue
		}
		k := slotKey{tenant, t.Key}
		if s.held[k] == nil {
			s.held[k] = make(map[string]struct{})
		}
		s.held[k][id] = struct{}{}
	}
}

// drop removes one request that holds a slot of all these keys, and returns its id;
// empty without one. Any will do: they are alike.
func (s *slots) drop(tenant string, takes []store.Take) (id string, keys []string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, t := range takes {
		if t.HoldsSlot() {
			keys = append(keys, t.Key)
		}
	}
	if len(keys) == 0 {
		return "", nil
	}
	for id = range s.held[slotKey{tenant, keys[0]}] {
		if s.holds(tenant, keys, id) {
			break
		}
		id = ""
	}
	if id == "" {
		return "", nil
	}
	for _, name := range keys {
		k := slotKey{tenant, name}
		delete(s.held[k], id)
		if len(s.held[k]) == 0 {
			delete(s.held, k)
		}
	}
	return id, keys
}

func (s *slots) holds(tenant string, keys []string, id string) bool {
	for _, name := range keys {
		if _, ok := s.held[slotKey{tenant, name}][id]; !ok {
			return false
		}
	}
	return true
}

// snapshot returns the ids by key.
func (s *slots) snapshot() map[slotKey][]string {
	s.mu.Lock()
	defer s.mu.Unlock()
	all := make(map[slotKey][]string, len(s.held))
	for k, ids := range s.held {
		for id := range ids {
			all[k] = append(all[k], id)
		}
	}
	return all
}

// nextSlot returns an id for the slots of one request.
func (d *db) nextSlot() string { return d.node + ":" + number(d.slots.last.Add(1)) }

// Take implements store.Limiter.
func (d *db) Take(ctx context.Context, tenant string, takes []store.Take) (results []store.Taken, granted bool, err error) {
	results, _, granted, err = d.TakeWithin(ctx, tenant, takes, nil)
	return results, granted, err
}

// TakeWithin implements store.Limiter.
func (d *db) TakeWithin(ctx context.Context, tenant string, takes []store.Take, budgets []store.Budget) (results []store.Taken, balances []store.Balance, granted bool, err error) {
	if err := d.enter(ctx); err != nil {
		return nil, nil, false, err
	}
	defer d.leave()
	slot := d.nextSlot()
	args := append([]string{slot, micros(slotLease), number(len(budgets))}, budgetArgs(budgets)...)
	args = append(args, number(len(takes)))
	size := 1 + balanceSize*len(budgets)
	for _, t := range takes {
		later := "0"
		if t.Later {
			later = "1"
		}
		args = append(args, t.Key, number(t.Slots), later, number(len(t.Windows)))
		for _, w := range t.Windows {
			args = append(args, number(w.Limit), micros(w.Length))
		}
		size += 2 + 3*len(t.Windows)
	}
	answer, err := d.run(ctx, takeScript, tenant, args...).ToArray()
	if err != nil {
		return nil, nil, false, fmt.Errorf("taking from a limiter: %w", err)
	}
	n, err := integers(answer)
	if err != nil || len(n) != size {
		return nil, nil, false, fmt.Errorf("taking from a limiter: %w", errAnswer)
	}
	granted, balances = n[0] == 1, readBalances(n[1:], budgets)
	n = n[1+balanceSize*len(budgets):]
	for _, t := range takes {
		r := store.Taken{InUse: n[0], SlotFree: n[1] == 1}
		n = n[2:]
		for range t.Windows {
			r.Windows = append(r.Windows, store.WindowState{
				Remaining: n[0], Reset: time.UnixMicro(n[1]), Wait: time.Duration(n[2]) * time.Microsecond,
			})
			n = n[3:]
		}
		results = append(results, r)
	}
	if granted {
		d.slots.add(tenant, takes, slot)
	}
	return results, balances, granted, nil
}

// Release implements store.Limiter.
func (d *db) Release(ctx context.Context, tenant string, takes []store.Take) error {
	if err := d.enter(ctx); err != nil {
		return err
	}
	defer d.leave()
	id, keys := d.slots.drop(tenant, takes)
	if id == "" {
		return nil
	}
	if err := d.run(ctx, releaseScript, tenant, append([]string{id}, keys...)...).Error(); err != nil {
		return fmt.Errorf("releasing a slot: %w", err)
	}
	return nil
}

// renewSlots renews the slots that are held, until the store is closed.
func (d *db) renewSlots() {
	ticker := time.NewTicker(slotLease / 3)
	defer ticker.Stop()
	for {
		select {
		case <-d.done:
			return
		case <-ticker.C:
		}
		for k, ids := range d.slots.snapshot() {
			err := d.run(context.Background(), renewScript, k.tenant, append([]string{k.key, micros(slotLease)}, ids...)...).Error()
			if err != nil {
				d.log.Warn("renewing slots", zap.String("tenant", k.tenant), zap.Error(err))
			}
		}
	}
}
