package chatratelimit

import (
	"context"
	"net/http"
	"net/netip"
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
	plan    *plan
	takes   []store.Take
	results []store.Taken

	// tokens are the windows that the model call will be counted in, and
	// spent how full they are now.
	tokens []budget.Window
	spent  []store.Balance
}

// gaugesFor makes one take of each scope of the plan, so that a request is
// granted or refused as a whole. prefix sets the keys apart, and slots says whether the
// request takes any.
func gaugesFor(r *http.Request, rec *record.Record, p *plan, prefix string, slots bool) *gauges {
	g := &gauges{plan: p, takes: make([]store.Take, len(p.takes))}
	later := bodyToCome(r)
	for i, t := range p.takes {
		g.takes[i] = store.Take{Key: prefix + scopeKey(r, rec, t.scope), Windows: t.windows, Later: later}
		if slots {
			g.takes[i].Slots = t.slots
		}
	}
	if p.tokens == 0 {
		return g
	}
	g.tokens = make([]budget.Window, 0, p.tokens)
	for i := range p.windows {
		if w := &p.windows[i]; w.isTokens() {
			g.tokens = append(g.tokens, budget.Window{
				Name:   w.name,
				Key:    prefix + kindTokens + "/" + w.rule.Window.String() + "/" + scopeKey(r, rec, w.rule.Scope),
				Limit:  w.rule.Limit,
				Length: w.rule.Window,
			})
		}
	}
	return g
}

// scopeKey names who is counted. An anonymous user is counted by address,
// and the user named in a body is not looked at: it is the client's word,
// and the body has not been read.
func scopeKey(r *http.Request, rec *record.Record, scope string) string {
	switch scope {
	case limit.ScopeTenant:
		return "tenant"
	case limit.ScopeIP:
		return "ip:" + addressKey(record.ClientIP(r))
	case limit.ScopeUser:
		if rec.User == record.Anonymous {
			return "anonymous:" + addressKey(record.ClientIP(r))
		}
		return "user:" + rec.User
	}
	repl, _ := r.Context().Value(caddy.ReplacerCtxKey).(*caddy.Replacer)
	return "custom:" + scope + ":" + repl.ReplaceAll(scope, "")
}

// addressKey names whom an address counts for. An IPv4 address written as IPv6 is
// the IPv4 one. Of other IPv6 addresses the first 64 bits count, because a
// customer of a network usually has all of the rest.
func addressKey(ip string) string {
	const network = 64
	addr, err := netip.ParseAddr(ip)
	if err != nil {
		return ip
	}
	if addr = addr.Unmap(); addr.Is4() {
		return addr.String()
	}
	prefix, _ := addr.Prefix(network) // the length is valid
	return prefix.String()
}

// ask counts the request, unless a token window has nothing left. The tokens
// themselves are counted by the handler that makes the model call.
func (g *gauges) ask(ctx context.Context, s store.Store, tenantID string) (granted bool, err error) {
	if len(g.tokens) == 0 {
		g.results, granted, err = s.Take(ctx, tenantID, g.takes)
		return granted, err
	}
	budgets := make([]store.Budget, len(g.tokens))
	for i, w := range g.tokens {
		budgets[i] = w.Budget()
		budgets[i].Want = 1
	}
	g.results, g.spent, granted, err = s.TakeWithin(ctx, tenantID, g.takes, budgets)
	return granted, err
}

// asksSlots says whether the request holds slots, now or when its body is there.
func (g *gauges) asksSlots() bool {
	return slices.ContainsFunc(g.takes, func(t store.Take) bool { return t.Slots > 0 })
}

func (g *gauges) state(w *window) store.WindowState {
	if w.isTokens() {
		b := g.spent[w.take]
		left := w.rule.Limit - int64(b.Used+b.Held)
		return store.WindowState{Remaining: max(left, 0), Reset: b.Reset, Wait: b.Wait}
	}
	return g.results[w.take].Windows[w.place]
}

// wait is how long a refused request should wait: until the last of the
// windows that refused it lets one through. When a slot comes free is not
// known.
func (g *gauges) wait() time.Duration {
	var longest time.Duration
	for i := range g.plan.windows {
		longest = max(longest, g.state(&g.plan.windows[i]).Wait)
	}
	return longest
}

// tightest is the window that the headers with room for one describe, or nil.
// Requests and tokens cannot be compared by number: the window with the smaller
// part left wins, and requests if the parts are equal.
func (g *gauges) tightest() *window {
	requests, tokens := g.tightestOf(false), g.tightestOf(true)
	if requests == nil || tokens != nil && g.emptier(tokens, requests) {
		return tokens
	}
	return requests
}

// tightestOf is the window for tokens or for requests that has least left, the
// longest wait deciding between those that have nothing.
func (g *gauges) tightestOf(tokens bool) *window {
	var best *window
	for i := range g.plan.windows {
		w := &g.plan.windows[i]
		if w.isTokens() == tokens && (best == nil || g.tighter(w, best)) {
			best = w
		}
	}
	return best
}

func (g *gauges) tighter(a, b *window) bool {
	sa, sb := g.state(a), g.state(b)
	if sa.Remaining != sb.Remaining {
		return sa.Remaining < sb.Remaining
	}
	return sa.Wait > sb.Wait
}

// emptier says whether a smaller part is left of a than of b.
func (g *gauges) emptier(a, b *window) bool {
	sa, sb := g.state(a), g.state(b)
	la, lb := float64(sa.Remaining)/float64(a.rule.Limit), float64(sb.Remaining)/float64(b.rule.Limit)
	if la != lb {
		return la < lb
	}
	return sa.Wait > sb.Wait
}
