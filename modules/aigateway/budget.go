package aigateway

import (
	"context"
	"errors"
	"fmt"
	"time"

	"go.uber.org/zap"

	"github.com/caddy-chat/caddy-chat/modules/apierror"
	"github.com/caddy-chat/caddy-chat/modules/budget"
	"github.com/caddy-chat/caddy-chat/modules/price"
	"github.com/caddy-chat/caddy-chat/modules/provider"
	"github.com/caddy-chat/caddy-chat/modules/record"
	"github.com/caddy-chat/caddy-chat/modules/route"
)

// settleTimeout bounds the last write of a call, which happens even if the
// client is gone.
const settleTimeout = 10 * time.Second

// assumed is the price that budgets in US dollars count if no price is known:
// that of the most expensive models in use. A price of 0 would be a way around
// the budget.
var assumed = price.Price{Input: 15, Output: 75}

// priceOf returns the configured price of the model, else the list price of the
// target. known is false if there is neither.
func (h *Handler) priceOf(c *route.Choice, t route.Target) (p price.Price, known bool) {
	if c.Price != nil {
		return *c.Price, true
	}
	return price.Of(h.types[t.Provider], t.Model)
}

// countedPrice returns the price that budgets count for a target in a service tier.
func (c *call) countedPrice(t route.Target, tier string) price.Price {
	p, known := c.h.priceOf(&c.choice, t)
	if !known {
		p = assumed
	}
	return p.AtMost(c.h.types[t.Provider], tier)
}

// meter counts a call against the budgets.
type meter struct {
	hold    *budget.Hold   // the reservation; nil without budgets
	tier    string         // the service tier that the client asks for
	used    provider.Usage // up to the last chunk that was counted
	ended   bool           // the answer ends at used, before the provider was done
	release func()         // releases the lease of the store; nil without one
}

func (m *meter) close() {
	if m.release != nil {
		m.release()
	}
}

// reserve reserves what the call may use of the tenant's budgets and token
// windows. It returns an error if there is no room.
func (c *call) reserve() error {
	rec := c.x.Rec
	t := rec.Tenant
	if (t == nil || len(t.Budgets) == 0) && len(rec.TokenWindows) == 0 {
		return nil
	}
	ledger, release, err := c.h.app.Lease()
	if err != nil {
		return apierror.StorageUnavailable(err)
	}
	c.meter.release = release
	c.meter.tier = c.req.tier()
	ad := budget.Admission{
		ID:        record.NewID(),
		Tenant:    t,
		Model:     c.choice.Label,
		Windows:   rec.TokenWindows,
		Input:     c.req.inputTokens,
		OutputCap: c.req.outputCap,
		Choices:   c.req.choices,
		NoOutput:  c.req.hasNoOutput(),
	}
	// a target that costs more than what is left is skipped
	for _, hop := range c.order {
		ad.Price = c.countedPrice(hop.Target, c.meter.tier)
		c.meter.hold, err = c.h.app.Budgets().Open(c.ctx, ledger, ad)
		if _, exceeded := errors.AsType[*budget.ExceededError](err); !exceeded {
			break
		}
	}
	if err != nil {
		return c.refused(err)
	}
	c.meter.hold.Keep(c.ctx)
	return nil
}

// refused turns an error of the budgets into the one to answer: a limit without
// room, or a ledger that failed.
func (c *call) refused(err error) error {
	e, ok := errors.AsType[*budget.ExceededError](err)
	switch {
	case c.ctx.Err() != nil:
		return apierror.Cancelled(c.ctx)
	case !ok:
		c.h.app.StoreFailed("reserve")
		return apierror.StorageUnavailable(err)
	case e.Window:
		return apierror.RateLimited(e.RetryAfter).Because(err)
	}
	return apierror.BudgetExceeded(e.RetryAfter).Because(err)
}

// count counts the usage up to and including a chunk, before the client gets
// it. Chunks without content are not counted: their usage covers output that
// the client already has.
func (c *call) count(a *attempt, chunk *provider.Chunk) error {
	if !chunk.Content || c.meter.hold == nil {
		return nil
	}
	used := a.used()
	err := c.meter.hold.Used(c.ctx, used)
	if err == nil {
		c.meter.used = used
		return nil
	}
	if errors.Is(err, budget.ErrExhausted) {
		return &budgetError{err}
	}
	if c.ctx.Err() != nil {
		return err // the client is gone, and the store is well
	}
	c.meter.ended = true
	c.h.app.StoreFailed("reserve")
	return apierror.StorageUnavailable(fmt.Errorf("%w: %w", errUncounted, err))
}

// errUncounted ends an answer whose usage can no longer be counted. It does not
// count against the provider.
var errUncounted = errors.New("the usage cannot be counted")

// budgetError ends an answer because a budget is used up.
type budgetError struct{ err error }

func (e *budgetError) Error() string { return e.err.Error() }

func (e *budgetError) Unwrap() error { return e.err }

// exhausted records and logs that a budget ends the answer.
func (c *call) exhausted(err error) {
	period := ""
	if e, ok := errors.AsType[*budget.ExceededError](err); ok {
		period = e.Period
	}
	c.meter.ended = true
	c.info.BudgetSpent = true
	c.x.Rec.SetCall(c.info)
	c.h.app.BudgetExhausted(c.x.Rec.TenantID(), period)
	c.h.log.Warn("an answer is ended: the tenant's budget is used up",
		zap.String("tenant", c.x.Rec.TenantID()), zap.String("model", c.choice.Name),
		zap.String("trace_id", c.x.Rec.TraceID), zap.Error(err))
}

// account settles the reservation with what the call used, or releases it: a
// failed call costs nothing.
func (c *call) account() {
	if c.meter.hold == nil {
		return
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(c.x.R.Context()), settleTimeout)
	defer cancel()
	if c.answering == nil {
		if err := c.meter.hold.Release(ctx); err != nil {
			c.ledgerFailed("release", err)
		}
		return
	}
	u := c.info.Usage
	tier := u.Tier
	if u.Estimated && tier == "" {
		tier = c.meter.tier // the provider has not said
	}
	receipt, err := c.meter.hold.Settle(ctx, u, c.countedPrice(c.answering.hop.Target, tier).Cost(u))
	if err != nil {
		c.ledgerFailed("settle", err)
		return
	}
	c.h.app.Settled(c.x.Rec.TenantID(), c.x.Rec.TraceID, receipt)
}

func (c *call) ledgerFailed(op string, err error) {
	c.h.app.StoreFailed(op)
	c.h.log.Error("settling what a call used", zap.String("tenant", c.x.Rec.TenantID()),
		zap.String("trace_id", c.x.Rec.TraceID), zap.Error(err))
}

// cost records what the answer costs. Without a known price that is 0, and a
// metric counts the case.
func (c *call) cost(u provider.Usage) {
	t := c.answering.hop.Target
	p, known := c.h.priceOf(&c.choice, t)
	if known {
		c.info.CostUSD = p.Cost(u)
		c.warnOfTier(u.Tier)
		return
	}
	c.h.app.Unpriced(c.x.Rec.TenantID(), c.choice.Label, t.Provider)
	if c.choice.Label == route.Passthrough {
		c.h.warnUnpriced.Do(func() { c.h.logUnpriced(c.choice.Label, t) })
	}
}

// warnOfTier logs that answers come in a service tier, whose price is not known.
func (c *call) warnOfTier(tier string) {
	name := c.answering.hop.Target.Provider
	if tier == "" || !c.h.app.FirstTime("tier "+tier+" of "+name) {
		return
	}
	c.h.log.Warn("an answer came in a service tier with prices of its own, which are not known: its cost is reported at the usual price; budgets in US dollars count twice that for priority and fast",
		zap.String("service_tier", tier), zap.String("provider", name), zap.String("model", c.choice.Label), zap.String("trace_id", c.x.Rec.TraceID))
}

// warnOfPrices logs the targets without a known price.
func (h *Handler) warnOfPrices() {
	for _, m := range h.Models {
		for _, to := range m.To {
			t, err := route.ParseWeighted(to)
			if err != nil || m.Price != nil {
				continue
			}
			if _, known := price.Of(h.types[t.Provider], t.Model); !known {
				h.logUnpriced(m.Name, t.Target)
			}
		}
	}
}

func (h *Handler) logUnpriced(model string, t route.Target) {
	h.log.Warn("no price is known for a model: set 'price' in its model block; until then its cost is reported as 0, and counts as that of the most expensive models against budgets in US dollars",
		zap.String("model", model), zap.String("provider", t.Provider), zap.String("upstream_model", t.Model))
}
