package tenantresolve

import (
	"net/http"
	"slices"
	"strings"

	"github.com/caddy-chat/caddy-chat/modules/apierror"
	"github.com/caddy-chat/caddy-chat/modules/record"
	"github.com/caddy-chat/caddy-chat/modules/tenant"
)

var defaultKeyHeaders = []string{"Authorization", "X-Api-Key"}

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
func (h *Handler) resolve(r *http.Request) (found, error) {
	tenants := h.app.Tenancy()
	keys := readKeys(r.Header, h.keyHeaders(), tenants)
	claims := h.claims(r, tenants, keys)

	if len(claims) == 0 {
		return found{}, h.unnamed(keys)
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
	f := found{tenant: t, source: first.source, used: headersOf(keys, t)}
	if len(t.Keys) > 0 && len(f.used) == 0 {
		return found{}, apierror.InvalidAPIKey()
	}
	return f, nil
}

// claims returns what the sources say, in their order.
func (h *Handler) claims(r *http.Request, tenants *tenant.Registry, keys []key) []claim {
	var list []claim
	if h.Tenant != "" {
		list = append(list, claim{id: h.Tenant})
	}
	for _, s := range h.From {
		for _, id := range s.names(r, tenants, keys) {
			list = append(list, claim{id, s.Type})
		}
	}
	if len(list) == 0 && tenants.IsDefault() && !h.credentialsOnly() {
		list = append(list, claim{id: tenant.DefaultID})
	}
	return list
}

// names returns the ids that one source names.
func (s Source) names(r *http.Request, tenants *tenant.Registry, keys []key) []string {
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
	}
	return ids
}

// unnamed is the answer to a request that names no tenant.
func (h *Handler) unnamed(keys []key) error {
	if h.Optional {
		return nil
	}
	if h.looksAt(record.SourceAPIKey) && len(keys) > 0 {
		return apierror.InvalidAPIKey()
	}
	if h.credentialsOnly() {
		return apierror.InvalidAPIKey()
	}
	return apierror.TenantRequired()
}

// credentialsOnly says whether nothing but a credential names a tenant here.
func (h *Handler) credentialsOnly() bool {
	return len(h.From) == 1 && h.looksAt(record.SourceAPIKey)
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
			secret := value
			if http.CanonicalHeaderKey(name) == "Authorization" {
				secret = bearer(value)
			}
			if secret == "" {
				continue
			}
			d := tenant.DigestOf(secret)
			keys = append(keys, key{name, d, tenants.ByKey(d)})
		}
	}
	return keys
}

// bearer returns the token of an Authorization header of that scheme.
func bearer(value string) string {
	scheme, token, _ := strings.Cut(value, " ")
	if !strings.EqualFold(scheme, "Bearer") {
		return ""
	}
	return strings.TrimSpace(token)
}

// headersOf returns the headers that hold a key of this tenant.
func headersOf(keys []key, t *tenant.Tenant) []string {
	var names []string
	for _, k := range keys {
		if k.owner == t {
			names = append(names, k.header)
		}
	}
	return names
}
