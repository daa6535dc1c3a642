// Package report turns what was measured into tables and a chart.
package report

import (
	"math"
	"slices"
)

// Figure is a measured quantity.
type Figure struct {
	Key  string // in samples
	Name string
	Unit string
}

// Sample holds the figures of one contender in one round, by their keys.
type Sample map[string]float64

// Results holds the samples of each contender, one per round.
type Results map[string][]Sample

// Add appends the sample of a contender's next round.
func (r Results) Add(name string, s Sample) {
	r[name] = append(r[name], s)
}

// values returns a figure of each round, NaN if a round does not have it.
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

// Ratio compares a figure of a contender with another's, round by round, so that a
// slow round does not change it.
func (r Results) Ratio(name, base, key string) Spread {
	return r.RatioTo(r, name, base, key)
}

// RatioTo is Ratio to a contender of other results from the same rounds.
func (r Results) RatioTo(other Results, name, base, key string) Spread {
	values, bases := r.values(name, key), other.values(base, key)
	ratios := make([]float64, min(len(values), len(bases)))
	for i := range ratios {
		ratios[i] = values[i] / bases[i]
	}
	return spreadOf(ratios)
}

// Spread is a figure over several rounds. It is NaN if nothing was measured.
type Spread struct {
	Median, Min, Max float64
}

// Known reports whether anything was measured.
func (s Spread) Known() bool { return !math.IsNaN(s.Median) }

// spreadOf ignores NaN and infinities: rounds without the figure, and ratios to 0.
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
