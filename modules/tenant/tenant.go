// Package tenant holds the tenants: who they are, how they are found, and what
// each of them may do. It knows nothing of HTTP or Caddy.
package tenant

import (
	"fmt"
	"regexp"
	"slices"
	"time"

	"github.com/caddy-chat/caddy-chat/modules/limit"
)

// DefaultID is the tenant of a site that does not configure any.
const DefaultID = "default"

var idPattern = regexp.MustCompile(`^[a-z0-9][a-z0-9_-]{0,62}$`)

// ValidID says whether id is a valid tenant id.
func ValidID(id string) bool { return idPattern.MatchString(id) }

// Tenant is one tenant, checked and ready for use. It does not change once it
// is in a Registry.
type Tenant struct {
	ID string

	// Hosts are the host names that belong to this tenant, in lower case. The
	// first label may be *, which stands for exactly one label.
	Hosts []string

	// Keys are the digests of the tenant's API keys. A tenant with keys can
	// only be used with one of them.
	Keys []Digest

	// Origins are those whose pages may read the tenant's answers.
	Origins Origins

	// Model is the tenant's default model; empty for the gateway's.
	Model string

	// Models are the only models the tenant may use; empty for all.
	Models []string

	Requests   []limit.Rule
	Burst      []limit.Rule
	Tokens     []limit.Rule
	Concurrent []limit.Rule

	Budgets []Budget

	// Retention is how long messages are kept; zero for the handler's setting.
	Retention time.Duration

	// MaxMessages is how many messages a session keeps; zero for the handler's
	// setting.
	MaxMessages int

	// System is the system prompt; empty for the handler's.
	System string

	// Credentials are the tenant's own keys, by the provider's name.
	Credentials map[string]string

	Metadata map[string]string

	// Origin is where the tenant was configured, for error messages.
	Origin string

	// PlainKeys says that the tenant's file has a key in plain text.
	PlainKeys bool
}

// MayUse says whether a model is on the tenant's allow list.
func (t *Tenant) MayUse(model string) bool {
	return len(t.Models) == 0 || slices.Contains(t.Models, model)
}

// Limits are rules of all kinds that apply together.
type Limits struct {
	Requests   []limit.Rule
	Burst      []limit.Rule
	Tokens     []limit.Rule
	Concurrent []limit.Rule
}

// Limits returns the tenant's own.
func (t *Tenant) Limits() Limits {
	return Limits{t.Requests, t.Burst, t.Tokens, t.Concurrent}
}

// Any says whether there is any limit.
func (l Limits) Any() bool {
	return len(l.Requests)+len(l.Burst)+len(l.Tokens)+len(l.Concurrent) > 0
}

// Registry finds tenants. It does not change: a new set of tenants is a new
// Registry.
type Registry struct {
	list  []*Tenant
	byID  map[string]*Tenant
	byKey map[Digest]*Tenant
	hosts map[string]*Tenant

	origins Origins
}

// NewRegistry makes a registry of these tenants. If two tenants share an id, a
// host or a key, the error names both places.
func NewRegistry(list []*Tenant) (*Registry, error) {
	b := NewBuilder(len(list))
	for _, t := range list {
		if err := b.Add(t); err != nil {
			return nil, err
		}
	}
	return b.Registry(), nil
}

// Builder makes a registry, one tenant after the other.
type Builder struct{ g *Registry }

// NewBuilder returns a builder for about this many tenants.
func NewBuilder(size int) *Builder {
	return &Builder{&Registry{
		list:  make([]*Tenant, 0, size),
		byID:  make(map[string]*Tenant, size),
		byKey: make(map[Digest]*Tenant),
		hosts: make(map[string]*Tenant),
	}}
}

// Add adds a tenant. If an earlier one has its id, one of its hosts or one of
// its keys, nothing is added, and the error names both places.
func (b *Builder) Add(t *Tenant) error {
	if err := b.g.conflict(t); err != nil {
		return err
	}
	b.g.list = append(b.g.list, t)
	b.g.byID[t.ID] = t
	for _, h := range t.Hosts {
		b.g.hosts[h] = t
	}
	for _, k := range t.Keys {
		b.g.byKey[k] = t
	}
	b.g.origins.merge(t.Origins)
	return nil
}

// Registry returns the registry. The builder must not be used after that.
func (b *Builder) Registry() *Registry { return b.g }

func (g *Registry) conflict(t *Tenant) error {
	if !ValidID(t.ID) {
		return t.errorf("want an id of 1 to 63 of a-z, 0-9, _ and -, beginning with a letter or digit, not %q", t.ID)
	}
	if other, ok := g.byID[t.ID]; ok {
		return t.errorf("this id is taken%s", other.at())
	}
	for _, h := range t.Hosts {
		if other, ok := g.hosts[h]; ok {
			return t.errorf("host %s belongs to tenant %s already%s", h, other.ID, other.at())
		}
	}
	for _, k := range t.Keys {
		if other, ok := g.byKey[k]; ok {
			return t.errorf("api key sha256:%s… belongs to tenant %s already%s", k.String()[:8], other.ID, other.at())
		}
	}
	return nil
}

func (t *Tenant) errorf(format string, args ...any) error {
	where := ""
	if t.Origin != "" {
		where = t.Origin + ": "
	}
	return fmt.Errorf("%stenant %s: %s", where, t.ID, fmt.Sprintf(format, args...))
}

func (t *Tenant) at() string {
	if t.Origin == "" {
		return ""
	}
	return " (" + t.Origin + ")"
}

// All returns the tenants in the order of their configuration.
func (g *Registry) All() []*Tenant { return g.list }

// IsDefault says whether no tenant is configured, so that every request belongs
// to the default one.
func (g *Registry) IsDefault() bool {
	return len(g.list) == 1 && g.list[0].ID == DefaultID && g.list[0].Origin == ""
}

// Origins returns the origins of all tenants together.
func (g *Registry) Origins() Origins { return g.origins }

// ByID finds a tenant by its id; nil if there is none.
func (g *Registry) ByID(id string) *Tenant { return g.byID[id] }

// Admits says whether a tenant still exists and still has one of these keys, by
// which a request was let in. Without keys the tenant alone counts.
func (g *Registry) Admits(id string, keys []Digest) bool {
	t := g.byID[id]
	if t == nil || len(keys) == 0 {
		return t != nil
	}
	return slices.ContainsFunc(keys, func(k Digest) bool { return g.byKey[k] == t })
}

// ByKey finds the tenant whose key has this digest; nil if there is none.
func (g *Registry) ByKey(d Digest) *Tenant { return g.byKey[d] }

// ByHost finds the tenant that a host name belongs to; nil if there is none.
// The host may carry a port. An exact name wins over a wildcard.
func (g *Registry) ByHost(host string) *Tenant {
	name := normalizeHost(host)
	if t, ok := g.hosts[name]; ok {
		return t
	}
	if wild, ok := wildcardOf(name); ok {
		return g.hosts[wild]
	}
	return nil
}
