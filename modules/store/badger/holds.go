package badger

import (
	"slices"
	"time"

	"github.com/caddy-chat/caddy-chat/modules/store"
)

// settledFor is how long a settled reservation is known as such: a second
// Settle comes from the same request, if at all, and soon.
const settledFor = 2 * time.Minute

// holds are a tenant's reservations. They live in memory only: a reservation
// has no owner any more once the process is gone.
type holds struct {
	byID map[string]*hold
	sums map[string]store.Amount // of what is held, by key

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

// expire drops the holds whose lease is over.
func (h *holds) expire(now time.Time) {
	for len(h.order) > 0 && now.Sub(h.order[0].at) >= settledFor {
		delete(h.settled, h.order[0].id)
		h.order = h.order[1:]
	}
	if len(h.byID) == 0 || now.Before(h.soonest) {
		return
	}
	h.soonest = now.Add(24 * time.Hour)
	for id, o := range h.byID {
		if !now.Before(o.until) {
			h.drop(id)
		} else if o.until.Before(h.soonest) {
			h.soonest = o.until
		}
	}
}

func (h *holds) drop(id string) {
	o := h.byID[id]
	if o == nil {
		return
	}
	delete(h.byID, id)
	for _, b := range o.budgets {
		if h.sums[b.Key] -= b.Want; h.sums[b.Key] == 0 {
			delete(h.sums, b.Key)
		}
	}
}

// put holds budgets under an id, in place of what it holds already.
func (h *holds) put(id string, budgets []store.Budget, until time.Time) {
	h.drop(id)
	if h.byID == nil {
		h.byID, h.sums = make(map[string]*hold), make(map[string]store.Amount)
	}
	if len(h.byID) == 0 || until.Before(h.soonest) {
		h.soonest = until
	}
	h.byID[id] = &hold{budgets: slices.Clone(budgets), until: until}
	for _, b := range budgets {
		h.sums[b.Key] += b.Want
	}
}

// settle drops the hold and remembers that its call was counted.
func (h *holds) settle(id string, now time.Time) {
	h.drop(id)
	if h.settled == nil {
		h.settled = make(map[string]struct{})
	}
	h.settled[id] = struct{}{}
	h.order = append(h.order, settlement{id, now})
}

func (h *holds) has(id string) bool { return h.byID[id] != nil }

func (h *holds) isSettled(id string) bool {
	_, ok := h.settled[id]
	return ok
}

// own is what a hold already has of a key.
func (h *holds) own(id, key string) (sum store.Amount) {
	if o := h.byID[id]; o != nil {
		for _, b := range o.budgets {
			if b.Key == key {
				sum += b.Want
			}
		}
	}
	return sum
}
