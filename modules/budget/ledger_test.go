package budget

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/caddy-chat/caddy-chat/modules/limit"
	"github.com/caddy-chat/caddy-chat/modules/store"
)

// memory is a ledger of one tenant, with the time of the test. The stores'
// own ledgers are tested with it in storetest.
type memory struct {
	mu      sync.Mutex
	used    map[string]store.Amount
	windows map[string]*limit.Tally
	holds   map[string]held
	settled map[string]bool
	calls   map[string]int // by method
	fail    error
}

type held struct {
	budgets []store.Budget
	until   time.Time
}

func newMemory() *memory {
	return &memory{
		used: make(map[string]store.Amount), windows: make(map[string]*limit.Tally), holds: make(map[string]held),
		settled: make(map[string]bool), calls: make(map[string]int),
	}
}

func (m *memory) enter(name string) (leave func(), err error) {
	m.mu.Lock()
	m.calls[name]++
	if err := m.fail; err != nil {
		m.mu.Unlock()
		return nil, err
	}
	m.expire()
	return m.mu.Unlock, nil
}

func (m *memory) expire() {
	for id, h := range m.holds {
		if !time.Now().Before(h.until) {
			delete(m.holds, id)
		}
	}
}

func (m *memory) balance(b store.Budget, except string) store.Balance {
	bal := store.Balance{Used: m.used[b.Key]}
	for id, h := range m.holds {
		for _, o := range h.budgets {
			if o.Key == b.Key && id != except {
				bal.Held += o.Want
			}
		}
	}
	if w := m.windows[b.Key]; w != nil {
		bal.Used = store.Amount(w.Sum(time.Now(), b.Window))
		bal.Wait = w.Wait(time.Now(), int64(b.Limit-b.Want-bal.Held), b.Window)
	}
	return bal
}

func (m *memory) balances(budgets []store.Budget) []store.Balance {
	list := make([]store.Balance, len(budgets))
	for i, b := range budgets {
		list[i] = m.balance(b, "")
	}
	return list
}

func (m *memory) Reserve(_ context.Context, _, id string, lease time.Duration, budgets []store.Budget) ([]store.Balance, error) {
	leave, err := m.enter("reserve")
	if err != nil {
		return nil, err
	}
	defer leave()
	for _, b := range budgets {
		bal := m.balance(b, id)
		if b.Limit > 0 && bal.Used+bal.Held+b.Want > b.Limit {
			return m.balances(budgets), store.ErrExceeded
		}
	}
	m.holds[id] = held{append([]store.Budget(nil), budgets...), time.Now().Add(lease)}
	return m.balances(budgets), nil
}

func (m *memory) Settle(_ context.Context, _, id string, budgets []store.Budget) ([]store.Balance, error) {
	leave, err := m.enter("settle")
	if err != nil {
		return nil, err
	}
	defer leave()
	delete(m.holds, id)
	if !m.settled[id] {
		m.settled[id] = true
		for _, b := range budgets {
			if b.Window == 0 {
				m.used[b.Key] += b.Want
				continue
			}
			if m.windows[b.Key] == nil {
				m.windows[b.Key] = new(limit.Tally)
			}
			m.windows[b.Key].Add(time.Now(), int64(b.Want), b.Window)
		}
	}
	return m.balances(budgets), nil
}

func (m *memory) ReleaseHold(_ context.Context, _, id string) error {
	leave, err := m.enter("release")
	if err != nil {
		return err
	}
	defer leave()
	delete(m.holds, id)
	return nil
}

func (m *memory) Balances(_ context.Context, _ string, budgets []store.Budget) ([]store.Balance, error) {
	leave, err := m.enter("balances")
	if err != nil {
		return nil, err
	}
	defer leave()
	return m.balances(budgets), nil
}

// of is what a counter says.
func (m *memory) of(key string) store.Balance {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.expire()
	return m.balance(store.Budget{Key: key, Window: time.Minute}, "")
}

// asked is how often a method was called.
func (m *memory) asked(name string) int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.calls[name]
}

func (m *memory) fails(err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.fail = err
}

var errDown = errors.New("the ledger is down")
