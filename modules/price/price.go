// Package price knows what models cost, and which of them reason. Its figures
// are a file with a date, a source and a licence, made by generate.mjs; the
// price that an operator gives wins over them.
package price

import (
	"cmp"

	"github.com/caddy-chat/caddy-chat/modules/provider"
)

// Price is what a million tokens cost, in US dollars.
type Price struct {
	Input  float64
	Output float64

	// Cached is the price of input that the provider had cached; 0 where it is
	// not known, and Input counts.
	Cached float64

	// Written and ForAnHour are the prices of input that the provider writes to its
	// cache, and of input that it keeps there for an hour; 0 if there is no such
	// price, and Input or Written counts.
	Written   float64
	ForAnHour float64

	// Long is the price of a call with more than LongAbove input tokens; nil
	// where that costs the same.
	Long      *Price
	LongAbove int64
}

// Cost is what a call costs, in US dollars.
func (p Price) Cost(u provider.Usage) float64 {
	if p.Long != nil && u.Input > p.LongAbove {
		p = *p.Long
	}
	written := cmp.Or(p.Written, p.Input)
	return rounded((float64(u.Input-u.Cached-u.Written)*p.Input +
		float64(u.Cached)*cmp.Or(p.Cached, p.Input) +
		float64(u.Written-u.ForAnHour)*written +
		float64(u.ForAnHour)*cmp.Or(p.ForAnHour, written) +
		float64(u.Output)*p.Output) / 1e6)
}
