package budget

import (
	"math/rand/v2"
	"testing"
	"testing/synctest"
	"time"

	"github.com/caddy-chat/caddy-chat/modules/price"
	"github.com/caddy-chat/caddy-chat/modules/store"
)

func TestUsedIsCheapWhereThereIsRoom(t *testing.T) {
	in(t, "no allocation and no call of the ledger", func(t *testing.T) {
		d := newDesk(t, "100000 tokens/day 10 usd/month")
		h := d.mustOpen(10, 5000)
		must(t, h.Used(t.Context(), tokens(10, 1)))
		asked, out := d.ledger.asked("reserve"), int64(1)
		if n := testing.AllocsPerRun(1000, func() {
			out++
			must(t, h.Used(t.Context(), tokens(10, out)))
		}); n != 0 {
			t.Errorf("%v allocations a call", n)
		}
		if d.ledger.asked("reserve") != asked {
			t.Error("the ledger was asked")
		}
	})
}

// TestCoverageChangesNothing plays one scenario twice, the second time with
// every call of Used taking the long way: the answers and what is held are
// the same.
func TestCoverageChangesNothing(t *testing.T) {
	type step struct {
		failed     bool
		day, month store.Amount
	}
	play := func(t *testing.T, seed uint64, longWay bool) (steps []step) {
		rnd := rand.New(rand.NewPCG(seed, 0))
		d := newDesk(t, "3000 tokens/day 0.012 usd/month")
		h, err := d.open(rnd.Int64N(100), rnd.Int64N(3)*500)
		must(t, err)
		if rnd.IntN(2) == 0 {
			h.Keep(t.Context())
		}
		used := tokens(rnd.Int64N(500), 0)
		var others []*Hold
		for range 400 {
			switch rnd.IntN(40) {
			case 0:
				if o, err := d.open(0, rnd.Int64N(800)); err == nil {
					others = append(others, o)
				}
			case 1:
				for _, o := range others {
					_ = o.Release(t.Context())
				}
				others = nil
			case 2:
				d.ledger.fails(errDown)
			case 3, 4, 5:
				d.ledger.fails(nil)
			case 6:
				_ = h.Reprice(t.Context(), price.Price{Input: 2, Cached: 1, Output: float64(1 + rnd.IntN(4))})
			case 7:
				used.Input += rnd.Int64N(20)
			case 8, 9:
				used.Cached = rnd.Int64N(used.Input + 1)
			}
			time.Sleep(time.Duration(rnd.Int64N(int64(5 * time.Second))))
			synctest.Wait()
			if longWay {
				h.covered.Store(nil)
			}
			next := used
			next.Output += rnd.Int64N(12)
			err := h.Used(t.Context(), next)
			if err == nil {
				used = next
			}
			steps = append(steps, step{err != nil, d.ledger.of(dayKey).Held, d.ledger.of("usd/month/2000-01").Held})
		}
		return steps
	}
	for seed := range uint64(200) {
		var short, long []step
		synctest.Test(t, func(t *testing.T) { short = play(t, seed, false) })
		synctest.Test(t, func(t *testing.T) { long = play(t, seed, true) })
		for i := range short {
			if short[i] != long[i] {
				t.Fatalf("seed %d, step %d: %+v, and %+v the long way", seed, i, short[i], long[i])
			}
		}
	}
}
