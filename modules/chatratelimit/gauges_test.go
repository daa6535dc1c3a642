package chatratelimit

import (
	"slices"
	"strconv"
	"testing"
	"time"

	"github.com/caddy-chat/caddy-chat/modules/limit"
	"github.com/caddy-chat/caddy-chat/modules/store"
	"github.com/caddy-chat/caddy-chat/modules/tenant"
)

func rule(t *testing.T, s string, windowed bool) []limit.Rule {
	t.Helper()
	if s == "" {
		return nil
	}
	r, err := limit.ParseRule(s, windowed)
	if err != nil {
		t.Fatal(err)
	}
	return []limit.Rule{r}
}

// Kind by kind the tenant's windows win over the directive's, and the
// defaults only where neither names any.
func TestEffective(t *testing.T) {
	limits := func(requests, burst, tokens, concurrent string) tenant.Limits {
		return tenant.Limits{
			Requests: rule(t, requests, true), Burst: rule(t, burst, true),
			Tokens: rule(t, tokens, true), Concurrent: rule(t, concurrent, false),
		}
	}
	for _, tt := range []struct {
		name               string
		own, handler, want tenant.Limits
	}{
		{"neither", limits("", "", "", ""), limits("", "", "", ""), limits("60 1m", "20 10s", "", "")},
		{"slots are no window", limits("", "", "", "5"), limits("", "", "", ""), limits("60 1m", "20 10s", "", "5")},
		{"the directive's", limits("", "", "", ""), limits("5 1m", "", "", ""), limits("5 1m", "", "", "")},
		{"the tenant's", limits("", "7 1s", "", ""), limits("", "", "", ""), limits("", "7 1s", "", "")},
		{"the tenant's tokens alone", limits("", "", "100 1m", ""), limits("", "", "", ""), limits("", "", "100 1m", "")},
		{"the directive's tokens beside the tenant's requests", limits("9 1m", "", "", ""), limits("", "", "100 1m", ""), limits("9 1m", "", "100 1m", "")},
		{"tokens of both", limits("", "", "50 1m", ""), limits("", "", "100 1m", ""), limits("", "", "50 1m", "")},
		{"both, of one kind", limits("9 1m", "", "", "1"), limits("5 1m", "", "", "2"), limits("9 1m", "", "", "1")},
		{"both, of two kinds", limits("9 1m", "", "", ""), limits("", "3 1s", "", "2"), limits("9 1m", "3 1s", "", "2")},
	} {
		got := effective(tt.own, tt.handler)
		if !slices.Equal(got.Requests, tt.want.Requests) || !slices.Equal(got.Burst, tt.want.Burst) ||
			!slices.Equal(got.Tokens, tt.want.Tokens) || !slices.Equal(got.Concurrent, tt.want.Concurrent) {
			t.Errorf("%s: got %+v, want %+v", tt.name, got, tt.want)
		}
	}
}

func TestTightest(t *testing.T) {
	now := time.Now()
	windows := []window{{kind: "requests", take: 0, place: 0}, {kind: "burst", take: 0, place: 1}, {kind: "requests", take: 1, place: 0}}
	g := &gauges{plan: &plan{windows: windows}}
	for _, tt := range []struct {
		name    string
		results []store.Taken
		want    *window
		wait    time.Duration
	}{
		{"what has least left", []store.Taken{
			{Windows: []store.WindowState{{Remaining: 5, Reset: now}, {Remaining: 2, Reset: now}}},
			{Windows: []store.WindowState{{Remaining: 9, Reset: now}}},
		}, &windows[1], 0},
		{"of those with nothing the longest wait", []store.Taken{
			{Windows: []store.WindowState{{Wait: time.Second}, {Wait: time.Minute}}},
			{Windows: []store.WindowState{{Wait: time.Hour}}},
		}, &windows[2], time.Hour},
	} {
		g.results = tt.results
		if got := g.tightest(); got != tt.want || g.wait() != tt.wait {
			t.Errorf("%s: got %+v, wait %v", tt.name, got, g.wait())
		}
	}
	if got := (&gauges{plan: new(plan)}).tightest(); got != nil {
		t.Errorf("of none: %+v", got)
	}
}

// Tokens and requests are compared by the part that is left.
func TestTightestOfRequestsAndTokens(t *testing.T) {
	requests := window{kind: kindRequests, rule: limit.Rule{Limit: 10}}
	tokens := window{kind: kindTokens, rule: limit.Rule{Limit: 1000}}
	for _, tt := range []struct {
		name     string
		requests store.WindowState
		tokens   store.Balance
		want     string
	}{
		{"fewer requests", store.WindowState{Remaining: 4}, store.Balance{Used: 100, Held: 499}, requests.kind},
		{"fewer tokens", store.WindowState{Remaining: 4}, store.Balance{Used: 100, Held: 501}, tokens.kind},
		{"as many of both", store.WindowState{Remaining: 4}, store.Balance{Used: 600}, requests.kind},
		{"nothing of both, and tokens take longer", store.WindowState{Wait: time.Second}, store.Balance{Used: 1000, Wait: time.Minute}, tokens.kind},
		{"nothing of both, and requests take longer", store.WindowState{Wait: time.Hour}, store.Balance{Used: 2000, Wait: time.Minute}, requests.kind},
	} {
		g := &gauges{
			plan:    &plan{windows: []window{requests, tokens}},
			results: []store.Taken{{Windows: []store.WindowState{tt.requests}}},
			spent:   []store.Balance{tt.tokens},
		}
		if got := g.tightest(); got == nil || got.kind != tt.want {
			t.Errorf("%s: got %+v", tt.name, got)
		}
	}
	alone := &gauges{plan: &plan{windows: []window{tokens}}, spent: []store.Balance{{Used: 1}}}
	if got := alone.tightest(); got == nil || got.kind != kindTokens {
		t.Errorf("tokens alone: %+v", got)
	}
}

// Requests of a tenant share its plan until the tenant changes.
func TestPlans(t *testing.T) {
	handler := tenant.Limits{Requests: rule(t, "5 1m", true)}
	ps := &plans{own: newPlan(handler)}
	plain := &tenant.Tenant{ID: "plain"}
	acme := &tenant.Tenant{ID: "acme", Requests: rule(t, "9 1m", true)}
	if ps.of(plain, handler) != ps.own {
		t.Error("a tenant without limits has a plan of its own")
	}
	first := ps.of(acme, handler)
	if first.windows[0].rule.Limit != 9 || ps.of(acme, handler) != first {
		t.Errorf("got %+v", first)
	}
	acme = &tenant.Tenant{ID: "acme", Concurrent: rule(t, "3", false)} // as after a reload
	if p := ps.of(acme, handler); p.windows[0].rule.Limit != 5 || p.takes[0].slots != 3 {
		t.Errorf("after a change: %+v", p)
	}
	for i := range 2*maxPlans + 1 {
		ps.of(&tenant.Tenant{ID: strconv.Itoa(i), Requests: acme.Concurrent}, handler)
	}
	if n := len(ps.byTenant); n > maxPlans {
		t.Errorf("%d plans are kept", n)
	}
}

func TestAddressKey(t *testing.T) {
	for ip, want := range map[string]string{
		"192.0.2.7":             "192.0.2.7",
		"::ffff:192.0.2.7":      "192.0.2.7",
		"::ffff:c000:207":       "192.0.2.7",
		"::ffff:192.0.2.7%eth0": "192.0.2.7",
		"2001:db8:a:b:1:2:3:4":  "2001:db8:a:b::/64",
		"2001:0DB8:A:B::":       "2001:db8:a:b::/64",
		"fe80::1%eth0":          "fe80::/64",
		"::1":                   "::/64",
		"":                      "",
		"@":                     "@", // a Unix socket
		"not an address":        "not an address",
	} {
		if got := addressKey(ip); got != want {
			t.Errorf("addressKey(%q) = %q, want %q", ip, got, want)
		}
	}
}
