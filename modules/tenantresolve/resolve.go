package tenantresolve

import (
	"net/http"
	"slices"
	"strings"

	"github.com/caddy-chat/caddy-chat/modules/apierror"
	"github.com/caddy-chat/caddy-chat/modules/record"
	"github.com/caddy-chat/caddy-chat/modules/tenant"
)

const headerAuthorization = "Authorization"

var (
	defaultKeyHeaders   = []string{headerAuthorization, "X-Api-Key"}
	defaultTokenHeaders = []string{headerAuthorization}
)

// key is an API key of a request, by its digest.
type key struct {
	header string
	digest tenant.Digest
	owner  *tenant.Tenant // nil for an unknown key
}

// claim is a tenant that a source named.
type claim struct {
	id     string
	source string
}

// resolve finds the tenant of a request and checks that it may act for it.
// A found without a tenant is a request that may pass without one. Errors
// are *apierror.Error.
func (h *Handler) resolve(r *http.Request, rec *record.Record) (found, error) {
	tenants := h.app.Tenancy()
	keys := readKeys(r.Header, h.keyHeaders(), tenants)
	tok, err := h.readToken(r, tenants)
	if err != nil {
		return found{}, err
	}
	claims := h.claims(r, rec, tenants, keys, tok)

	if len(claims) == 0 {
		return found{}, h.unnamed(keys, tok)
	}
	first := claims[0]
	for _, c := range claims[1:] {
		if c.id != first.id {
			return found{}, apierror.TenantMismatch()
		}
	}
	t := tenants.ByID(first.id)
	if t == nil {
		return found{}, apierror.TenantUnknown()
	}
	f := found{tenant: t, source: first.source}
	f.used, f.keys = keysOf(keys, t)
	if tok.proves(first) {
		// the token lets the request in, whatever becomes of the keys
		f.user, f.used, f.keys = tok.user, append(f.used, tok.header), nil
	}
	if len(f.used) == 0 && h.needsCredential(t) {
		return found{}, h.refuse(tok)
	}
	return f, nil
}

// needsCredential reports whether a tenant is only entered with a key or a
// token. Where tokens say who the user is, a header must not say it without one.
func (h *Handler) needsCredential(t *tenant.Tenant) bool {
	return len(t.Keys) > 0 || h.jwtSource() != nil
}

// openTenants returns the tenants that are entered without a credential.
func (h *Handler) openTenants() []*tenant.Tenant {
	if h.Tenant == "" && h.credentialsOnly() {
		return nil // nothing else names a tenant
	}
	var open []*tenant.Tenant
	for _, t := range h.app.Tenancy().All() {
		if (h.Tenant == "" || h.Tenant == t.ID) && !h.needsCredential(t) {
			open = append(open, t)
		}
	}
	return open
}

// claims returns what the configuration, an earlier tenant_resolve and the
// sources say, in this order.
func (h *Handler) claims(r *http.Request, rec *record.Record, tenants *tenant.Registry, keys []key, tok *token) []claim {
	var list []claim
	if h.Tenant != "" {
		list = append(list, claim{id: h.Tenant})
	}
	if rec.Tenant != nil {
		list = append(list, claim{rec.Tenant.ID, rec.Source})
	}
	for _, s := range h.From {
		for _, id := range s.names(r, tenants, keys, tok) {
			list = append(list, claim{id, s.Type})
		}
	}
	if len(list) > 0 || !tenants.IsDefault() {
		return list
	}
	switch {
	case tok.valid():
		return []claim{{tenant.DefaultID, record.SourceJWT}}
	case !h.credentialsOnly():
		return []claim{{id: tenant.DefaultID}}
	}
	return nil
}

// names returns the ids that one source names.
func (s Source) names(r *http.Request, tenants *tenant.Registry, keys []key, tok *token) []string {
	var ids []string
	switch s.Type {
	case record.SourceHeader:
		for _, name := range s.Headers {
			ids = append(ids, r.Header.Values(name)...)
		}
		ids = slices.DeleteFunc(ids, func(id string) bool { return id == "" })
	case record.SourceHost:
		if t := tenants.ByHost(r.Host); t != nil {
			ids = append(ids, t.ID)
		}
	case record.SourceAPIKey:
		for _, k := range keys {
			if k.owner != nil {
				ids = append(ids, k.owner.ID)
			}
		}
	case record.SourceJWT:
		if tok.valid() && tok.tenant != "" {
			ids = append(ids, tok.tenant)
		}
	}
	return ids
}

// unnamed is the answer to a request that names no tenant.
func (h *Handler) unnamed(keys []key, tok *token) error {
	switch {
	case h.Optional:
		return nil
	case tok != nil, h.credentialsOnly(), h.looksAt(record.SourceAPIKey) && len(keys) > 0:
		return h.refuse(tok)
	default:
		return apierror.TenantRequired()
	}
}

// credentialsOnly says whether nothing but a credential names a tenant here.
func (h *Handler) credentialsOnly() bool {
	for _, s := range h.From {
		if s.Type != record.SourceAPIKey && s.Type != record.SourceJWT {
			return false
		}
	}
	return true
}

func (h *Handler) looksAt(source string) bool {
	for _, s := range h.From {
		if s.Type == source {
			return true
		}
	}
	return false
}

// keyHeaders are where keys are read from. Keys authenticate a tenant even
// where they are no source of it.
func (h *Handler) keyHeaders() []string {
	for _, s := range h.From {
		if s.Type == record.SourceAPIKey {
			return s.Headers
		}
	}
	return defaultKeyHeaders
}

func readKeys(h http.Header, headers []string, tenants *tenant.Registry) []key {
	var keys []key
	for _, name := range headers {
		for _, value := range h.Values(name) {
			secret := credentialIn(name, value)
			if secret == "" {
				continue
			}
			d := tenant.DigestOf(secret)
			keys = append(keys, key{name, d, tenants.ByKey(d)})
		}
	}
	return keys
}

// credentialIn returns the key or token in a header's value, empty without one.
func credentialIn(header, value string) string {
	if http.CanonicalHeaderKey(header) == headerAuthorization {
		return bearer(value)
	}
	return value
}

// bearer returns the token of an Authorization header of that scheme.
func bearer(value string) string {
	scheme, token, _ := strings.Cut(value, " ")
	if !strings.EqualFold(scheme, "Bearer") {
		return ""
	}
	return strings.TrimSpace(token)
}

// keysOf returns the keys of this tenant, and the headers that hold them.
func keysOf(keys []key, t *tenant.Tenant) (headers []string, digests []tenant.Digest) {
	for _, k := range keys {
		if k.owner == t {
			headers = append(headers, k.header)
			digests = append(digests, k.digest)
		}
	}
	return headers, digests
}
