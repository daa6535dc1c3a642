// Package budget keeps tenants within what they may use: a call's share is
// reserved before it, grows while its answer streams, and is settled with what
// was really used. It knows nothing of HTTP or of Caddy.
package budget

import (
	"math"
	"slices"
	"time"

	"github.com/caddy-chat/caddy-chat/modules/price"
	"github.com/caddy-chat/caddy-chat/modules/provider"
	"github.com/caddy-chat/caddy-chat/modules/store"
	"github.com/caddy-chat/caddy-chat/modules/tenant"
)

// keptAfter is for how long a counter is kept beyond its period: calls that
// began in it are settled there, and somebody may want to look.
const keptAfter = 48 * time.Hour

// Window is a sliding window for tokens that a call is counted in.
type Window struct {
	Name   string // for messages, such as tokens-tenant
	Key    string // names the counter inside the tenant, the same for all calls that it counts
	Limit  int64  // tokens in any interval of this length
	Length time.Duration
}

// Budget is how the window is asked for in a ledger, with nothing wanted.
func (w Window) Budget() store.Budget {
	return store.Budget{Key: w.Key, Limit: store.Amount(w.Limit), Window: w.Length}
}

// account is one counter that a call is counted in: a budget in one period,
// or a window.
type account struct {
	name   string // such as tokens/day, or the window's
	unit   string
	period string       // empty for a window
	ends   time.Time    // of the period
	held   store.Amount // by the call
	left   store.Amount // beside what is used and held, when the ledger was last asked
	ledger store.Budget // without what is wanted
}

func (a *account) isWindow() bool { return a.ledger.Window > 0 }

func (a *account) isMoney() bool { return a.unit == tenant.UnitUSD }

// accountsOf are the counters of a call that begins now. Where two of them
// are the same, the smaller limit counts.
func accountsOf(ad Admission, now time.Time) []account {
	var budgets []tenant.Budget
	if ad.Tenant != nil {
		budgets = ad.Tenant.Budgets
	}
	if len(budgets)+len(ad.Windows) == 0 {
		return nil
	}
	list := make([]account, 0, len(budgets)+len(ad.Windows))
	add := func(a account) {
		i := slices.IndexFunc(list, func(o account) bool { return o.ledger.Key == a.ledger.Key })
		switch {
		case i < 0:
			list = append(list, a)
		case a.ledger.Limit < list[i].ledger.Limit:
			list[i] = a
		}
	}
	for _, b := range budgets {
		add(budgetAccount(b, now.UTC()))
	}
	for _, w := range ad.Windows {
		add(account{name: w.Name, unit: tenant.UnitTokens, ledger: w.Budget()})
	}
	return list
}

func budgetAccount(b tenant.Budget, now time.Time) account {
	day, ends := "2006-01", time.Date(now.Year(), now.Month()+1, 1, 0, 0, 0, 0, time.UTC)
	if b.Period == tenant.PeriodDay {
		day, ends = time.DateOnly, time.Date(now.Year(), now.Month(), now.Day()+1, 0, 0, 0, 0, time.UTC)
	}
	key := make([]byte, 0, 32)
	key = append(append(append(key, b.Unit...), '/'), b.Period...)
	nameEnd := len(key)
	key = now.AppendFormat(append(key, '/'), day)
	text := string(key) // the name is a part of it
	return account{
		name: text[:nameEnd], unit: b.Unit, period: b.Period, ends: ends,
		ledger: store.Budget{
			Key:   text,
			Limit: store.Amount(b.Amount),
			Until: ends.Add(keptAfter),
		},
	}
}

// amount is what a usage is in the account's unit.
func (a *account) amount(p price.Price, u provider.Usage) store.Amount {
	if a.isMoney() {
		return micros(p.Cost(u))
	}
	return store.Amount(u.Total())
}

// micros are millionths of a US dollar, rounded up: a tenant must not get
// many small calls for nothing.
func micros(usd float64) store.Amount {
	const most = 1e15 // far from overflow
	if !(usd > 0) {
		return 0
	}
	// a hair less, so that what is whole but for a float's error stays so
	return store.Amount(math.Ceil(min(usd*1e6, most) - 1e-6))
}

// first is what an account is asked for before a call: all that is expected,
// but no more than the account has, so that the first request of a period is
// not refused for want of a cap. The input of a call is used in any case: one
// that is larger than a budget does not fit. A window lets it through once
// it is empty.
func (a *account) first(p price.Price, expect provider.Usage) store.Amount {
	want := min(a.amount(p, expect), a.ledger.Limit)
	if a.isWindow() {
		return want
	}
	return max(want, a.amount(p, provider.Usage{Input: expect.Input}))
}

// room is how much the account could hold for the call, given what the
// ledger says.
func (a *account) room(b store.Balance, own store.Amount) store.Amount {
	return a.ledger.Limit - b.Used - b.Held + own
}
