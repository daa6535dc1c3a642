package chat

import (
	"errors"
	"fmt"
	"strconv"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap"

	"github.com/caddy-chat/caddy-chat/modules/budget"
	"github.com/caddy-chat/caddy-chat/modules/store"
	"github.com/caddy-chat/caddy-chat/modules/tenant"
)

var errFraction = errors.New("want a fraction greater than 0 and 1 at most, such as 0.8")

func checkFraction(f float64) error {
	if f > 0 && f <= 1 {
		return nil
	}
	return errFraction
}

func (a *App) provisionBudgets() error {
	warnAt := a.BudgetWarnings
	if warnAt == nil {
		warnAt = budget.DefaultWarnAt
	}
	for _, f := range warnAt {
		if err := checkFraction(f); err != nil {
			return fmt.Errorf("budget_warnings: %v: %w", f, err)
		}
	}
	a.budgets = budget.NewBook(warnAt)
	return nil
}

// Budgets opens the reservations of model calls.
func (a *App) Budgets() *budget.Book { return a.budgets }

// Settled reports what a settled call did to its tenant's budgets.
func (a *App) Settled(tenantID, traceID string, r budget.Receipt) {
	for _, o := range r.Overdrafts {
		a.log.Warn("a budget is overdrawn: providers have counted more than they had streamed, or it was made smaller",
			zap.String("tenant", tenantID), zap.String("trace_id", traceID), zap.String("budget", o.Budget),
			zap.Float64("used", inUnit(o.Unit, o.Used)), zap.Float64("limit", inUnit(o.Unit, o.Limit)))
	}
	for _, ratio := range r.Ratios {
		a.metrics.budgetUsed.set(tenantID, ratio)
	}
	for _, w := range r.Warnings {
		a.warnBudget(w)
	}
}

// warnBudget gives a warning as an event of Caddy, chat.budget_warning, as a
// line in the log and in the metrics.
func (a *App) warnBudget(w budget.Warning) {
	fraction := strconv.FormatFloat(w.Fraction, 'g', -1, 64)
	a.metrics.budgetWarnings.WithLabelValues(w.Tenant, w.Period, fraction).Inc()
	a.log.Warn("a budget nears its end or has reached it",
		zap.String("tenant", w.Tenant), zap.String("budget", w.Budget), zap.Float64("fraction", w.Fraction),
		zap.Float64("used", inUnit(w.Unit, w.Used)), zap.Float64("limit", inUnit(w.Unit, w.Limit)))
	a.events.Emit(a.ctx, "chat.budget_warning", map[string]any{
		"tenant": w.Tenant, "budget": w.Budget, "period": w.Period, "fraction": w.Fraction,
		"used": inUnit(w.Unit, w.Used), "limit": inUnit(w.Unit, w.Limit),
	})
}

// inUnit is an amount in tokens or in US dollars.
func inUnit(unit string, n store.Amount) float64 {
	if unit == tenant.UnitUSD {
		return float64(n) / 1e6
	}
	return float64(n)
}

// BudgetExhausted counts an answer that was ended by an exhausted budget.
// period is day or month.
func (a *App) BudgetExhausted(tenantID, period string) {
	a.metrics.budgetExhausted.WithLabelValues(tenantID, period).Inc()
}

// budgetRatios is a gauge whose values go back to 0 when their period ends,
// without a call.
type budgetRatios struct {
	desc *prometheus.Desc

	mu     sync.Mutex
	values map[tenantPeriod]budget.Ratio
}

type tenantPeriod struct{ tenant, period string }

func newBudgetRatios(name, help string, labels ...string) *budgetRatios {
	return &budgetRatios{
		desc:   prometheus.NewDesc(name, help, labels, nil),
		values: make(map[tenantPeriod]budget.Ratio),
	}
}

// set notes a ratio, unless it is of a period that has ended, or older than
// the one that is known: calls that end at once come here in any order.
func (g *budgetRatios) set(tenantID string, r budget.Ratio) {
	g.mu.Lock()
	defer g.mu.Unlock()
	key := tenantPeriod{tenantID, r.Period}
	old := g.values[key]
	if r.Ends.Before(old.Ends) || r.Ends.Equal(old.Ends) && r.Limits == old.Limits && r.Used < old.Used {
		return
	}
	g.values[key] = r
}

// Describe implements prometheus.Collector.
func (g *budgetRatios) Describe(ch chan<- *prometheus.Desc) { ch <- g.desc }

// Collect implements prometheus.Collector.
func (g *budgetRatios) Collect(ch chan<- prometheus.Metric) {
	g.mu.Lock()
	defer g.mu.Unlock()
	for key, r := range g.values {
		used := r.Used
		if !time.Now().Before(r.Ends) {
			used = 0
		}
		ch <- prometheus.MustNewConstMetric(g.desc, prometheus.GaugeValue, used, key.tenant, key.period)
	}
}

// Interface guard
var _ prometheus.Collector = (*budgetRatios)(nil)
