package chat

import (
	"slices"

	"github.com/caddy-chat/caddy-chat/modules/tenant"
)

// HasKeys says whether tenants have API keys. Those in files may get some later.
func (a *App) HasKeys() bool {
	return len(a.Tenants) > 0 || slices.ContainsFunc(a.Tenancy().All(), func(t *tenant.Tenant) bool { return len(t.Keys) > 0 })
}

// FirstTime reports whether a configuration has not yet given a warning, so that
// several handlers of a site give it once.
func (a *App) FirstTime(warning string) bool {
	_, given := a.warned.LoadOrStore(warning, true)
	return !given
}
