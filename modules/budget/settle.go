package budget

import (
	"context"
	"fmt"
	"time"

	"github.com/caddy-chat/caddy-chat/modules/provider"
	"github.com/caddy-chat/caddy-chat/modules/store"
	"github.com/caddy-chat/caddy-chat/modules/tenant"
)

// Receipt is what a settled call has to tell of its tenant's budgets.
type Receipt struct {
	Warnings []Warning
	Ratios   []Ratio
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
	Used   float64   // more than 1 where calls used more than they said
	Ends   time.Time // of the period, when the next one begins with 0
}

// Settle ends the hold with what the call really used, costUSD in US dollars.
// It counts once: a second call does nothing, but for one after an error,
// which tries again.
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

	budgets := make([]store.Budget, len(h.accounts))
	for i, a := range h.accounts {
		budgets[i] = a.ledger
		budgets[i].Want = h.spent(a, u, costUSD)
	}
	balances, err := h.ledger.Settle(ctx, h.tenant, h.id, budgets)
	if err != nil {
		return Receipt{}, fmt.Errorf("settling a budget: %w", err)
	}
	h.end()
	if u.Total() > 0 && h.refused == nil && (h.outputCap <= 0 || u.Output < h.outputCap) {
		// an answer that was cut tells nothing of those that are not
		h.book.learn(subject{h.tenant, h.model}, u.Output)
	}
	return h.receipt(budgets, balances), nil
}

// spent is what counts in an account. The figure that ended an answer does as
// far as it was held: that it came is not the tenant's doing.
func (h *Hold) spent(a account, u provider.Usage, costUSD float64) store.Amount {
	n := store.Amount(u.Total())
	if a.unit == tenant.UnitUSD {
		n = micros(costUSD)
	}
	if h.refused != nil && *h.refused == u && !a.isWindow() {
		n = min(n, a.held)
	}
	return n
}

func (h *Hold) receipt(budgets []store.Budget, balances []store.Balance) Receipt {
	var r Receipt
	for i, a := range h.accounts {
		if a.isWindow() {
			continue
		}
		limit := float64(a.ledger.Limit)
		after := float64(balances[i].Used) / limit
		before := float64(balances[i].Used-budgets[i].Want) / limit
		for _, f := range h.book.warnAt {
			if before < f && after >= f {
				r.Warnings = append(r.Warnings, Warning{
					Tenant: h.tenant, Budget: a.name, Period: a.period, Unit: a.unit,
					Fraction: f, Used: balances[i].Used, Limit: a.ledger.Limit,
				})
			}
		}
		r.note(Ratio{a.period, after, a.ends})
	}
	return r
}

// note keeps the tightest of a period's budgets.
func (r *Receipt) note(ratio Ratio) {
	for i, o := range r.Ratios {
		if o.Period == ratio.Period {
			r.Ratios[i].Used = max(o.Used, ratio.Used)
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
	close(h.done)
}
