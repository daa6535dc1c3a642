package route

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"
	"unicode"
)

// Target is a model of one provider, by the provider's own name.
type Target struct {
	Provider string
	Model    string
}

func (t Target) String() string { return t.Provider + "/" + t.Model }

// parseTarget parses <provider>/<upstream model>. The model may contain
// slashes.
func parseTarget(s string) (Target, error) {
	p, m, ok := strings.Cut(s, "/")
	if !ok || p == "" || m == "" {
		return Target{}, fmt.Errorf("target %q: want <provider>/<upstream model>, such as openai/gpt-4o-mini", s)
	}
	return Target{p, m}, nil
}

// CheckProvider checks a provider's name, which precedes the slash of its
// targets.
func CheckProvider(name string) error {
	odd := func(r rune) bool { return r == '/' || unicode.IsSpace(r) || !unicode.IsPrint(r) }
	if name == "" || name == AllProviders || strings.ContainsFunc(name, odd) {
		return fmt.Errorf("provider %q: want a name without slashes and white space, such as local", name)
	}
	return nil
}

// Weighted is a target and its share of the requests under weighted_random.
type Weighted struct {
	Target
	Weight int // 1 by default
}

const maxWeight = 1_000_000

// ParseWeighted parses "<provider>/<upstream model> [<weight>]".
func ParseWeighted(s string) (Weighted, error) {
	name, weight, weighted := strings.Cut(strings.TrimSpace(s), " ")
	t, err := parseTarget(name)
	if err != nil || !weighted {
		return Weighted{t, 1}, err
	}
	n, err := strconv.Atoi(strings.TrimSpace(weight))
	if err != nil || n < 1 || n > maxWeight {
		return Weighted{}, fmt.Errorf("target %s: weight %q: want a whole number from 1 to %d", t, weight, maxWeight)
	}
	return Weighted{t, n}, nil
}

// State is what the calls to a target have shown of it. It is safe for
// concurrent use.
type State struct {
	Breaker *Breaker

	calls   atomic.Int64 // in flight
	latency latency
	omitted atomic.Pointer[[]string]
}

// Begin counts a call as in flight until end is called.
func (s *State) Begin() (end func()) {
	s.calls.Add(1)
	return func() { s.calls.Add(-1) }
}

// Omitted returns the members of a request that the target refuses, among those
// that the gateway adds.
func (s *State) Omitted() []string {
	if names := s.omitted.Load(); names != nil {
		return *names
	}
	return nil
}

// Omit remembers that the target refuses these members, for as long as its state is
// kept.
func (s *State) Omit(names []string) {
	all := slices.Concat(s.Omitted(), names)
	slices.Sort(all)
	all = slices.Compact(all)
	s.omitted.Store(&all)
}

// FirstToken records how long a call took to its first token.
func (s *State) FirstToken(now time.Time, took time.Duration) { s.latency.observe(now, took) }

// cost is the price of one more call: the time to the first token, multiplied
// by the calls in flight. A target without measurements costs nothing for its
// first call, and more than any other for a second one.
func (s *State) cost(now time.Time) float64 {
	const unknown = 1e6
	calls := float64(s.calls.Load())
	average := s.latency.now(now)
	if average == 0 && calls > 0 {
		return unknown + calls
	}
	return average * (calls + 1)
}

// Hop is one of the targets that a request may try, in order.
type Hop struct {
	Target
	*State
}

// maxLoose bounds how many targets without an alias are remembered, because
// clients choose their names.
const maxLoose = 1000

// looseStates are the states of targets without an alias.
type looseStates struct {
	circuit Circuit

	mu       sync.Mutex
	byTarget map[Target]*State
}

// of finds or makes the state of a target. If there are too many, it forgets
// those without a call in flight, open circuits included.
func (l *looseStates) of(t Target) *State {
	l.mu.Lock()
	defer l.mu.Unlock()
	if s := l.byTarget[t]; s != nil {
		return s
	}
	if len(l.byTarget) >= maxLoose {
		maps.DeleteFunc(l.byTarget, func(_ Target, s *State) bool { return s.calls.Load() == 0 })
	}
	s := &State{Breaker: newBreaker(l.circuit.Failures, l.circuit.Pause)}
	l.byTarget[t] = s
	return s
}

func (l *looseStates) each(do func(Target, *State)) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for t, s := range l.byTarget {
		do(t, s)
	}
}
