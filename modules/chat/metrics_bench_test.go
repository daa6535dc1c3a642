package chat

import (
	"testing"
	"time"

	"github.com/caddy-chat/caddy-chat/modules/provider"
	"github.com/caddy-chat/caddy-chat/modules/record"
	"github.com/caddy-chat/caddy-chat/modules/tenant"
)

// BenchmarkMetrics is what a streamed answer of a model costs in metrics.
func BenchmarkMetrics(b *testing.B) {
	a := storeAt(b, b.TempDir(), "")
	rec := &record.Record{Tenant: &tenant.Tenant{ID: "acme"}}
	c := record.Call{
		Model: "fast", Provider: "openai", Attempts: 1, TTFT: time.Second,
		Usage: provider.Usage{Input: 100, Output: 64, Cached: 20}, CostUSD: 0.001,
	}
	one := func() {
		done := a.OpenStream("acme")
		a.Attempted("openai", "fast", AttemptOK)
		a.Called("acme", "fast", "200", c, time.Second)
		a.SkippedChunks("openai", 0)
		a.count(rec, 200)
		done()
	}
	b.Run("one after another", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			one()
		}
	})
	b.Run("at once", func(b *testing.B) {
		b.ReportAllocs()
		b.RunParallel(func(pb *testing.PB) {
			for pb.Next() {
				one()
			}
		})
	})
}
