package limit

import (
	"context"
	"fmt"
	"math/rand/v2"
	"runtime"
	"testing"
	"time"

	"github.com/caddy-chat/caddy-chat/modules/store"
)

func BenchmarkTake(b *testing.B) {
	windows := []store.Window{window(60, time.Minute), window(20, 10*time.Second)}
	run := func(b *testing.B, m *Memory, takes []store.Take) {
		if _, _, err := m.Take(context.Background(), "acme", takes); err != nil {
			b.Fatal(err)
		}
	}
	names := make([]string, 100_000)
	for i := range names {
		names[i] = fmt.Sprint("user:", i)
	}

	b.Run("hot key refused", func(b *testing.B) {
		m := NewMemory(MemoryOptions{})
		takes := one("u", windows...)
		b.ReportAllocs()
		for b.Loop() {
			run(b, m, takes)
		}
	})
	b.Run("hot key granted", func(b *testing.B) {
		c := newClock()
		m := NewMemory(MemoryOptions{Now: c.now})
		takes := one("u", windows...)
		b.ReportAllocs()
		for b.Loop() {
			c.advance(time.Second)
			run(b, m, takes)
		}
	})
	b.Run("limit of a million", func(b *testing.B) {
		m := NewMemory(MemoryOptions{})
		takes := one("u", window(1_000_000, time.Second))
		b.ReportAllocs()
		for b.Loop() {
			run(b, m, takes)
		}
	})
	b.Run("user and tenant", func(b *testing.B) {
		m := NewMemory(MemoryOptions{})
		takes := append(one("u", windows...), one("tenant", window(1000, time.Minute))...)
		b.ReportAllocs()
		for b.Loop() {
			run(b, m, takes)
		}
	})
	b.Run("many keys", func(b *testing.B) {
		m := NewMemory(MemoryOptions{})
		i := 0
		b.ReportAllocs()
		for b.Loop() {
			run(b, m, one(names[i%len(names)], windows...))
			i++
		}
	})
	b.Run("always a new key", func(b *testing.B) {
		c := newClock()
		m := NewMemory(MemoryOptions{Now: c.now})
		i := 0
		b.ReportAllocs()
		for b.Loop() {
			c.advance(time.Millisecond)
			run(b, m, one(fmt.Sprint(i), windows...))
			i++
		}
	})
	b.Run("many keys in parallel", func(b *testing.B) {
		m := NewMemory(MemoryOptions{})
		b.ReportAllocs()
		b.RunParallel(func(pb *testing.PB) {
			i := rand.IntN(len(names))
			for pb.Next() {
				run(b, m, one(names[i%len(names)], windows...))
				i++
			}
		})
	})
}

// BenchmarkKeySize measures what Memory's comment says.
func BenchmarkKeySize(b *testing.B) {
	for _, events := range []int{1, 60} {
		b.Run(fmt.Sprint(events, " events"), func(b *testing.B) {
			const n = 200_000
			heap := func() float64 {
				runtime.GC()
				var ms runtime.MemStats
				runtime.ReadMemStats(&ms)
				return float64(ms.HeapAlloc)
			}
			for b.Loop() {
				before := heap()
				m := NewMemory(MemoryOptions{})
				for i := range n {
					takes := one(fmt.Sprintf("user:%011d", i), window(60, time.Hour))
					for range events {
						if _, _, err := m.Take(context.Background(), "acme", takes); err != nil {
							b.Fatal(err)
						}
					}
				}
				b.ReportMetric((heap()-before)/n, "B/key")
				runtime.KeepAlive(m)
			}
		})
	}
}
