// Package tenantresolve is the handler that finds a request's tenant and
// keeps everyone else out.
package tenantresolve

import (
	"errors"
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

// Handler finds the tenant of a request, by header, host, API key or JWT, checks
// that the request may act for it, and names it to the next handler in the
// headers X-Tenant-Id, X-User-Id and X-Trace-Id. The first source that names a tenant
// decides, and the others must not contradict it. A tenant with API keys is
// entered with one of them only, or with a JWT, whatever named it. Where jwt is a
// source, that goes for every tenant.
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

	// The origins whose pages may call this site's API from a browser, such as
	// https://app.example.com or https://*.example.com, or * for all. Those of
	// the tenant are added. Default: none.
	AllowOrigins []string `json:"allow_origins,omitempty"`

	origins tenant.Origins
	app     *chat.App
	log     *zap.Logger
}

// Source is one place to look for a tenant.
type Source struct {
	// What is looked at: header, host, api_key or jwt.
	Type string `json:"type"`

	// The headers to look at. Default: X-Tenant-Id for header; Authorization
	// (Bearer) and X-Api-Key for api_key; Authorization (Bearer) for jwt.
	Headers []string `json:"headers,omitempty"`

	// Which tokens count, for jwt. Default: none, it is required there.
	JWT *JWT `json:"jwt,omitempty"`
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
		if err := h.From[i].provision(h.log); err != nil {
			return err
		}
	}
	if h.UserHeader == "" {
		h.UserHeader = record.HeaderUser
	}
	var err error
	if h.origins, err = tenant.ParseOrigins(h.AllowOrigins); err != nil {
		return fmt.Errorf("allow_origins: %w", err)
	}
	if h.app, err = chat.FromContext(ctx); err != nil {
		return err
	}
	h.app.NoteOpen(ctx, h.openTenants())
	h.warnOfLogs(ctx)
	return nil
}

func (s *Source) provision(log *zap.Logger) error {
	if err := s.check(); err != nil {
		return fmt.Errorf("from: %w", err)
	}
	if s.JWT != nil {
		if err := s.JWT.provision(log); err != nil {
			return fmt.Errorf("from jwt: %w", err)
		}
	}
	if len(s.Headers) > 0 {
		return nil
	}
	switch s.Type {
	case record.SourceHeader:
		s.Headers = []string{record.HeaderTenant}
	case record.SourceAPIKey:
		s.Headers = defaultKeyHeaders
	case record.SourceJWT:
		s.Headers = defaultTokenHeaders
	}
	return nil
}

func (s *Source) check() error {
	switch s.Type {
	case record.SourceHeader, record.SourceHost, record.SourceAPIKey, record.SourceJWT:
	default:
		return fmt.Errorf("%q: want header, host, api_key or jwt", s.Type)
	}
	if isJWT := s.Type == record.SourceJWT; isJWT != (s.JWT != nil) {
		return fmt.Errorf("%s: want the member jwt with type jwt, and only there", s.Type)
	}
	return nil
}

// Validate checks the sources and the named tenant.
func (h *Handler) Validate() error {
	seen := make(map[string]bool)
	for _, s := range h.From {
		if seen[s.Type] {
			return fmt.Errorf("from: %s is listed twice", s.Type)
		}
		seen[s.Type] = true
	}
	return h.app.CheckTenant(h.Tenant)
}

// Cleanup lets go of what Provision has taken, however far that came.
func (h *Handler) Cleanup() error {
	var err error
	for _, s := range h.From {
		if s.JWT != nil {
			err = errors.Join(err, s.JWT.cleanup())
		}
	}
	return err
}

func (h *Handler) ServeHTTP(w http.ResponseWriter, r *http.Request, next caddyhttp.Handler) (err error) {
	x, done := h.app.Enter(w, r)
	defer func() { done(err) }()
	rec, w := x.Rec, x.W

	if h.preflight(x) {
		return nil
	}
	if rec.Tenant != nil && !h.mustLogIn(rec) {
		h.share(x, h.audienceOf(rec.Tenant))
		return h.again(w, r, rec, next)
	}
	found, err := h.resolve(r, rec)
	if err != nil {
		h.share(x, h.likelyAudience(x))
		return apierror.Answer(h.log, w, r, err)
	}
	h.share(x, h.audienceOf(found.tenant))
	user, err := h.userOf(r, found)
	if err != nil {
		return apierror.Answer(h.log, w, r, err)
	}
	if found.tenant == nil {
		clearHeaders(r.Header)
		return next.ServeHTTP(w, r)
	}

	rec.Tenant, rec.Source, rec.User, rec.Keys = found.tenant, found.source, user, found.keys
	rec.Authenticated = len(found.used) > 0
	found.stripCredential(r.Header)
	setHeaders(r.Header, rec)
	x.Admit()
	err = next.ServeHTTP(w, x.R)
	if gone := apierror.Ended(x.R.Context()); gone != nil && err != nil {
		return apierror.Answer(h.log, w, x.R, gone) // the next handler only knows that it was cancelled
	}
	return err
}

// userOf returns the user that the token names. Without a token the header
// does. Errors are *apierror.Error.
func (h *Handler) userOf(r *http.Request, f found) (string, error) {
	if f.user != "" {
		return f.user, nil
	}
	return chat.UserFrom(r.Header, h.UserHeader)
}

// mustLogIn is for a request that an earlier tenant_resolve has let in without
// the credential that this one asks for.
func (h *Handler) mustLogIn(rec *record.Record) bool {
	return h.jwtSource() != nil && !rec.Authenticated
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
	user   string          // that a token names; empty without one
	used   []string        // the headers whose credential did it
	keys   []tenant.Digest // that let the request in; none if a token did
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
	_ caddy.CleanerUpper          = (*Handler)(nil)
	_ caddyhttp.MiddlewareHandler = (*Handler)(nil)
)
