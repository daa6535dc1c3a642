package chatratelimit

import (
	"net/http"
	"slices"
	"time"

	"github.com/caddyserver/caddy/v2"

	"github.com/caddy-chat/caddy-chat/modules/chatctx"
	"github.com/caddy-chat/caddy-chat/modules/limit"
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
	// A token window does not count as one while nothing enforces it: a tenant
	// that has no other must not be without any limit.
	if len(l.Requests)+len(l.Burst) == 0 {
		l.Requests, l.Burst = defaults.Requests, defaults.Burst
	}
	return l
}

// gauges are the limits that one request is measured by.
type gauges struct {
	takes   []store.Take
	windows []window
	results []store.Taken
}

// window is one rule and where its state is found in the results.
type window struct {
	kind  string // requests or burst
	rule  limit.Rule
	take  int // index of the take
	place int // index of the window in the take
}

// gaugesFor makes one take of each key that the limits count, so that a
// request is granted or refused as a whole. prefix sets the keys apart.
func gaugesFor(r *http.Request, rec *chatctx.Record, l tenant.Limits, prefix string) *gauges {
	g := new(gauges)
	repl, _ := r.Context().Value(caddy.ReplacerCtxKey).(*caddy.Replacer)
	for _, kind := range []struct {
		name  string
		rules []limit.Rule
	}{{"requests", l.Requests}, {"burst", l.Burst}} {
		for _, rule := range kind.rules {
			i := g.take(prefix + scopeKey(r, rec, repl, rule.Scope))
			t := &g.takes[i]
			t.Windows = append(t.Windows, store.Window{Limit: rule.Limit, Length: rule.Window})
			g.windows = append(g.windows, window{kind.name, rule, i, len(t.Windows) - 1})
		}
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
func scopeKey(r *http.Request, rec *chatctx.Record, repl *caddy.Replacer, scope string) string {
	switch scope {
	case limit.ScopeTenant:
		return "tenant"
	case limit.ScopeIP:
		return "ip:" + chatctx.ClientIP(r)
	case limit.ScopeUser:
		if rec.User == chatctx.Anonymous {
			return "anonymous:" + chatctx.ClientIP(r)
		}
		return "user:" + rec.User
	}
	return "custom:" + scope + ":" + repl.ReplaceAll(scope, "")
}

func (g *gauges) holdsSlots() bool {
	return slices.ContainsFunc(g.takes, func(t store.Take) bool { return t.Slots > 0 })
}

func (g *gauges) state(w window) store.WindowState {
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

// tightest is the window that has least left, the longest wait deciding
// between those that have nothing.
func (g *gauges) tightest(kinds ...string) (window, bool) {
	var best window
	ok := false
	for _, w := range g.windows {
		if len(kinds) > 0 && !slices.Contains(kinds, w.kind) {
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
