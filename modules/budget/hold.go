package budget

import (
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/caddy-chat/caddy-chat/modules/price"
	"github.com/caddy-chat/caddy-chat/modules/provider"
	"github.com/caddy-chat/caddy-chat/modules/store"
)

// Hold is what one call has reserved. All its methods may be called on nil,
// which counts nothing, and at once.
type Hold struct {
	covered atomic.Pointer[coverage] // what Used need not look at, nil for nothing
	output  atomic.Int64             // of used

	book      *Book
	ledger    store.Ledger
	tenant    string
	id        string
	model     string
	outputCap int64
	choices   int64
	noOutput  bool
	expect    provider.Usage
	least     provider.Usage // what has to fit of it

	mu       sync.Mutex
	accounts []account
	price    price.Price
	used     provider.Usage // the last figure that was let through, but for its output
	renewAt  time.Time
	until    time.Time // the lease's end

	renewal *time.Timer     // set off when the lease is to be renewed
	wakesAt time.Time       // when renewal goes off, zero where it is not running
	keep    context.Context // Keep's, nil before it

	// margin is how many tokens before the end of what is held it grows, so
	// that a ledger that fails for a moment does not end the answer.
	margin int64

	// tight says that there was no room for a whole step: what is held is
	// used up before the ledger is asked again.
	tight bool

	// refused says that the last figure was not let through.
	refused bool

	settling bool // whether Settle was called
	ended    bool
}

// Bounded says that all that the call may use is held: its input as estimated
// and its cap of output. A budget cannot end such a call.
func (h *Hold) Bounded() bool {
	if h == nil {
		return true
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	for i := range h.accounts {
		a := &h.accounts[i]
		if !a.isWindow() && (h.outputCap <= 0 || a.held < a.amount(h.price, h.expect)) {
			return h.noOutput
		}
	}
	return true
}

// Used says how much the call has used so far, while it goes on. Steps ahead
// of it the hold grows, so that what has been used is always held, and most
// calls of Used need not ask the ledger.
//
// An error that is ErrExhausted says that a budget has no room for this
// figure: the answer has to end, and what was produced to be settled. What led
// to this figure should not reach the client, since it is counted only as
// far as it was held. Token windows never end an answer. Any other error is
// the ledger's, and says that what was used is no longer held.
func (h *Hold) Used(ctx context.Context, u provider.Usage) error {
	if h == nil {
		return nil
	}
	if h.covered.Load().covers(u) {
		h.output.Store(u.Output)
		return nil
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.ended {
		return nil
	}

	h.covered.Store(nil)
	now := time.Now()
	if now.Before(h.renewAt) && h.hasRoom(u) {
		h.let(u)
		return nil
	}
	wants := h.kept(now)
	step := h.step(u)
	for i := range h.accounts {
		wants[i] = max(wants[i], h.accounts[i].amount(h.price, h.ahead(u, step)))
	}
	h.margin = step / 4
	if err := h.growTo(ctx, now, wants); err != nil {
		if h.short(u) != nil || !now.Before(h.until) {
			return fmt.Errorf("growing a reservation: %w", err)
		}
		h.tight, h.renewAt = true, now.Add(retryAfter)
	}
	if a := h.short(u); a != nil {
		h.refused = true
		return fmt.Errorf("%w: %w", ErrExhausted, &ExceededError{Budget: a.name, Period: a.period, RetryAfter: a.ends.Sub(now)})
	}
	h.refused = false
	h.let(u)
	return nil
}

// let notes a figure that is let through.
func (h *Hold) let(u provider.Usage) {
	h.used = u
	h.output.Store(u.Output)
	h.cover(u)
}

// hasRoom says whether a figure needs no growth.
func (h *Hold) hasRoom(u provider.Usage) bool {
	return h.short(u) == nil && (h.tight || h.short(h.ahead(u, h.margin)) == nil)
}

const (
	leastStep = 64
	mostStep  = 2048
)

// step is by how many tokens a hold grows: by as many as the answer has, so
// that a long one takes few steps and a short one holds little in vain. Where
// little was left when the ledger was last asked the steps are small, since
// other calls need the room.
func (h *Hold) step(u provider.Usage) int64 {
	n := min(max(u.Output, leastStep), mostStep)
	for n > leastStep && h.crowds(h.ahead(u, n)) {
		n /= 2
	}
	return max(n, leastStep)
}

// crowds says whether growing to a usage takes more than a sixteenth of what
// a budget had left.
func (h *Hold) crowds(u provider.Usage) bool {
	for i := range h.accounts {
		if a := &h.accounts[i]; !a.isWindow() && a.amount(h.price, u)-a.held > a.left/16 {
			return true
		}
	}
	return false
}

// ahead is a usage with so much more output, but no more than the call may
// have: others need the room.
func (h *Hold) ahead(u provider.Usage, output int64) provider.Usage {
	u.Output = max(u.Output, min(u.Output+output, h.mostOutput(u)))
	return u
}

// mostOutput is how much output the call may have. A model that has passed
// its cap does not keep to it.
func (h *Hold) mostOutput(u provider.Usage) int64 {
	if h.outputCap <= 0 || u.Output > h.outputCap {
		return math.MaxInt64
	}
	return h.outputCap
}

// short returns the first account that holds less than a usage, or nil.
func (h *Hold) short(u provider.Usage) *account {
	for i := range h.accounts {
		if a := &h.accounts[i]; a.held < a.amount(h.price, u) {
			return a
		}
	}
	return nil
}

// kept is what is held now: nothing where the lease is over.
func (h *Hold) kept(now time.Time) []store.Amount {
	list := make([]store.Amount, len(h.accounts))
	if !now.Before(h.until) {
		return list
	}
	for i, a := range h.accounts {
		list[i] = a.held
	}
	return list
}

// growTo holds as much of wants as there is room for, and renews the lease.
func (h *Hold) growTo(ctx context.Context, now time.Time, wants []store.Amount) error {
	own := h.kept(now)
	tight := false
	for range 4 {
		balances, err := h.reserve(ctx, now, wants, h.bounds(wants, own))
		if err == nil {
			h.tight = tight
			return nil
		}
		if !errors.Is(err, store.ErrExceeded) {
			return err
		}
		// others may be quicker than this takes
		tight = true
		for i := range h.accounts {
			wants[i] = max(own[i], min(wants[i], h.accounts[i].room(balances[i], own[i])))
		}
	}
	h.tight = tight
	_, err := h.reserve(ctx, now, own, make([]store.Amount, len(own)))
	return err
}

// bounds are the limits to ask the ledger with: none for what does not grow,
// since that is held already, and none for windows, which never end an
// answer.
func (h *Hold) bounds(wants, own []store.Amount) []store.Amount {
	limits := make([]store.Amount, len(wants))
	for i, a := range h.accounts {
		if wants[i] > own[i] && !a.isWindow() {
			limits[i] = a.ledger.Limit
		}
	}
	return limits
}

// reserve asks the ledger, and notes what is held now.
func (h *Hold) reserve(ctx context.Context, now time.Time, wants, limits []store.Amount) ([]store.Balance, error) {
	budgets := make([]store.Budget, len(h.accounts))
	for i, a := range h.accounts {
		budgets[i] = a.ledger
		budgets[i].Want, budgets[i].Limit = wants[i], limits[i]
	}
	balances, err := h.ledger.Reserve(ctx, h.tenant, h.id, lease, budgets)
	if err != nil {
		return balances, err
	}
	for i := range h.accounts {
		a := &h.accounts[i]
		a.held = wants[i]
		a.left = a.ledger.Limit - balances[i].Used - balances[i].Held
	}
	h.renewAt, h.until = now.Add(renewAfter), now.Add(lease)
	return balances, nil
}

// firstOf is what to reserve before a call that uses so much.
func (h *Hold) firstOf(u provider.Usage) []store.Amount {
	wants := make([]store.Amount, len(h.accounts))
	for i := range h.accounts {
		wants[i] = h.accounts[i].first(h.price, u)
	}
	return wants
}

// reserveAll reserves as much of wants as there is room for within all
// limits, and least of it. What does not fit is an *ExceededError.
func (h *Hold) reserveAll(ctx context.Context, now time.Time, wants, least []store.Amount) error {
	own := h.kept(now)
	for try := 1; ; try++ {
		limits := make([]store.Amount, len(wants))
		for i, a := range h.accounts {
			if wants[i] > own[i] {
				limits[i] = a.ledger.Limit
			}
		}
		balances, err := h.reserve(ctx, now, wants, limits)
		if err == nil {
			return nil
		}
		if !errors.Is(err, store.ErrExceeded) || try == 4 {
			return fmt.Errorf("reserving a budget: %w", err)
		}
		if e := h.exceeded(now, least, own, balances); e != nil {
			return e
		}
		// others may be quicker than this takes
		for i := range h.accounts {
			wants[i] = max(least[i], min(wants[i], h.accounts[i].room(balances[i], own[i])))
		}
	}
}

// exceeded says what does not fit: a budget rather than a window, and
// the one that has no room for longest.
func (h *Hold) exceeded(now time.Time, wants, own []store.Amount, balances []store.Balance) *ExceededError {
	var worst *ExceededError
	for i, a := range h.accounts {
		if wants[i] <= own[i] || wants[i] <= a.room(balances[i], own[i]) {
			continue
		}
		e := &ExceededError{Budget: a.name, Period: a.period, Window: a.isWindow(), RetryAfter: a.ends.Sub(now)}
		switch {
		case e.Window:
			e.RetryAfter = balances[i].Wait
		case wants[i] <= a.ledger.Limit-balances[i].Used:
			e.RetryAfter = 0 // as soon as others have ended
		}
		if worst == nil || worst.Window && !e.Window || worst.Window == e.Window && e.RetryAfter > worst.RetryAfter {
			worst = e
		}
	}
	return worst
}

// Reprice says that the call moves on to a target with this price, before
// that one is called. Where a budget has no room for what it is expected to
// cost there, the answer is an *ExceededError and nothing has changed: another
// target may be cheaper.
func (h *Hold) Reprice(ctx context.Context, p price.Price) error {
	if h == nil {
		return nil
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.ended {
		return nil
	}
	now, old := time.Now(), h.price
	if p == old && now.Before(h.renewAt) || !slices.ContainsFunc(h.accounts, func(a account) bool { return a.isMoney() }) {
		return nil // as for the first target, whose price was reserved for
	}
	h.covered.Store(nil)
	h.used.Output = h.output.Load()
	h.price = p
	wants, least := h.kept(now), h.kept(now)
	for i := range h.accounts {
		if a := &h.accounts[i]; a.isMoney() {
			wants[i] = max(a.first(p, h.expect), a.amount(p, h.used))
			least[i] = max(a.first(p, h.least), a.amount(p, h.used))
		}
	}
	if err := h.reserveAll(ctx, now, wants, least); err != nil {
		h.price = old
		return err
	}
	h.tight = false
	return nil
}
