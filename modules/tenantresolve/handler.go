// Package tenantresolve is the handler that finds a request's tenant and
// keeps everyone else out.
package tenantresolve

import (
	"fmt"
	"net/http"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"go.uber.org/zap"

	"github.com/caddy-chat/caddy-chat/modules/apierror"
	"github.com/caddy-chat/caddy-chat/modules/chat"
	"github.com/caddy-chat/caddy-chat/modules/record"
	"github.com/caddy-chat/caddy-chat/modules/tenant"
)

func init() {
	caddy.RegisterModule(Handler{})
}

// Handler finds the tenant of a request, by header, host or API key, checks
// that the request may act for it, and names it to the next handler in the
// headers X-Tenant-Id, X-User-Id and X-Trace-Id. The first source that names a tenant
// decides, and the others must not contradict it. A tenant with API keys is
// entered with one of them only, whatever named it.
type Handler struct {
	// The tenant of every request here. Other sources must not contradict
	// it. Default: none, or "default" where no tenant is configured at all.
	Tenant string `json:"tenant,omitempty"`

	// Where to look for a tenant, in this order. Default: header, host and
	// api_key.
	From []Source `json:"from,omitempty"`

	// The header that names the user. Default: X-User-Id.
	UserHeader string `json:"user_header,omitempty"`

	// Lets requests that name no tenant through, without one. Default:
	// false, they are refused.
	Optional bool `json:"optional,omitempty"`

	app *chat.App
	log *zap.Logger
}

// Source is one place to look for a tenant.
type Source struct {
	// What is looked at: header, host or api_key.
	Type string `json:"type"`

	// The headers to look at. Default: X-Tenant-Id for header; Authorization
	// (Bearer) and X-Api-Key for api_key.
	Headers []string `json:"headers,omitempty"`
}

// CaddyModule returns the Caddy module information.
func (Handler) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{
		ID:  "http.handlers.tenant_resolve",
		New: func() caddy.Module { return new(Handler) },
	}
}

// Provision sets the defaults.
func (h *Handler) Provision(ctx caddy.Context) error {
	h.log = ctx.Logger()
	if len(h.From) == 0 {
		h.From = []Source{{Type: record.SourceHeader}, {Type: record.SourceHost}, {Type: record.SourceAPIKey}}
	}
	for i := range h.From {
		h.From[i].setDefaults()
	}
	if h.UserHeader == "" {
		h.UserHeader = record.HeaderUser
	}
	app, err := chat.FromContext(ctx)
	h.app = app
	return err
}

func (s *Source) setDefaults() {
	if len(s.Headers) > 0 {
		return
	}
	switch s.Type {
	case record.SourceHeader:
		s.Headers = []string{record.HeaderTenant}
	case record.SourceAPIKey:
		s.Headers = defaultKeyHeaders
	}
}

// Validate checks the sources and the named tenant.
func (h *Handler) Validate() error {
	seen := make(map[string]bool)
	for _, s := range h.From {
		switch s.Type {
		case record.SourceHeader, record.SourceHost, record.SourceAPIKey:
		default:
			return fmt.Errorf("from: %q: want header, host or api_key", s.Type)
		}
		if seen[s.Type] {
			return fmt.Errorf("from: %s is listed twice", s.Type)
		}
		seen[s.Type] = true
	}
	return h.app.CheckTenant(h.Tenant)
}

func (h *Handler) ServeHTTP(w http.ResponseWriter, r *http.Request, next caddyhttp.Handler) (err error) {
	x, done := h.app.Enter(w, r)
	defer func() { done(err) }()
	rec, w := x.Rec, x.W

	if rec.Tenant != nil {
		return h.again(w, r, rec, next)
	}
	user, err := chat.UserFrom(r.Header, h.UserHeader)
	if err != nil {
		return apierror.Answer(h.log, w, r, err)
	}
	found, err := h.resolve(r)
	if err != nil {
		return apierror.Answer(h.log, w, r, err)
	}
	if found.tenant == nil {
		clearHeaders(r.Header)
		return next.ServeHTTP(w, r)
	}

	rec.Tenant, rec.Source, rec.User = found.tenant, found.source, user
	found.stripCredential(r.Header)
	setHeaders(r.Header, rec)
	return next.ServeHTTP(w, r)
}

// again is for a request that an earlier tenant_resolve has let in, and taken
// the key off. It stays what it is, unless it is not meant to come here.
func (h *Handler) again(w http.ResponseWriter, r *http.Request, rec *record.Record, next caddyhttp.Handler) error {
	if h.Tenant != "" && h.Tenant != rec.Tenant.ID {
		return apierror.Answer(h.log, w, r, apierror.TenantMismatch())
	}
	return next.ServeHTTP(w, r)
}

// setHeaders names tenant and user to the next handler, in place of what the
// client said.
func setHeaders(h http.Header, rec *record.Record) {
	h.Set(record.HeaderTenant, rec.Tenant.ID)
	h.Set(record.HeaderUser, rec.User)
}

func clearHeaders(h http.Header) {
	h.Del(record.HeaderTenant)
	h.Del(record.HeaderUser)
}

// found is how a tenant was found.
type found struct {
	tenant *tenant.Tenant // nil where none was named
	source string
	used   []string // the headers whose credential did it
}

// stripCredential removes the credential that resolved or authenticated the
// tenant from the request. Others are the application's own.
func (f found) stripCredential(h http.Header) {
	for _, name := range f.used {
		h.Del(name)
	}
}

// Interface guards
var (
	_ caddy.Provisioner           = (*Handler)(nil)
	_ caddy.Validator             = (*Handler)(nil)
	_ caddyhttp.MiddlewareHandler = (*Handler)(nil)
)
