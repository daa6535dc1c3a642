package budget

import (
	"context"
	"fmt"
	"time"

	"github.com/caddy-chat/caddy-chat/modules/provider"
	"github.com/caddy-chat/caddy-chat/modules/store"
)

// Receipt is what a settled call did to its tenant's budgets.
type Receipt struct {
	Warnings   []Warning
	Ratios     []Ratio
	Overdrafts []Overdraft
}

// Overdraft is a budget of which more is used than there is: providers have counted
// more than they had streamed. That counts, so that the calls after it pay for it, but
// no call that runs beside it loses what it holds.
type Overdraft struct {
	Budget string // such as tokens/day
	Unit   string // tokens or usd
	Used   store.Amount
	Limit  store.Amount
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
	Used   float64   // at most 1: what is overdrawn is used up
	Ends   time.Time // of the period, when the next one begins with 0

	// Limits are those of the period's budgets added up, which shows that one
	// of them was changed: otherwise Used can only grow.
	Limits store.Amount
}

// Settle ends the hold with what the call really used, costUSD in US dollars.
// It counts once: a second call does nothing, except after an error, when it
// tries again.
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
	budgets := make([]store.Budget, len(h.accounts))
	for i, a := range h.accounts {
		budgets[i] = a.ledger
		budgets[i].Want = spent[i]
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
	return h.receipt(spent, balances), nil
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

func (h *Hold) receipt(spent []store.Amount, balances []store.Balance) Receipt {
	var r Receipt
	if len(balances) == 0 {
		return r // it counts when the ledger can be reached again
	}
	for i, a := range h.accounts {
		if a.isWindow() {
			continue
		}
		used, limit := balances[i].Used, a.ledger.Limit
		if used > limit {
			r.Overdrafts = append(r.Overdrafts, Overdraft{a.name, a.unit, used, limit})
		}
		after := float64(used) / float64(limit)
		before := float64(used-spent[i]) / float64(limit)
		for _, f := range h.book.warnAt {
			if before < f && after >= f {
				r.Warnings = append(r.Warnings, Warning{
					Tenant: h.tenant, Budget: a.name, Period: a.period, Unit: a.unit,
					Fraction: f, Used: used, Limit: limit,
				})
			}
		}
		r.note(Ratio{a.period, min(after, 1), a.ends, limit})
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
