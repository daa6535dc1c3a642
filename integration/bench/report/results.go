// Package report turns what was measured into tables and a chart.
package report

import (
	"math"
	"slices"
)

// Figure is something that is measured.
type Figure struct {
	Key  string // under which samples have it
	Name string
	Unit string
}

// Sample holds the figures of one contender in one round, by their keys.
type Sample map[string]float64

// Results holds the samples of each contender, one a round.
type Results map[string][]Sample

// Add appends the sample of a contender's next round.
func (r Results) Add(name string, s Sample) {
	r[name] = append(r[name], s)
}

// values returns a figure of each round, NaN where a round has none.
func (r Results) values(name, key string) []float64 {
	values := make([]float64, len(r[name]))
	for i, s := range r[name] {
		v, ok := s[key]
		if !ok {
			v = math.NaN()
		}
		values[i] = v
	}
	return values
}

// Spread returns a figure of a contender over the rounds.
func (r Results) Spread(name, key string) Spread {
	return spreadOf(r.values(name, key))
}

// Ratio compares a figure of a contender with another's, round by round: what
// slows down a whole round leaves the ratio alone.
func (r Results) Ratio(name, base, key string) Spread {
	return r.RatioTo(r, name, base, key)
}

// RatioTo is Ratio to a contender of other results, measured in the same
// rounds.
func (r Results) RatioTo(other Results, name, base, key string) Spread {
	values, bases := r.values(name, key), other.values(base, key)
	ratios := make([]float64, min(len(values), len(bases)))
	for i := range ratios {
		ratios[i] = values[i] / bases[i]
	}
	return spreadOf(ratios)
}

// Spread is a figure over several rounds. It is NaN where nothing was
// measured.
type Spread struct {
	Median, Min, Max float64
}

// Known tells whether there is anything.
func (s Spread) Known() bool { return !math.IsNaN(s.Median) }

// spreadOf ignores what is no number: a round without the figure, and a ratio
// to 0.
func spreadOf(values []float64) Spread {
	values = slices.DeleteFunc(slices.Clone(values), func(v float64) bool {
		return math.IsNaN(v) || math.IsInf(v, 0)
	})
	n := len(values)
	if n == 0 {
		return Spread{math.NaN(), math.NaN(), math.NaN()}
	}
	slices.Sort(values)
	return Spread{(values[(n-1)/2] + values[n/2]) / 2, values[0], values[n-1]}
}
