// Package route knows which models there are and where each of them goes. It
// knows nothing of HTTP or of Caddy.
package route

import (
	"errors"
	"fmt"
	"slices"
	"strings"
)

// Passthrough is the label of a model that has no alias.
const Passthrough = "passthrough"

// AllProviders lets names of every provider pass through.
const AllProviders = "*"

var (
	// ErrUnknown says that there is no such model.
	ErrUnknown = errors.New("no such model")

	// ErrNotAllowed says that a model is not on the allow list.
	ErrNotAllowed = errors.New("model is not on the allow list")

	// ErrNone says that nobody named a model.
	ErrNone = errors.New("no model is named")
)

// Target is a model of one provider, by the provider's own name.
type Target struct {
	Provider string
	Model    string
}

// ParseTarget reads <provider>/<upstream model>; the model may have slashes
// of its own.
func ParseTarget(s string) (Target, error) {
	p, m, ok := strings.Cut(s, "/")
	if !ok || p == "" || m == "" {
		return Target{}, fmt.Errorf("target %q: want <provider>/<upstream model>, such as openai/gpt-4o-mini", s)
	}
	return Target{p, m}, nil
}

// Price is what a million tokens cost, in US dollars.
type Price struct {
	Input  float64
	Output float64
}

// Cost is what so many tokens cost, in US dollars.
func (p Price) Cost(input, output int64) float64 {
	return (float64(input)*p.Input + float64(output)*p.Output) / 1e6
}

// Alias is a model's name here and the target behind it.
type Alias struct {
	Name   string
	Target Target
	Price  Price
}

// Choice is where a request goes.
type Choice struct {
	Name   string // the model by the name it was asked for
	Label  string // the alias, or Passthrough
	Target Target
	Price  Price
}

// Table is the models of one gateway.
type Table struct {
	aliases     []Alias
	byName      map[string]Alias
	providers   []string
	passthrough []string
	fallback    string // the default model
}

// NewTable checks that aliases and passthrough name providers that there
// are, and that the default model is one of the aliases. Without any alias,
// a single provider's own names are the models. An empty default is the first
// alias.
func NewTable(aliases []Alias, providers, passthrough []string, defaultModel string) (*Table, error) {
	t := &Table{
		aliases:     aliases,
		byName:      make(map[string]Alias),
		providers:   providers,
		passthrough: passthrough,
		fallback:    defaultModel,
	}
	for _, a := range aliases {
		if _, ok := t.byName[a.Name]; ok {
			return nil, fmt.Errorf("model %s: defined twice", a.Name)
		}
		if !slices.Contains(providers, a.Target.Provider) {
			return nil, fmt.Errorf("model %s: no provider is named %s", a.Name, a.Target.Provider)
		}
		t.byName[a.Name] = a
	}
	for _, p := range passthrough {
		if p != AllProviders && !slices.Contains(providers, p) {
			return nil, fmt.Errorf("passthrough: no provider is named %s", p)
		}
	}
	if len(aliases) == 0 && len(passthrough) == 0 && len(providers) > 1 {
		return nil, errors.New("several providers and no model: add model blocks or passthrough")
	}
	if t.fallback == "" && len(aliases) > 0 {
		t.fallback = aliases[0].Name
	}
	return t, nil
}

// Check says whether a model that the configuration names can be resolved.
func (t *Table) Check(name string) error {
	if name == "" {
		return nil
	}
	if _, err := t.Resolve(name, allowAll); err != nil {
		return fmt.Errorf("model %s: %w", name, err)
	}
	return nil
}

func allowAll(string) bool { return true }

// Default is the model of a request for which nobody names one; empty where
// there is none.
func (t *Table) Default() string { return t.fallback }

// Resolve finds where a model goes. mayUse is asked by the name it was asked
// for, before it is said whether there is such a model.
func (t *Table) Resolve(name string, mayUse func(string) bool) (Choice, error) {
	if name == "" {
		return Choice{}, ErrNone
	}
	if !mayUse(name) {
		return Choice{}, ErrNotAllowed
	}
	if a, ok := t.byName[name]; ok {
		return Choice{name, name, a.Target, a.Price}, nil
	}
	if target, err := ParseTarget(name); err == nil && t.passes(target.Provider) {
		return Choice{name, Passthrough, target, Price{}}, nil
	}
	if len(t.aliases) == 0 && len(t.providers) == 1 {
		return Choice{name, Passthrough, Target{t.providers[0], name}, Price{}}, nil
	}
	return Choice{}, ErrUnknown
}

func (t *Table) passes(provider string) bool {
	if !slices.Contains(t.providers, provider) {
		return false
	}
	return slices.Contains(t.passthrough, AllProviders) || slices.Contains(t.passthrough, provider)
}

// List returns the models that can be listed and used, in the order they
// were defined in: the aliases, and of the names without one those that the
// configuration gives.
func (t *Table) List(named []string, mayUse func(string) bool) []Choice {
	var names []string
	for _, a := range t.aliases {
		names = append(names, a.Name)
	}
	names = append(names, t.fallback)
	names = append(names, named...)

	var list []Choice
	seen := make(map[string]bool)
	for _, name := range names {
		c, err := t.Resolve(name, mayUse)
		if err != nil || seen[name] {
			continue
		}
		seen[name] = true
		list = append(list, c)
	}
	return list
}
