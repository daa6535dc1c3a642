package chatratelimit

import (
	"context"
	"net/http"
	"slices"
	"time"

	"github.com/caddyserver/caddy/v2"

	"github.com/caddy-chat/caddy-chat/modules/budget"
	"github.com/caddy-chat/caddy-chat/modules/limit"
	"github.com/caddy-chat/caddy-chat/modules/record"
	"github.com/caddy-chat/caddy-chat/modules/store"
	"github.com/caddy-chat/caddy-chat/modules/tenant"
)

// effective picks, kind by kind, the tenant's limits or else the handler's.
func effective(own, handler tenant.Limits) tenant.Limits {
	pick := func(a, b []limit.Rule) []limit.Rule {
		if len(a) > 0 {
			return a
		}
		return b
	}
	l := tenant.Limits{
		Requests:   pick(own.Requests, handler.Requests),
		Burst:      pick(own.Burst, handler.Burst),
		Tokens:     pick(own.Tokens, handler.Tokens),
		Concurrent: pick(own.Concurrent, handler.Concurrent),
	}
	if len(l.Requests)+len(l.Burst)+len(l.Tokens) == 0 {
		l.Requests, l.Burst = defaults.Requests, defaults.Burst
	}
	return l
}

// gauges are the limits that one request is measured by.
type gauges struct {
	takes   []store.Take
	windows []window
	results []store.Taken

	// tokens are the windows that the model call will be counted in, and
	// spent how full they are now.
	tokens []budget.Window
	spent  []store.Balance
}

// The kinds of windows.
const (
	kindRequests = "requests"
	kindBurst    = "burst"
	kindTokens   = "tokens"
)

// window is one rule and where its state is found.
type window struct {
	kind  string
	rule  limit.Rule
	take  int // index of the take, or among the token windows
	place int // index of the window in the take
}

// gaugesFor makes one take of each key that the limits count, so that a
// request is granted or refused as a whole. prefix sets the keys apart.
func gaugesFor(r *http.Request, rec *record.Record, l tenant.Limits, prefix string) *gauges {
	g := new(gauges)
	repl, _ := r.Context().Value(caddy.ReplacerCtxKey).(*caddy.Replacer)
	for _, kind := range []struct {
		name  string
		rules []limit.Rule
	}{{kindRequests, l.Requests}, {kindBurst, l.Burst}} {
		for _, rule := range kind.rules {
			i := g.take(prefix + scopeKey(r, rec, repl, rule.Scope))
			t := &g.takes[i]
			t.Windows = append(t.Windows, store.Window{Limit: rule.Limit, Length: rule.Window})
			g.windows = append(g.windows, window{kind.name, rule, i, len(t.Windows) - 1})
		}
	}
	for _, rule := range l.Tokens {
		w := window{kind: kindTokens, rule: rule, take: len(g.tokens)}
		g.tokens = append(g.tokens, budget.Window{
			Name:   w.name(),
			Key:    prefix + kindTokens + "/" + rule.Window.String() + "/" + scopeKey(r, rec, repl, rule.Scope),
			Limit:  rule.Limit,
			Length: rule.Window,
		})
		g.windows = append(g.windows, w)
	}
	for _, rule := range l.Concurrent {
		t := &g.takes[g.take(prefix+scopeKey(r, rec, repl, rule.Scope))]
		if t.Slots == 0 || rule.Limit < t.Slots {
			t.Slots = rule.Limit
		}
	}
	return g
}

// take returns the index of the take with this key, which it adds if need be.
func (g *gauges) take(key string) int {
	i := slices.IndexFunc(g.takes, func(t store.Take) bool { return t.Key == key })
	if i < 0 {
		i = len(g.takes)
		g.takes = append(g.takes, store.Take{Key: key})
	}
	return i
}

// scopeKey names who is counted. An anonymous user is counted by address,
// and the user named in a body is not looked at: it is the client's word,
// and the body has not been read.
func scopeKey(r *http.Request, rec *record.Record, repl *caddy.Replacer, scope string) string {
	switch scope {
	case limit.ScopeTenant:
		return "tenant"
	case limit.ScopeIP:
		return "ip:" + record.ClientIP(r)
	case limit.ScopeUser:
		if rec.User == record.Anonymous {
			return "anonymous:" + record.ClientIP(r)
		}
		return "user:" + rec.User
	}
	return "custom:" + scope + ":" + repl.ReplaceAll(scope, "")
}

// closed lets nothing through, and with it no other take of its request.
var closed = store.Take{Key: "closed", Windows: []store.Window{{Limit: 0, Length: time.Second}}}

// ask counts the request, unless a token window has nothing left: what its
// call uses is counted by whoever makes it.
func (g *gauges) ask(ctx context.Context, s store.Store, tenantID string) (granted bool, err error) {
	takes := g.takes
	if len(g.tokens) > 0 {
		budgets := make([]store.Budget, len(g.tokens))
		for i, w := range g.tokens {
			budgets[i] = w.Budget()
			budgets[i].Want = 1
		}
		if g.spent, err = s.Balances(ctx, tenantID, budgets); err != nil {
			return false, err
		}
		if g.spentUp() {
			takes = append(slices.Clip(takes), closed)
		}
	}
	g.results, granted, err = s.Take(ctx, tenantID, takes)
	return granted, err
}

func (g *gauges) spentUp() bool {
	return slices.ContainsFunc(g.windows, func(w window) bool {
		return w.kind == kindTokens && g.state(w).Remaining == 0
	})
}

func (g *gauges) holdsSlots() bool {
	return slices.ContainsFunc(g.takes, func(t store.Take) bool { return t.Slots > 0 })
}

func (g *gauges) state(w window) store.WindowState {
	if w.kind == kindTokens {
		b := g.spent[w.take]
		left := w.rule.Limit - int64(b.Used+b.Held)
		return store.WindowState{Remaining: max(left, 0), Reset: b.Reset, Wait: b.Wait}
	}
	return g.results[w.take].Windows[w.place]
}

// wait is how long a refused request should wait: until the last of the
// windows that refused it lets one through. When a slot comes free nobody
// knows.
func (g *gauges) wait() time.Duration {
	var longest time.Duration
	for _, w := range g.windows {
		longest = max(longest, g.state(w).Wait)
	}
	return longest
}

// tightest is the window that speaks for all. Requests and tokens are no
// measure for each other: of both kinds that window speaks of which the
// smaller part is left, and of requests where that is the same.
func (g *gauges) tightest() (window, bool) {
	best, ok := g.tightestOf(kindRequests, kindBurst)
	tokens, hasTokens := g.tightestOf(kindTokens)
	if !ok || hasTokens && g.emptier(tokens, best) {
		return tokens, hasTokens
	}
	return best, ok
}

// tightestOf is the window of these kinds that has least left, the longest
// wait deciding between those that have nothing.
func (g *gauges) tightestOf(kinds ...string) (window, bool) {
	var best window
	ok := false
	for _, w := range g.windows {
		if !slices.Contains(kinds, w.kind) {
			continue
		}
		if !ok || g.tighter(w, best) {
			best, ok = w, true
		}
	}
	return best, ok
}

func (g *gauges) tighter(a, b window) bool {
	sa, sb := g.state(a), g.state(b)
	if sa.Remaining != sb.Remaining {
		return sa.Remaining < sb.Remaining
	}
	return sa.Wait > sb.Wait
}

// emptier says whether a smaller part is left of a than of b.
func (g *gauges) emptier(a, b window) bool {
	sa, sb := g.state(a), g.state(b)
	la, lb := float64(sa.Remaining)/float64(a.rule.Limit), float64(sb.Remaining)/float64(b.rule.Limit)
	if la != lb {
		return la < lb
	}
	return sa.Wait > sb.Wait
}
