package budget

import (
	"strconv"
	"testing"

	"github.com/caddy-chat/caddy-chat/modules/price"
)

// BenchmarkUsed is what a chunk of a stream costs, on average over an answer
// of 1,000 tokens: most find room in what is held.
func BenchmarkUsed(b *testing.B) {
	for name, budgets := range map[string]string{
		"tokens":             "1000000000000 tokens/day",
		"tokens and dollars": "1000000000000 tokens/day 1000000 usd/month",
	} {
		b.Run(name, func(b *testing.B) {
			book, ledger, who := NewBook(nil), newMemory(), acme(b, budgets)
			b.ReportAllocs()
			ctx := b.Context()
			var h *Hold
			out, id := int64(1000), 0
			for b.Loop() {
				if out++; out > 1000 {
					must(b, h.Release(ctx))
					id, out = id+1, 1
					var err error
					h, err = book.Open(ctx, ledger, Admission{ID: strconv.Itoa(id), Tenant: who, Model: "fast", Price: price.Price{Input: 1, Output: 2}, Input: 100})
					must(b, err)
				}
				if err := h.Used(ctx, tokens(100, out)); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// BenchmarkCall is what a call costs that stays within what it reserved, with
// the lease kept.
func BenchmarkCall(b *testing.B) {
	ledger, who := newMemory(), acme(b, "1000000000000 tokens/day 1000000 usd/month")
	book, p, u := NewBook(DefaultWarnAt), price.Price{Input: 1, Output: 2}, tokens(100, 64)
	b.ReportAllocs()
	ctx := b.Context()
	for id := 0; b.Loop(); id++ {
		h, err := book.Open(ctx, ledger, Admission{ID: strconv.Itoa(id), Tenant: who, Model: "fast", Price: p, Input: 100, OutputCap: 100})
		if err != nil {
			b.Fatal(err)
		}
		h.Keep(ctx)
		if _, err := h.Settle(ctx, u, p.Cost(u)); err != nil {
			b.Fatal(err)
		}
	}
}
