package chatratelimit

import (
	"context"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"go.uber.org/zap"

	"github.com/caddy-chat/caddy-chat/modules/limit"
	"github.com/caddy-chat/caddy-chat/modules/record"
	"github.com/caddy-chat/caddy-chat/modules/store"
	"github.com/caddy-chat/caddy-chat/modules/store/badger"
	"github.com/caddy-chat/caddy-chat/modules/tenant"
)

func openStore(t *testing.T) store.Store {
	t.Helper()
	b := badger.Badger{Path: t.TempDir()}
	if err := b.Provision(caddy.Context{}); err != nil {
		t.Fatal(err)
	}
	s, err := b.Open(zap.NewNop())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

func parsed(t *testing.T, list ...string) (rules []limit.Rule) {
	t.Helper()
	for _, s := range list {
		rules = append(rules, rule(t, s, true)...)
	}
	return rules
}

// arrive has a user's request measured.
func arrive(t *testing.T, s store.Store, user string, l tenant.Limits) (g *gauges, granted bool, h http.Header) {
	t.Helper()
	r := httptest.NewRequest(http.MethodPost, "/v1/chat/completions", nil)
	r = r.WithContext(context.WithValue(r.Context(), caddyhttp.VarsCtxKey, make(map[string]any)))
	rec := record.Begin(r)
	rec.User = user
	g = gaugesFor(r, rec, newPlan(l), "", true)
	granted, err := g.ask(t.Context(), s, "acme")
	if err != nil {
		t.Fatal(err)
	}
	w := httptest.NewRecorder()
	g.setHeaders(w, r, rec)
	return g, granted, w.Header()
}

// spend counts tokens in the windows of a request, as the gateway does.
func spend(t *testing.T, s store.Store, id string, g *gauges, n store.Amount) {
	t.Helper()
	var budgets []store.Budget
	for _, w := range g.tokens {
		b := w.Budget()
		b.Want = n
		budgets = append(budgets, b)
	}
	if _, err := s.Settle(t.Context(), "acme", id, budgets); err != nil {
		t.Fatal(err)
	}
}

func TestTokenWindows(t *testing.T) {
	s := openStore(t)
	limits := tenant.Limits{Requests: parsed(t, "10 1h"), Tokens: parsed(t, "1000 1h", "1500 1h per tenant")}

	first, granted, h := arrive(t, s, "ann", limits)
	if !granted {
		t.Fatal("the first request is refused")
	}
	for name, want := range map[string]string{
		"RateLimit-Policy":               `"requests";q=10;w=3600, "tokens";q=1000;w=3600, "tokens-tenant";q=1500;w=3600`,
		"X-RateLimit-Limit":              "10", // a request is used up, and no token yet
		"X-RateLimit-Remaining":          "9",
		"X-Ratelimit-Limit-Requests":     "10",
		"X-Ratelimit-Remaining-Requests": "9",
		"X-Ratelimit-Limit-Tokens":       "1000",
		"X-Ratelimit-Remaining-Tokens":   "1000",
		"X-Ratelimit-Reset-Tokens":       "0s",
	} {
		if got := h.Get(name); got != want {
			t.Errorf("%s is %q, want %q", name, got, want)
		}
	}

	spend(t, s, "1", first, 999)
	second, granted, h := arrive(t, s, "ann", limits)
	if !granted || h.Get("X-RateLimit-Limit") != "1000" || h.Get("X-RateLimit-Remaining") != "1" || h.Get("X-Ratelimit-Remaining-Requests") != "8" {
		t.Errorf("with one token left: %t, %v", granted, h)
	}

	spend(t, s, "2", second, 1)
	for range 3 { // a refused request uses up nothing
		g, granted, h := arrive(t, s, "ann", limits)
		if granted || h.Get("X-RateLimit-Remaining") != "0" || h.Get("X-Ratelimit-Remaining-Requests") != "8" {
			t.Errorf("without tokens: %t, %v", granted, h)
		}
		if wait := g.wait(); wait <= 59*time.Minute || wait > time.Hour {
			t.Errorf("it shall wait %v", wait)
		}
	}

	// another user has tokens of their own, and the tenant's with the others
	bob, granted, h := arrive(t, s, "bob", limits)
	if !granted || h.Get("X-Ratelimit-Remaining-Tokens") != "500" {
		t.Errorf("another user: %t, %v", granted, h)
	}
	spend(t, s, "3", bob, 600)
	if _, granted, _ := arrive(t, s, "bob", limits); granted {
		t.Error("let through beyond the tenant's tokens")
	}
}

func TestTokenWindowsAlone(t *testing.T) {
	s := openStore(t)
	limits := tenant.Limits{Tokens: parsed(t, "100 1h")}
	g, granted, h := arrive(t, s, "ann", limits)
	if !granted || h.Get("X-RateLimit-Limit") != "100" || h.Get("X-Ratelimit-Limit-Requests") != "" {
		t.Errorf("%t, %v", granted, h)
	}
	spend(t, s, "1", g, 100)
	if _, granted, _ := arrive(t, s, "ann", limits); granted {
		t.Error("let through without tokens")
	}
}

// What is held by calls that run is not there for others.
func TestTokenWindowsCountHolds(t *testing.T) {
	s := openStore(t)
	limits := tenant.Limits{Tokens: parsed(t, "100 1h"), Concurrent: rule(t, "5", false)}
	g, _, _ := arrive(t, s, "ann", limits)
	b := g.tokens[0].Budget()
	b.Want = 100
	if _, err := s.Reserve(t.Context(), "acme", "1", time.Minute, []store.Budget{b}); err != nil {
		t.Fatal(err)
	}
	if _, granted, h := arrive(t, s, "ann", limits); granted || h.Get("X-Ratelimit-Remaining-Tokens") != "0" {
		t.Errorf("%t, %v", granted, h)
	}
	if err := s.ReleaseHold(t.Context(), "acme", "1"); err != nil {
		t.Fatal(err)
	}
	if _, granted, _ := arrive(t, s, "ann", limits); !granted {
		t.Error("refused when nothing is held any more")
	}
}
