// Package route holds the models and their targets. It knows nothing of HTTP or
// Caddy.
package route

import (
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/caddy-chat/caddy-chat/modules/price"
)

// Passthrough is the label of a model that has no alias.
const Passthrough = "passthrough"

// AllProviders lets the models of every provider pass through.
const AllProviders = "*"

var (
	// errUnknown says that there is no such model.
	errUnknown = errors.New("no such model")

	// ErrNotAllowed says that a model is not on the allow list.
	ErrNotAllowed = errors.New("model is not on the allow list")

	// ErrNone says that no model was named.
	ErrNone = errors.New("no model is named")
)

// Alias is a model's name here, and the targets behind it.
type Alias struct {
	Name    string
	Targets []Weighted   // at least one
	Policy  string       // empty for policyFirst
	Price   *price.Price // nil if the operator set none
}

// Choice is where a request goes.
type Choice struct {
	Name    string       // the model's name in the request
	Label   string       // the alias, or Passthrough
	Primary Target       // the first configured one
	Price   *price.Price // nil if the operator set none

	balancer *balancer
	branches []branch
}

// Order returns the targets in the order in which a request should try them.
// There is at least one.
func (c *Choice) Order(now time.Time) []Hop { return c.balancer.order(c.branches, now) }

// Fallback returns the second configured target, if there is one that may be
// used.
func (c *Choice) Fallback() (Target, bool) {
	if len(c.branches) < 2 {
		return Target{}, false
	}
	return c.branches[1].Target, true
}

// Circuit configures the circuit breakers.
type Circuit struct {
	Failures int // in a row; 0 for no breaker
	Pause    time.Duration
}

// Table holds the models of one gateway.
type Table struct {
	aliases     []Alias
	byName      map[string]*entry
	primaries   map[Target][]string // the aliases whose first target it is
	states      map[Target]*State
	loose       *looseStates // of names without an alias
	keys        *keyring
	providers   []string
	passthrough []string
	fallback    string // the default model
}

// entry is an alias that is ready for use.
type entry struct {
	Alias
	balancer balancer
	branches []branch
}

// NewTable makes a table. It checks that aliases and passthrough name existing
// providers, and that the default model is one of the aliases. Without aliases,
// the models are a single provider's own. An empty default stands for the first
// alias.
func NewTable(aliases []Alias, providers, passthrough []string, defaultModel string, circuit Circuit) (*Table, error) {
	t := &Table{
		aliases:     aliases,
		byName:      make(map[string]*entry),
		primaries:   make(map[Target][]string),
		states:      make(map[Target]*State),
		loose:       &looseStates{circuit: circuit, byTarget: make(map[Target]*State)},
		keys:        &keyring{circuit: circuit, breakers: make(map[scope]*Breaker)},
		providers:   providers,
		passthrough: passthrough,
		fallback:    defaultModel,
	}
	for _, p := range providers {
		if err := CheckProvider(p); err != nil {
			return nil, err
		}
	}
	for _, a := range aliases {
		if err := t.add(a, circuit); err != nil {
			return nil, fmt.Errorf("model %s: %w", a.Name, err)
		}
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

func (t *Table) add(a Alias, circuit Circuit) error {
	if _, ok := t.byName[a.Name]; ok {
		return errors.New("defined twice")
	}
	if err := CheckAlias(a.Name); err != nil {
		return err
	}
	if len(a.Targets) == 0 {
		return errors.New("want at least one target")
	}
	if err := CheckPolicy(a.Policy); err != nil {
		return err
	}
	e := &entry{Alias: a, balancer: balancer{policy: a.Policy}}
	for _, target := range a.Targets {
		if !slices.Contains(t.providers, target.Provider) {
			return fmt.Errorf("no provider is named %s", target.Provider)
		}
		if slices.ContainsFunc(e.branches, func(b branch) bool { return b.Target == target.Target }) {
			return fmt.Errorf("target %s: listed twice", target.Target)
		}
		state := t.states[target.Target]
		if state == nil {
			state = &State{Breaker: newBreaker(circuit.Failures, circuit.Pause)}
			t.states[target.Target] = state
		}
		e.branches = append(e.branches, branch{Hop{target.Target, state}, target.Weight})
	}
	first := a.Targets[0].Target
	t.primaries[first] = append(t.primaries[first], a.Name)
	t.byName[a.Name] = e
	return nil
}

// CheckAlias refuses the name that stands for models without an alias.
func CheckAlias(name string) error {
	if name == Passthrough {
		return errors.New("the name stands for models without one: want another")
	}
	return nil
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

// Default returns the model for requests that do not name one; empty if there
// is none.
func (t *Table) Default() string { return t.fallback }

// Resolve finds the targets of a model, see Find.
func (t *Table) Resolve(name string, mayUse func(string) bool) (Choice, error) {
	target, label, err := t.Find(name, mayUse)
	if err != nil {
		return Choice{}, err
	}
	if label == Passthrough {
		return t.loosely(name, target), nil
	}
	e := t.byName[name]
	return Choice{name, name, target, e.Price, &e.balancer, t.usable(e, mayUse)}, nil
}

// Find returns the first target of a model, and its label. It calls mayUse with the
// name in the request first, so that the answer does not reveal whether a
// forbidden model exists.
func (t *Table) Find(name string, mayUse func(string) bool) (first Target, label string, err error) {
	if name == "" {
		return first, "", ErrNone
	}
	if !mayUse(name) {
		return first, "", ErrNotAllowed
	}
	if e, ok := t.byName[name]; ok {
		return e.Targets[0].Target, name, nil
	}
	if target, err := parseTarget(name); err == nil && t.passes(target.Provider) {
		return target, Passthrough, nil
	}
	if len(t.aliases) == 0 && len(t.providers) == 1 {
		return Target{t.providers[0], name}, Passthrough, nil
	}
	return first, "", errUnknown
}

// loosely returns the choice of a name without an alias.
func (t *Table) loosely(name string, target Target) Choice {
	state := t.states[target]
	if state == nil {
		state = t.loose.of(target)
	}
	hop := Hop{target, state}
	return Choice{name, Passthrough, target, nil, new(balancer), []branch{{hop, 1}}}
}

// ownDefault stands for the model that a provider takes if a request names none.
const ownDefault = "(default)"

// Unnamed returns the choice of a request whose model is up to a provider.
func (t *Table) Unnamed(provider string) Choice {
	target := Target{provider, ownDefault}
	return t.loosely(target.String(), target)
}

// usable leaves out fallbacks that are another model's first target if that
// model may not be used. Otherwise the failure of one model would give access
// to another.
func (t *Table) usable(e *entry, mayUse func(string) bool) []branch {
	list := e.branches[:1:1]
	for _, b := range e.branches[1:] {
		others := t.primaries[b.Target]
		if len(others) == 0 || slices.ContainsFunc(others, mayUse) || mayUse(b.Target.String()) {
			list = append(list, b)
		}
	}
	return list
}

// Circuits returns the worst state among each provider's targets and the key that
// keyOf returns for the provider.
func (t *Table) Circuits(now time.Time, keyOf func(provider string) Key) map[string]CircuitState {
	worst := make(map[string]CircuitState)
	for _, p := range t.providers {
		worst[p] = Closed
	}
	note := func(target Target, s *State) {
		worst[target.Provider] = worse(worst[target.Provider], s.Breaker.State(now))
	}
	for target, s := range t.states {
		note(target, s)
	}
	t.loose.each(note)
	t.keys.each(now, func(s scope, state CircuitState) {
		if s.Key == keyOf(s.Provider) {
			worst[s.Provider] = worse(worst[s.Provider], state)
		}
	})
	return worst
}

// Report tells for each provider and model, an alias or Passthrough, whether a
// circuit between the two is not closed, the one of the gateway's own key included.
// It may tell more than once.
func (t *Table) Report(now time.Time, tell func(provider, model string, open bool)) {
	for _, p := range t.providers {
		if len(t.aliases) == 0 || t.passes(p) {
			tell(p, Passthrough, t.KeyState(Key{Provider: p}, "", now) != Closed)
		}
	}
	t.loose.each(func(target Target, s *State) {
		tell(target.Provider, Passthrough, t.state(target, s, now) != Closed)
	})
	for _, e := range t.byName {
		for _, b := range e.branches {
			tell(b.Target.Provider, e.Name, t.state(b.Target, b.State, now) != Closed)
		}
	}
}

// state returns the worse state of a target's circuit and of the gateway's key for
// it.
func (t *Table) state(target Target, s *State, now time.Time) CircuitState {
	return worse(s.Breaker.State(now), t.KeyState(Key{Provider: target.Provider}, target.Model, now))
}

// Prefix is what precedes a provider's own model names where they need no alias.
type Prefix struct {
	Provider string
	Before   string // empty, or the provider's name and a slash
}

// Prefixes returns the providers whose model names need no alias.
func (t *Table) Prefixes() []Prefix {
	if len(t.aliases) == 0 && len(t.providers) == 1 {
		return []Prefix{{t.providers[0], ""}}
	}
	var list []Prefix
	for _, p := range t.providers {
		if t.passes(p) {
			list = append(list, Prefix{p, p + "/"})
		}
	}
	return list
}

func (t *Table) passes(provider string) bool {
	if !slices.Contains(t.providers, provider) {
		return false
	}
	return slices.Contains(t.passthrough, AllProviders) || slices.Contains(t.passthrough, provider)
}

// List returns the models that can be listed and used, in the order of their
// definition: the aliases, and those names without an alias that the
// configuration mentions.
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
