package chat

import (
	"slices"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	"github.com/caddy-chat/caddy-chat/modules/tenant"
)

// HasKeys says whether tenants have API keys. Those in files may get some later.
func (a *App) HasKeys() bool {
	return len(a.Tenants) > 0 || slices.ContainsFunc(a.Tenancy().All(), func(t *tenant.Tenant) bool { return len(t.Keys) > 0 })
}

// NoteOpen notes that a handler being provisioned resolves tenants, and which of
// them anyone can enter without a key or token.
func (a *App) NoteOpen(ctx caddy.Context, open []*tenant.Tenant) {
	srv := serverOf(ctx)
	a.open[srv] = append(a.open[srv], open...)
}

// OpenTenants returns the tenants that anyone can enter at the server of a handler
// being provisioned, and whether anything resolves tenants there. It knows the
// handlers in front, which Caddy provisions first.
func (a *App) OpenTenants(ctx caddy.Context) (open []*tenant.Tenant, resolved bool) {
	open, resolved = a.open[serverOf(ctx)]
	return open, resolved
}

func serverOf(ctx caddy.Context) *caddyhttp.Server {
	srv, _ := ctx.Value(caddyhttp.ServerCtxKey).(*caddyhttp.Server)
	return srv
}

// FirstTime reports whether a configuration has not yet given a warning, so that
// several handlers of a site give it once.
func (a *App) FirstTime(warning string) bool {
	_, given := a.warned.LoadOrStore(warning, true)
	return !given
}
