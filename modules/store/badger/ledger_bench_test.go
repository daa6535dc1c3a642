package badger

import (
	"context"
	"strconv"
	"sync/atomic"
	"testing"
	"time"

	"github.com/caddy-chat/caddy-chat/modules/store"
)

// benchBudgets are those of a tenant with a day's and a month's budget.
func benchBudgets(want store.Amount) []store.Budget {
	until := time.Date(2100, 1, 1, 0, 0, 0, 0, time.UTC)
	return []store.Budget{
		{Key: "tokens/day/2026-11-22", Limit: 1 << 60, Want: want, Until: until},
		{Key: "tokens/month/2026-11", Limit: 1 << 60, Want: want, Until: until},
	}
}

// BenchmarkLedger is what a call with a budget costs: Reserve and Settle.
func BenchmarkLedger(b *testing.B) {
	reserve, settle := benchBudgets(1000), benchBudgets(300)
	call := func(b *testing.B, d *db, tenant string, n int64) {
		id := strconv.FormatInt(n, 36)
		if _, err := d.Reserve(context.Background(), tenant, id, time.Minute, reserve); err != nil {
			b.Error(err)
		}
		if _, err := d.Settle(context.Background(), tenant, id, settle); err != nil {
			b.Error(err)
		}
	}
	b.Run("one after another", func(b *testing.B) {
		d := openAt(b, Badger{Path: b.TempDir()}, time.Now)
		b.ReportAllocs()
		for n := int64(0); b.Loop(); n++ {
			call(b, d, "acme", n)
		}
	})
	b.Run("at once", func(b *testing.B) {
		d := openAt(b, Badger{Path: b.TempDir()}, time.Now)
		b.ReportAllocs()
		var n atomic.Int64
		b.RunParallel(func(pb *testing.PB) {
			for pb.Next() {
				call(b, d, "acme", n.Add(1))
			}
		})
	})
	b.Run("at once, many tenants", func(b *testing.B) {
		d := openAt(b, Badger{Path: b.TempDir()}, time.Now)
		b.ReportAllocs()
		var n, workers atomic.Int64
		b.SetParallelism(8)
		b.RunParallel(func(pb *testing.PB) {
			tenant := strconv.FormatInt(workers.Add(1), 10)
			for pb.Next() {
				call(b, d, tenant, n.Add(1))
			}
		})
	})
}
