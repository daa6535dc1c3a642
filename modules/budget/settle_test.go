package budget

import (
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"github.com/caddy-chat/caddy-chat/modules/store"
)

func TestSettle(t *testing.T) {
	in(t, "counts once, and Release after it does nothing", func(t *testing.T) {
		d := newDesk(t, "1000 tokens/day")
		h := d.mustOpen(100, 200)
		d.settle(h, tokens(100, 50))
		if r := d.settle(h, tokens(100, 50)); len(r.Ratios) != 0 {
			t.Errorf("twice: %+v", r)
		}
		must(t, h.Release(t.Context()))
		must(t, h.Used(t.Context(), tokens(100, 60)))
		d.want(dayKey, 150, 0)
	})
	in(t, "Release costs nothing, and Settle after it does nothing", func(t *testing.T) {
		d := newDesk(t, "1000 tokens/day")
		h := d.mustOpen(100, 200)
		must(t, h.Release(t.Context()))
		must(t, h.Release(t.Context()))
		d.settle(h, tokens(100, 50))
		d.want(dayKey, 0, 0)
	})
	in(t, "after a failure it can be tried again, and Release does not forget it", func(t *testing.T) {
		d := newDesk(t, "1000 tokens/day")
		h := d.mustOpen(100, 200)
		d.ledger.fails(errDown)
		if _, err := h.Settle(t.Context(), tokens(1, 1), 0); !errors.Is(err, errDown) {
			t.Fatal(err)
		}
		d.ledger.fails(nil)
		must(t, h.Release(t.Context()))
		d.want(dayKey, 0, 300)
		d.settle(h, tokens(100, 50))
		d.want(dayKey, 150, 0)
	})
	in(t, "tells how much is used of the tightest budget of each period", func(t *testing.T) {
		d := newDesk(t, "1000 tokens/day 0.001 usd/day 10000 tokens/month")
		r := d.settle(d.mustOpen(100, 100), tokens(100, 100))
		day, month := time.Date(2000, 1, 2, 0, 0, 0, 0, time.UTC), time.Date(2000, 2, 1, 0, 0, 0, 0, time.UTC)
		if len(r.Ratios) != 2 || r.Ratios[0] != (Ratio{"day", 0.3, day, 2000}) || r.Ratios[1] != (Ratio{"month", 0.02, month, 10000}) {
			t.Errorf("got %+v", r.Ratios)
		}
	})
	in(t, "small calls are not free", func(t *testing.T) {
		d := newDesk(t, "1 usd/day")
		for range 10 {
			h := d.mustOpen(1, 1)
			_, err := h.Settle(t.Context(), tokens(1, 0), 0.00000015)
			must(t, err)
		}
		d.want(usdKey, 10, 0)
	})
}

func TestWarnings(t *testing.T) {
	in(t, "at each fraction once in a period", func(t *testing.T) {
		d := newDesk(t, "1000 tokens/day 2000 tokens/month")
		var got []string
		spend := func(n int64) {
			for _, w := range d.settle(d.mustOpen(0, n), tokens(0, n)).Warnings {
				got = append(got, fmt.Sprintf("%s %g %d/%d %s", w.Budget, w.Fraction, w.Used, w.Limit, w.Tenant))
			}
		}
		spend(799)
		spend(1)
		spend(199)
		spend(1)
		time.Sleep(24 * time.Hour)
		spend(1000)
		want := []string{
			"tokens/day 0.8 800/1000 acme", "tokens/day 1 1000/1000 acme",
			"tokens/day 0.8 1000/1000 acme", "tokens/day 1 1000/1000 acme", "tokens/month 0.8 2000/2000 acme", "tokens/month 1 2000/2000 acme",
		}
		if fmt.Sprint(got) != fmt.Sprint(want) {
			t.Errorf("got  %q\nwant %q", got, want)
		}
	})
	in(t, "one of many calls at once", func(t *testing.T) {
		d := newDesk(t, "1000 tokens/day")
		var holds []*Hold
		for range 100 {
			holds = append(holds, d.mustOpen(0, 10))
		}
		var mu sync.Mutex
		seen := make(map[float64]int)
		var wg sync.WaitGroup
		for _, h := range holds {
			wg.Go(func() {
				r, err := h.Settle(t.Context(), tokens(0, 10), 0)
				must(t, err)
				mu.Lock()
				defer mu.Unlock()
				for _, w := range r.Warnings {
					seen[w.Fraction]++
				}
			})
		}
		wg.Wait()
		if len(seen) != 2 || seen[0.8] != 1 || seen[1] != 1 {
			t.Errorf("got %v", seen)
		}
	})
}

func TestLearning(t *testing.T) {
	// what an answer without a cap reserves
	reserves := func(d *desk) store.Amount {
		h := d.mustOpen(0, 0)
		defer h.Release(d.Context())
		return d.ledger.of(dayKey).Held
	}
	in(t, "expects 1,000 until something is learnt", func(t *testing.T) {
		d := newDesk(t, "1000000 tokens/day")
		if n := reserves(d); n != 1000 {
			t.Errorf("got %d", n)
		}
		d.settle(d.mustOpen(0, 0), tokens(0, 200))
		if n := reserves(d); n != 600 {
			t.Errorf("got %d, want the mean and four deviations", n)
		}
		d.settle(d.mustOpen(0, 0), tokens(50, 200))
		for range 100 {
			d.settle(d.mustOpen(0, 0), tokens(0, 200))
		}
		if n := reserves(d); n < 200 || n > 210 {
			t.Errorf("of answers of 200 it expects %d", n)
		}
	})
	in(t, "is rarely passed by answers of different lengths", func(t *testing.T) {
		d := newDesk(t, "1000000000 tokens/month")
		d.acme = acme(t, "1000000000 tokens/day")
		passed := 0
		for i := range 2000 {
			out := 200 + int64(math.Abs(rand.NormFloat64())*150)
			if i > 50 && store.Amount(out) > reserves(d) {
				passed++
			}
			d.settle(d.mustOpen(0, 0), tokens(0, out))
		}
		if passed > 100 {
			t.Errorf("%d of 2,000 answers were longer than expected", passed)
		}
	})
	in(t, "learns nothing of what was cut or failed", func(t *testing.T) {
		d := newDesk(t, "100000 tokens/day")
		d.settle(d.mustOpen(0, 10), tokens(0, 10)) // by its cap
		d.settle(d.mustOpen(0, 0), tokens(0, 0))   // nothing came
		if n := reserves(d); n != 1000 {
			t.Errorf("it expects %d", n)
		}
	})
	in(t, "by tenant and model, and not without bounds", func(t *testing.T) {
		b := NewBook(nil)
		b.learn(subject{"a", "fast"}, 7)
		if n, _ := b.expects(subject{"b", "fast"}); n != unlearnt {
			t.Errorf("another tenant's is %d", n)
		}
		for i := range maxAverages + 10 {
			b.learn(subject{"a", fmt.Sprint(i)}, 7)
		}
		if len(b.averages) != maxAverages {
			t.Errorf("%d are remembered", len(b.averages))
		}
	})
}

func TestMicros(t *testing.T) {
	for usd, want := range map[float64]store.Amount{
		0: 0, -1: 0, 1: 1_000_000, 0.000003: 3, 0.1 + 0.2: 300_000, 0.0000001: 1, 3.0000001: 3_000_001, 1e30: 1e15,
	} {
		if got := micros(usd); got != want {
			t.Errorf("%v dollars are %d millionths, want %d", usd, got, want)
		}
	}
	if micros(math.NaN()) != 0 || micros(math.Inf(1)) != 1e15 {
		t.Error("not a number")
	}
}
