package badger

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/caddy-chat/caddy-chat/modules/budget"
	"github.com/caddy-chat/caddy-chat/modules/price"
	"github.com/caddy-chat/caddy-chat/modules/provider"
	"github.com/caddy-chat/caddy-chat/modules/store"
	tenants "github.com/caddy-chat/caddy-chat/modules/tenant"
)

// TestStreamsAgainstABudget runs 200 streams at once against budgets that fit
// 20 of them.
func TestStreamsAgainstABudget(t *testing.T) {
	const streams, fit, in, out = 200, 20, 10, 90
	ctx := context.Background()
	d := openAt(t, Badger{Path: t.TempDir()}, time.Now)
	book := budget.NewBook(budget.DefaultWarnAt)
	p := price.Price{Input: 1, Output: 2}
	acme := &tenants.Tenant{ID: "acme", Budgets: []tenants.Budget{
		{Amount: fit * (in + out), Unit: tenants.UnitTokens, Period: tenants.PeriodMonth},
		{Amount: fit * (in + 2*out), Unit: tenants.UnitUSD, Period: tenants.PeriodMonth},
	}}

	var whole, cut, refused, warnings atomic.Int64
	var wg, opened sync.WaitGroup
	opened.Add(streams)
	for i := range streams {
		wg.Go(func() {
			h, err := book.Open(ctx, d, budget.Admission{ID: fmt.Sprint(i), Tenant: acme, Model: "fast", Price: p, Input: in, OutputCap: 5})
			opened.Done()
			opened.Wait()
			if errors.As(err, new(*budget.ExceededError)) {
				refused.Add(1)
				return
			}
			if err != nil {
				t.Error(err)
				return
			}
			u := provider.Usage{Input: in}
			for u.Output < out && err == nil {
				u.Output++
				err = h.Used(ctx, u)
			}
			switch {
			case err == nil:
				whole.Add(1)
			case errors.Is(err, budget.ErrExhausted):
				cut.Add(1)
				u.Output-- // which the client does not get
			default:
				t.Error(err)
			}
			r, err := h.Settle(ctx, u, p.Cost(u))
			if err != nil {
				t.Error(err)
			}
			warnings.Add(int64(len(r.Warnings)))
		})
	}
	wg.Wait()

	now := time.Now().UTC()
	for key, limit := range map[string]store.Amount{
		"tokens/month/" + now.Format("2006-01"): fit * (in + out),
		"usd/month/" + now.Format("2006-01"):    fit * (in + 2*out),
	} {
		balances, err := d.Balances(ctx, "acme", []store.Budget{{Key: key}})
		must(t, err)
		if b := balances[0]; b.Used > limit || b.Used < limit/2 || b.Held != 0 {
			t.Errorf("%s: %+v, want at most %d used and nothing held", key, b, limit)
		}
	}
	if whole.Load() > fit || cut.Load() == 0 || whole.Load()+cut.Load()+refused.Load() != streams {
		t.Errorf("%d whole, %d cut, %d refused", whole.Load(), cut.Load(), refused.Load())
	}
	t.Logf("%d whole, %d cut, %d refused, %d warnings", whole.Load(), cut.Load(), refused.Load(), warnings.Load())
}
