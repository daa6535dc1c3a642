package chatratelimit

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"

	"github.com/caddy-chat/caddy-chat/modules/apierror"
	"github.com/caddy-chat/caddy-chat/modules/limit"
	"github.com/caddy-chat/caddy-chat/modules/store"
	"github.com/caddy-chat/caddy-chat/modules/tenant"
)

// plan is what limits ask of every request, worked out once. It does not
// change: requests share it.
type plan struct {
	takes   []plannedTake // one a scope
	windows []window
	tokens  int    // how many of the windows count tokens
	policy  string // the RateLimit-Policy header
}

// plannedTake is a take whose key depends on the request.
type plannedTake struct {
	scope   string
	windows []store.Window
	slots   int64
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

	name  string // in messages
	item  string // the quoted name in the standard headers
	limit string // the rule's, in headers
}

func (w *window) isTokens() bool { return w.kind == kindTokens }

func newPlan(l tenant.Limits) *plan {
	p := new(plan)
	for _, rule := range l.Requests {
		p.addWindow(kindRequests, rule)
	}
	for _, rule := range l.Burst {
		p.addWindow(kindBurst, rule)
	}
	for _, rule := range l.Tokens {
		p.windows = append(p.windows, newWindow(kindTokens, rule, p.tokens, 0))
		p.tokens++
	}
	for _, rule := range l.Concurrent {
		t := &p.takes[p.take(rule.Scope)]
		if t.slots == 0 || rule.Limit < t.slots {
			t.slots = rule.Limit
		}
	}
	p.nameItems()
	return p
}

func (p *plan) addWindow(kind string, rule limit.Rule) {
	i := p.take(rule.Scope)
	t := &p.takes[i]
	p.windows = append(p.windows, newWindow(kind, rule, i, len(t.windows)))
	t.windows = append(t.windows, store.Window{Limit: rule.Limit, Length: rule.Window})
}

// take returns the index of the take of a scope, which it adds if need be.
func (p *plan) take(scope string) int {
	i := slices.IndexFunc(p.takes, func(t plannedTake) bool { return t.scope == scope })
	if i < 0 {
		i = len(p.takes)
		p.takes = append(p.takes, plannedTake{scope: scope})
	}
	return i
}

// newWindow names a window by its kind, and by its scope unless it counts per
// user.
func newWindow(kind string, rule limit.Rule, take, place int) window {
	name := kind
	if rule.Scope != limit.ScopeUser {
		name += "-" + strings.Trim(rule.Scope, "{}")
	}
	return window{kind: kind, rule: rule, take: take, place: place, name: name, limit: strconv.FormatInt(rule.Limit, 10)}
}

// nameItems names the items of the standard headers. Two policies must not
// share a name.
func (p *plan) nameItems() {
	var policy []string
	seen := make(map[string]bool)
	for i := range p.windows {
		w := &p.windows[i]
		name := w.name
		if seen[name] {
			name += "-" + w.rule.Window.String()
		}
		seen[name] = true
		w.item = strconv.Quote(name)
		policy = append(policy, fmt.Sprintf("%s;q=%d;w=%d", w.item, w.rule.Limit, apierror.Seconds(w.rule.Window)))
	}
	p.policy = strings.Join(policy, ", ")
}

// maxPlans bounds how many plans of tenants are kept.
const maxPlans = 10_000

// plans are those of a handler: one of its own limits, for all tenants without
// any, and one of each tenant that has some.
type plans struct {
	own *plan

	mu       sync.RWMutex
	byTenant map[string]tenantPlan
}

// tenantPlan is good for one state of a tenant: a reload brings another.
type tenantPlan struct {
	tenant *tenant.Tenant
	plan   *plan
}

// of returns the plan of a tenant's limits beside the handler's.
func (ps *plans) of(t *tenant.Tenant, handler tenant.Limits) *plan {
	if !t.Limits().Any() {
		return ps.own
	}
	ps.mu.RLock()
	kept, ok := ps.byTenant[t.ID]
	ps.mu.RUnlock()
	if ok && kept.tenant == t {
		return kept.plan
	}

	p := newPlan(effective(t.Limits(), handler))
	ps.mu.Lock()
	defer ps.mu.Unlock()
	if ps.byTenant == nil || len(ps.byTenant) >= maxPlans {
		ps.byTenant = make(map[string]tenantPlan)
	}
	ps.byTenant[t.ID] = tenantPlan{t, p}
	return p
}
