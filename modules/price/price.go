// Package price knows what models cost, and which of them reason. Its figures
// are a file with a date, a source and a licence, made by generate.mjs; the
// price that an operator gives wins over them.
package price

import "github.com/caddy-chat/caddy-chat/modules/provider"

// Price is what a million tokens cost, in US dollars.
type Price struct {
	Input  float64
	Output float64

	// Cached is the price of input that the provider had cached; 0 where it is
	// not known, and Input counts.
	Cached float64

	// Long is the price of a call with more than LongAbove input tokens; nil
	// where that costs the same.
	Long      *Price
	LongAbove int64
}

// Cost is what a call costs, in US dollars. What it takes to write a
// provider's cache is not counted apart: usage does not say.
func (p Price) Cost(u provider.Usage) float64 {
	if p.Long != nil && u.Input > p.LongAbove {
		p = *p.Long
	}
	cached := p.Cached
	if cached == 0 {
		cached = p.Input
	}
	fresh := float64(u.Input - u.Cached)
	return rounded((fresh*p.Input + float64(u.Cached)*cached + float64(u.Output)*p.Output) / 1e6)
}
