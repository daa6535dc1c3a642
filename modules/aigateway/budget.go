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

// settleTimeout bounds the last write of a call, which happens whether or not
// the client is still there.
const settleTimeout = 10 * time.Second

// assumed is the price that counts against budgets in US dollars where no
// price is known: that of the most expensive models in use. An unknown price of
// 0 would be a way around the budget.
var assumed = price.Price{Input: 15, Output: 75}

// priceOf is what a target costs: what the operator says of the model, else
// what is known of the target. known is false where neither is.
func (h *Handler) priceOf(c *route.Choice, t route.Target) (p price.Price, known bool) {
	if c.Price != nil {
		return *c.Price, true
	}
	return price.Of(h.types[t.Provider], t.Model)
}

// countedPrice is the price by which budgets count.
func (c *call) countedPrice(t route.Target) price.Price {
	if p, known := c.h.priceOf(&c.choice, t); known {
		return p
	}
	return assumed
}

// meter is the budgets' side of a call.
type meter struct {
	hold    *budget.Hold   // what is reserved; nil where nothing counts
	used    provider.Usage // as far as the budgets let the answer go
	ended   bool           // the answer ends at what was used, and not where its provider did
	release func()         // lets go of the store that keeps the hold; nil where it was not needed
}

func (m *meter) close() {
	if m.release != nil {
		m.release()
	}
}

// reserve holds what the call may use of its tenant's budgets and token
// windows, or refuses it.
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
	ad := budget.Admission{
		ID:        record.NewID(),
		Tenant:    t,
		Model:     c.choice.Label,
		Windows:   rec.TokenWindows,
		Input:     c.req.inputTokens,
		OutputCap: c.req.outputCap,
		NoOutput:  c.req.operation == operationEmbeddings,
	}
	// one that is too dear for what is left is passed over
	for _, hop := range c.order {
		ad.Price = c.countedPrice(hop.Target)
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

// refused is the failure of a call that a budget or a window has no room for,
// or whose ledger cannot be asked.
func (c *call) refused(err error) error {
	e, ok := errors.AsType[*budget.ExceededError](err)
	switch {
	case c.ctx.Err() != nil:
		return context.Canceled
	case !ok:
		c.h.app.StoreFailed("reserve")
		return apierror.StorageUnavailable(err)
	case e.Window:
		return apierror.RateLimited(e.RetryAfter).Because(err)
	}
	return apierror.BudgetExceeded(e.RetryAfter).Because(err)
}

// count counts what has been produced so far, before the client gets the
// chunk that brought it there. A chunk without content adds nothing, and what
// the provider counts in it has been used already.
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

// errUncounted ends an answer whose size cannot be counted any more. The
// provider is not to blame.
var errUncounted = errors.New("what is used cannot be counted")

// budgetError ends an answer whose tenant has used up a budget.
type budgetError struct{ err error }

func (e *budgetError) Error() string { return e.err.Error() }

func (e *budgetError) Unwrap() error { return e.err }

// exhausted notes that an answer ends because a budget is used up.
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

// account settles what the call used, or lets go of what was held for it: a
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
	receipt, err := c.meter.hold.Settle(ctx, u, c.countedPrice(c.answering.hop.Target).Cost(u))
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

// cost notes what the answer costs. Where no price is known the cost is
// reported as 0, and a metric says so.
func (c *call) cost(u provider.Usage) {
	t := c.answering.hop.Target
	p, known := c.h.priceOf(&c.choice, t)
	if known {
		c.info.CostUSD = p.Cost(u)
		return
	}
	c.h.app.Unpriced(c.x.Rec.TenantID(), c.choice.Label, t.Provider)
	if c.choice.Label == route.Passthrough {
		c.h.warnUnpriced.Do(func() { c.h.logUnpriced(c.choice.Label, t) })
	}
}

// warnOfPrices names the targets without a known price.
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
