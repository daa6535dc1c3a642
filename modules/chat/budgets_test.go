package chat

import (
	"context"
	"encoding/json"
	"maps"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyevents"
	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"go.uber.org/zap/zaptest/observer"

	"github.com/caddy-chat/caddy-chat/modules/budget"
	_ "github.com/caddy-chat/caddy-chat/modules/store/badger"
)

// hearer notes the events it hears.
type hearer struct{ events []caddy.Event }

func (h *hearer) Handle(_ context.Context, e caddy.Event) error {
	h.events = append(h.events, e)
	return nil
}

// provisioned is an app that is set up and not started, with what it says.
func provisioned(t *testing.T, config string) (*App, *hearer, *observer.ObservedLogs, error) {
	t.Helper()
	ctx, err := caddy.ProvisionContext(&caddy.Config{AppsRaw: caddy.ModuleMap{"chat": json.RawMessage(config)}})
	if err != nil {
		return nil, nil, nil, err
	}
	a, err := FromContext(ctx)
	if err != nil {
		t.Fatal(err)
	}
	events, err := ctx.App("events")
	if err != nil {
		t.Fatal(err)
	}
	h := new(hearer)
	if err := events.(*caddyevents.App).On("chat.budget_warning", h); err != nil {
		t.Fatal(err)
	}
	core, logs := observer.New(zapcore.DebugLevel)
	a.log = zap.New(core)
	return a, h, logs, nil
}

// value is that of a series, -1 where there is none.
func value(t *testing.T, a *App, name string, labels map[string]string) float64 {
	t.Helper()
	families, err := a.ctx.GetMetricsRegistry().Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range families {
		if f.GetName() != name {
			continue
		}
		for _, m := range f.GetMetric() {
			got := make(map[string]string)
			for _, l := range m.GetLabel() {
				got[l.GetName()] = l.GetValue()
			}
			if maps.Equal(got, labels) {
				return m.GetGauge().GetValue() + m.GetCounter().GetValue()
			}
		}
	}
	return -1
}

func TestSettled(t *testing.T) {
	a, heard, logs, err := provisioned(t, `{}`)
	if err != nil {
		t.Fatal(err)
	}
	ends := time.Now().Add(time.Hour)
	a.Settled("warned", "trace-1", budget.Receipt{
		Ratios: []budget.Ratio{{Period: "day", Used: 0.85, Ends: ends}, {Period: "month", Used: 0.1, Ends: ends}},
		Warnings: []budget.Warning{
			{Tenant: "warned", Budget: "tokens/day", Period: "day", Unit: "tokens", Fraction: 0.8, Used: 850, Limit: 1000},
			{Tenant: "warned", Budget: "usd/month", Period: "month", Unit: "usd", Fraction: 1, Used: 25_000_001, Limit: 25_000_000},
		},
	})
	a.BudgetExhausted("warned", "day")

	for name, want := range map[string]float64{
		`caddy_ai_budget_used_ratio day `:        0.85,
		`caddy_ai_budget_used_ratio month `:      0.1,
		`caddy_ai_budget_warnings_total day 0.8`: 1,
		`caddy_ai_budget_warnings_total month 1`: 1,
		`caddy_ai_budget_exhausted_total day `:   1,
	} {
		words := strings.Split(name, " ")
		labels := map[string]string{"tenant": "warned", "period": words[1]}
		if words[2] != "" {
			labels["fraction"] = words[2]
		}
		if got := value(t, a, words[0], labels); got != want {
			t.Errorf("%s is %v, want %v", name, got, want)
		}
	}

	if len(heard.events) != 2 {
		t.Fatalf("%d events", len(heard.events))
	}
	want := map[string]any{"tenant": "warned", "budget": "usd/month", "period": "month", "fraction": 1.0, "used": 25.000001, "limit": 25.0}
	if got := heard.events[1]; got.Name() != "chat.budget_warning" || !maps.Equal(got.Data, want) {
		t.Errorf("the event is %s %v", got.Name(), got.Data)
	}
	lines := logs.All()
	if len(lines) != 2 || lines[0].Level != zapcore.WarnLevel {
		t.Fatalf("the log says %+v", lines)
	}
	fields := map[string]any{"tenant": "warned", "budget": "tokens/day", "fraction": 0.8, "used": 850.0, "limit": 1000.0}
	if got := lines[0].ContextMap(); !maps.Equal(got, fields) {
		t.Errorf("the log says %v", got)
	}
}

// A gauge must not say that a budget is used up when its period is over.
func TestBudgetRatiosEndWithTheirPeriod(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newBudgetRatios("caddy_ai_budget_used_ratio", "help", "tenant", "period")
		reg := prometheus.NewRegistry()
		reg.MustRegister(g)
		want := func(want float64) {
			t.Helper()
			families, err := reg.Gather()
			if err != nil || len(families) != 1 || len(families[0].GetMetric()) != 1 {
				t.Fatalf("%v, %v", families, err)
			}
			if got := families[0].GetMetric()[0].GetGauge().GetValue(); got != want {
				t.Errorf("the gauge says %v, want %v", got, want)
			}
		}
		day := time.Now().Add(time.Hour)
		g.set("acme", budget.Ratio{Period: "day", Used: 0.6, Ends: day, Limits: 100})
		g.set("acme", budget.Ratio{Period: "day", Used: 0.5, Ends: day, Limits: 100}) // has been overtaken
		want(0.6)
		g.set("acme", budget.Ratio{Period: "day", Used: 0.3, Ends: day, Limits: 200}) // of a larger budget
		want(0.3)
		g.set("acme", budget.Ratio{Period: "day", Used: 0.9, Ends: day, Limits: 200})
		want(0.9)
		time.Sleep(time.Hour)
		want(0)
		g.set("acme", budget.Ratio{Period: "day", Used: 0.1, Ends: day.Add(24 * time.Hour)})
		// a call that began yesterday
		g.set("acme", budget.Ratio{Period: "day", Used: 0.95, Ends: day})
		want(0.1)
	})
}

func TestBudgetWarnings(t *testing.T) {
	for config, want := range map[string]string{
		`{}`:                                 "",
		`{"budget_warnings":[0.5,0.8,1]}`:    "",
		`{"budget_warnings":[]}`:             "", // none are wanted
		`{"budget_warnings":[0.5,0]}`:        "budget_warnings: 0: want a fraction",
		`{"budget_warnings":[-0.5]}`:         "budget_warnings: -0.5: want a fraction",
		`{"budget_warnings":[80]}`:           "budget_warnings: 80: want a fraction",
		`{"budget_warnings":[1.0000000001]}`: "budget_warnings",
	} {
		a, _, _, err := provisioned(t, config)
		if (err == nil) != (want == "") || err != nil && !strings.Contains(err.Error(), want) {
			t.Errorf("%s: got %v, want %q", config, err, want)
		}
		if err == nil && a.Budgets() == nil {
			t.Errorf("%s: there is no book", config)
		}
	}
}
