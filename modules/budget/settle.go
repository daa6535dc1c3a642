package budget

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/caddy-chat/caddy-chat/modules/provider"
	"github.com/caddy-chat/caddy-chat/modules/store"
)

// Receipt is what a settled call did to its tenant's budgets.
type Receipt struct {
	Warnings []Warning
	Ratios   []Ratio
	Excesses []Excess
}

// Excess is what a call used beyond all that its budget had left. The budget
// counts as used up then, and no further: the calls that run beside it have
// been promised the rest.
type Excess struct {
	Budget  string // such as tokens/day
	Unit    string // tokens or usd
	Used    store.Amount
	Counted store.Amount // of it
}

// Warning is a budget that has been used to one of the fractions to warn at.
// The call that crosses the line gets it, and no other one in that period.
type Warning struct {
	Tenant   string
	Budget   string // such as tokens/day
	Period   string // day or month
	Unit     string // tokens or usd
	Fraction float64
	Used     store.Amount
	Limit    store.Amount
}

// Ratio is how much of a period's tightest budget is used, 1 for all.
type Ratio struct {
	Period string    // day or month
	Used   float64   // more than 1 where the budget was made smaller meanwhile
	Ends   time.Time // of the period, when the next one begins with 0

	// Limits are those of the period's budgets added up, which shows that one
	// of them was changed: otherwise Used can only grow.
	Limits store.Amount
}

// Settle ends the hold with what the call really used, costUSD in US dollars.
// A budget counts it as far as there is room, so that no number of calls
// passes one together; a token window counts all of it. It counts once: a
// second call does nothing, except after an error, when it tries again.
func (h *Hold) Settle(ctx context.Context, u provider.Usage, costUSD float64) (Receipt, error) {
	if h == nil {
		return Receipt{}, nil
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.ended {
		return Receipt{}, nil
	}
	h.settling = true

	spent := h.spent(u, costUSD)
	fits := h.fit(ctx, spent)
	budgets := make([]store.Budget, len(h.accounts))
	for i, a := range h.accounts {
		budgets[i] = a.ledger
		budgets[i].Want = fits[i]
	}
	balances, err := h.ledger.Settle(ctx, h.tenant, h.id, budgets)
	if err != nil {
		return Receipt{}, fmt.Errorf("settling a budget: %w", err)
	}
	h.end()
	if u.Total() > 0 && !h.noOutput && !h.refused && (h.outputCap <= 0 || u.Output < h.outputCap) {
		// the length of an answer that was cut says nothing about others
		h.book.learn(subject{h.tenant, h.model}, (u.Output+h.choices-1)/h.choices)
	}
	return h.receipt(spent, fits, balances), nil
}

// spent is what the call used, in the unit of each account.
func (h *Hold) spent(u provider.Usage, costUSD float64) []store.Amount {
	list := make([]store.Amount, len(h.accounts))
	for i, a := range h.accounts {
		list[i] = store.Amount(u.Total())
		if a.isMoney() {
			list[i] = micros(costUSD)
		}
	}
	return list
}

// fit is as much of spent as each account counts: where it is more than was
// held, what there is still room for. A ledger that cannot be asked for that
// counts all of it.
func (h *Hold) fit(ctx context.Context, spent []store.Amount) []store.Amount {
	now := time.Now()
	own := h.kept(now)
	wants, more := slices.Clone(own), false
	for i, a := range h.accounts {
		if !a.isWindow() && spent[i] > own[i] {
			wants[i], more = spent[i], true
		}
	}
	if !more || h.growTo(ctx, now, wants) != nil {
		return spent
	}
	fits := slices.Clone(spent)
	for i, a := range h.accounts {
		if !a.isWindow() {
			fits[i] = min(spent[i], a.held)
		}
	}
	return fits
}

func (h *Hold) receipt(spent, counted []store.Amount, balances []store.Balance) Receipt {
	var r Receipt
	for i, a := range h.accounts {
		if a.isWindow() {
			continue
		}
		if spent[i] > counted[i] {
			r.Excesses = append(r.Excesses, Excess{a.name, a.unit, spent[i], counted[i]})
		}
		if len(balances) == 0 {
			continue // it counts when the ledger can be reached again
		}
		limit := float64(a.ledger.Limit)
		after := float64(balances[i].Used) / limit
		before := float64(balances[i].Used-counted[i]) / limit
		for _, f := range h.book.warnAt {
			if before < f && after >= f {
				r.Warnings = append(r.Warnings, Warning{
					Tenant: h.tenant, Budget: a.name, Period: a.period, Unit: a.unit,
					Fraction: f, Used: balances[i].Used, Limit: a.ledger.Limit,
				})
			}
		}
		r.note(Ratio{a.period, after, a.ends, a.ledger.Limit})
	}
	return r
}

// note keeps the tightest of a period's budgets.
func (r *Receipt) note(ratio Ratio) {
	for i, o := range r.Ratios {
		if o.Period == ratio.Period {
			r.Ratios[i].Used = max(o.Used, ratio.Used)
			r.Ratios[i].Limits += ratio.Limits
			return
		}
	}
	r.Ratios = append(r.Ratios, ratio)
}

// Release ends the hold without counting anything. After Settle it does
// nothing, so that it can be deferred.
func (h *Hold) Release(ctx context.Context) error {
	if h == nil {
		return nil
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.ended || h.settling {
		return nil
	}
	if err := h.ledger.ReleaseHold(ctx, h.tenant, h.id); err != nil {
		return fmt.Errorf("releasing a budget: %w", err)
	}
	h.end()
	return nil
}

func (h *Hold) end() {
	h.ended = true
	h.covered.Store(nil)
	if h.renewal != nil {
		h.renewal.Stop()
	}
}
