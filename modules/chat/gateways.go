package chat

import (
	"net/http"
	"slices"
	"strings"

	"go.uber.org/zap"

	"github.com/caddy-chat/caddy-chat/modules/record"
	"github.com/caddy-chat/caddy-chat/modules/tenant"
)

// Gateway is what the app asks of an ai_gateway of its configuration.
type Gateway interface {
	HasModel(name string) bool
	HasProvider(name string) bool

	// IsHealth reports whether a clean path is that of its health.
	IsHealth(path string) bool
}

// NoteGateway notes a gateway that was provisioned.
func (a *App) NoteGateway(g Gateway) { a.gateways = append(a.gateways, g) }

// HasGateway reports whether the configuration has one.
func (a *App) HasGateway() bool { return len(a.gateways) > 0 }

// maxNameWarnings bounds the warnings about names: there may be thousands of tenants.
const maxNameWarnings = 20

// warnOfNames logs the models and providers that tenants name and no gateway has. It
// is called once all gateways are known: at the start, or at the end of a validation.
func (a *App) warnOfNames() {
	if len(a.gateways) == 0 {
		return
	}
	given := 0
	warn := func(t *tenant.Tenant, what, name, text string) {
		if given++; given <= maxNameWarnings {
			a.log.Warn(text, zap.String("tenant", t.ID), zap.String(what, name))
		}
	}
	for _, t := range a.Tenancy().All() {
		names := slices.Compact(slices.Sorted(slices.Values(append([]string{t.Model}, t.Models...))))
		for _, name := range names {
			if name != "" && !a.anyGateway(func(g Gateway) bool { return g.HasModel(name) }) {
				warn(t, "model", name, "a tenant names a model that no ai_gateway has")
			}
		}
		for name := range t.Credentials {
			if !a.anyGateway(func(g Gateway) bool { return g.HasProvider(name) }) {
				warn(t, "provider", name, "a tenant has a credential for a provider that no ai_gateway has")
			}
		}
	}
	if given > maxNameWarnings {
		a.log.Warn("more tenants name models or providers that no ai_gateway has", zap.Int("more", given-maxNameWarnings))
	}
}

// AsksHealth reports whether a request asks for a gateway's health, which says that the
// store fails.
func (a *App) AsksHealth(r *http.Request) bool {
	if r.Method != http.MethodGet && r.Method != http.MethodHead {
		return false
	}
	path := record.Path(r)
	return a.anyGateway(func(g Gateway) bool { return g.IsHealth(path) })
}

// NoteSessions notes the path of a chat_session that was provisioned.
func (a *App) NoteSessions(path string) { a.sessions = append(a.sessions, path) }

// CallsNoModel reports whether a request only reads, follows, cancels or deletes what a
// gateway or a chat_session has.
func (a *App) CallsNoModel(r *http.Request) bool {
	path := record.Path(r)
	switch r.Method {
	case http.MethodGet, http.MethodHead, http.MethodDelete:
	case http.MethodPost:
		if !strings.HasSuffix(path, "/cancel") {
			return false
		}
	default:
		return false
	}
	below := func(root string) bool { return path == root || strings.HasPrefix(path, root+"/") }
	return len(a.gateways)+len(a.sessions) > 0 && below("/v1") || slices.ContainsFunc(a.sessions, below)
}

func (a *App) anyGateway(has func(Gateway) bool) bool { return slices.ContainsFunc(a.gateways, has) }
