package aigateway

import (
	"maps"
	"slices"

	"github.com/caddyserver/caddy/v2"
	"go.uber.org/zap"

	"github.com/caddy-chat/caddy-chat/modules/tenant"
)

// warnOfOpen says what anyone who reaches the site can use at the operator's
// expense. It cannot know of a login that another handler asks for.
func (h *Handler) warnOfOpen(ctx caddy.Context) {
	paid := slices.DeleteFunc(slices.Sorted(maps.Keys(h.providers)), func(name string) bool { return !hasKey(h.providers[name]) })
	if len(paid) == 0 {
		return
	}
	open, resolved := h.app.OpenTenants(ctx)
	switch {
	case !resolved && h.Tenant == "":
		return // every request is refused
	case !resolved:
		h.log.Warn("anyone who can reach this gateway can use these providers at your expense: put tenant_resolve in front of it, and give the tenants an api_key and a budget",
			zap.Strings("providers", paid))
	case len(open) > 0:
		unbounded := slices.DeleteFunc(slices.Clone(open), func(t *tenant.Tenant) bool { return len(t.Budgets) > 0 })
		h.log.Warn("anyone who can reach this site can use these tenants, and so the providers at your expense: give them an api_key, and a budget",
			zap.Strings("tenants", namesOf(open)), zap.Strings("without_budget", namesOf(unbounded)), zap.Strings("providers", paid))
	}
}

// namesOf returns the ids of tenants, of many only the first.
func namesOf(list []*tenant.Tenant) []string {
	const most = 10
	names := make([]string, 0, most+1)
	for _, t := range list {
		if len(names) == most {
			return append(names, "...")
		}
		names = append(names, t.ID)
	}
	return names
}

// hasKey reports whether calls of a provider use a key of the operator's.
func hasKey(mod any) bool {
	p, ok := mod.(interface{ HasKey() bool })
	return ok && p.HasKey()
}
