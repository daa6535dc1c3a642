package budget

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"github.com/caddy-chat/caddy-chat/modules/price"
	"github.com/caddy-chat/caddy-chat/modules/provider"
	"github.com/caddy-chat/caddy-chat/modules/store"
)

func TestUsed(t *testing.T) {
	in(t, "what has been used is always held", func(t *testing.T) {
		d := newDesk(t, "100000 tokens/day 10 usd/day")
		h := d.mustOpen(10, 5) // the model does not keep to the cap
		for out := range int64(10_000) {
			u := tokens(10, out)
			must(t, h.Used(t.Context(), u))
			if b := d.ledger.of(dayKey); b.Held < store.Amount(u.Total()) {
				t.Fatalf("%d are used and %d held", u.Total(), b.Held)
			}
			if b := d.ledger.of(usdKey); b.Held < store.Amount(10+2*out) {
				t.Fatalf("%d are used and %d held", 10+2*out, b.Held)
			}
		}
		if n := d.ledger.asked("reserve"); n > 14 {
			t.Errorf("10,000 tokens took %d calls of the ledger", n)
		}
		d.settle(h, tokens(10, 9999))
		d.want(dayKey, 10_009, 0)
		d.want(usdKey, 20_008, 0)
	})
	in(t, "the less is left, the less is held ahead", func(t *testing.T) {
		d := newDesk(t, "20000 tokens/day")
		h := d.mustOpen(0, 0)
		for out := range int64(19_000) {
			must(t, h.Used(t.Context(), tokens(0, out)))
			ahead := d.ledger.of(dayKey).Held - store.Amount(out)
			if left := 20_000 - store.Amount(out); out > 1000 && ahead > max(left/8, leastStep) {
				t.Fatalf("%d are held in vain where %d are left", ahead, left)
			}
		}
	})
	in(t, "no more is held than the cap allows", func(t *testing.T) {
		d := newDesk(t, "100000 tokens/day")
		h := d.mustOpen(10, 100)
		for out := range int64(101) {
			must(t, h.Used(t.Context(), tokens(10, out)))
			d.want(dayKey, 0, 110)
		}
		must(t, h.Used(t.Context(), tokens(10, 101))) // the model does not keep to it
		if b := d.ledger.of(dayKey); b.Held <= 111 {
			t.Errorf("%d are held", b.Held)
		}
	})
	in(t, "ends at the last token that fits", func(t *testing.T) {
		d := newDesk(t, "1000 tokens/day")
		other := d.mustOpen(0, 100)
		h := d.mustOpen(10, 5)
		last := int64(0)
		var err error
		for out := int64(1); err == nil; out++ {
			if err = h.Used(t.Context(), tokens(10, out)); err == nil {
				last = out
			}
		}
		if !errors.Is(err, ErrExhausted) || last != 890 {
			t.Fatalf("ended after %d with %v, want 890", last, err)
		}
		wantExceeded(t, err, ExceededError{Budget: "tokens/day", Period: "day", RetryAfter: 24 * time.Hour})
		d.settle(h, tokens(10, last))
		d.want(dayKey, 900, 100)
		d.settle(other, tokens(0, 100))
		d.want(dayKey, 1000, 0)
	})
	in(t, "takes the room that another leaves", func(t *testing.T) {
		d := newDesk(t, "1000 tokens/day")
		other := d.mustOpen(0, 500)
		h := d.mustOpen(0, 500)
		must(t, h.Used(t.Context(), tokens(0, 500)))
		must(t, other.Release(t.Context()))
		must(t, h.Used(t.Context(), tokens(0, 1000)))
		if err := h.Used(t.Context(), tokens(0, 1001)); !errors.Is(err, ErrExhausted) {
			t.Errorf("got %v", err)
		}
	})
	in(t, "a budget in dollars ends it too", func(t *testing.T) {
		d := newDesk(t, "0.001 usd/day")
		h := d.mustOpen(100, 0)
		must(t, h.Used(t.Context(), tokens(100, 450)))
		err := h.Used(t.Context(), tokens(100, 451))
		if !errors.Is(err, ErrExhausted) {
			t.Fatalf("got %v", err)
		}
		wantExceeded(t, err, ExceededError{Budget: "usd/day", Period: "day", RetryAfter: 24 * time.Hour})
	})
	in(t, "what the provider counted in the end counts, and takes nothing that others hold", func(t *testing.T) {
		d := newDesk(t, "1000 tokens/day 5000 tokens/month 1 usd/day")
		other, h := d.mustOpen(0, 50), d.mustOpen(0, 600)
		must(t, h.Used(t.Context(), tokens(0, 600)))
		d.settle(h, tokens(0, 700))
		d.want(dayKey, 700, 50)
		h = d.mustOpen(0, 100)
		r := d.settle(h, tokens(0, 270)) // 20 more than there is
		d.want(dayKey, 970, 50)
		if len(r.Overdrafts) != 0 || r.Ratios[0].Used != 0.97 {
			t.Errorf("got %+v", r)
		}
		must(t, other.Used(t.Context(), tokens(0, 50)))
		if err := other.Used(t.Context(), tokens(0, 51)); !errors.Is(err, ErrExhausted) {
			t.Errorf("got %v", err)
		}
		r = d.settle(other, tokens(0, 50))
		d.want(dayKey, 1020, 0)
		d.want(monthKey, 1020, 0)
		if len(r.Overdrafts) != 1 || r.Overdrafts[0] != (Overdraft{"tokens/day", "tokens", 1020, 1000}) || r.Ratios[0].Used != 1 {
			t.Errorf("got %+v", r)
		}
		_, err := d.open(0, 1)
		wantExceeded(t, err, ExceededError{Budget: "tokens/day", Period: "day", RetryAfter: 24 * time.Hour})
	})
	in(t, "a budget that has been made smaller does not end what is held", func(t *testing.T) {
		d := newDesk(t, "10000 tokens/day")
		d.settle(d.mustOpen(0, 5000), tokens(0, 5000))
		h := d.mustOpen(0, 400)
		h.accounts[0].ledger.Limit = 1000
		time.Sleep(lease / 2)
		must(t, h.Used(t.Context(), tokens(0, 400)))
		d.want(dayKey, 5000, 400)
		if err := h.Used(t.Context(), tokens(0, 401)); !errors.Is(err, ErrExhausted) {
			t.Errorf("got %v", err)
		}
		d.settle(h, tokens(0, 401))
		d.want(dayKey, 5401, 0)
	})
	in(t, "a failing ledger is felt where more is used than is held", func(t *testing.T) {
		d := newDesk(t, "10000 tokens/day")
		h := d.mustOpen(0, 100)
		d.ledger.fails(errDown)
		for out := range int64(101) {
			must(t, h.Used(t.Context(), tokens(0, out)))
		}
		if n := d.ledger.asked("reserve"); n > 5 {
			t.Errorf("it was asked %d times", n)
		}
		if err := h.Used(t.Context(), tokens(0, 101)); !errors.Is(err, errDown) || errors.Is(err, ErrExhausted) {
			t.Errorf("got %v", err)
		}
		d.ledger.fails(nil)
		must(t, h.Used(t.Context(), tokens(0, 101)))
		d.ledger.fails(errDown)
		time.Sleep(lease)
		if err := h.Used(t.Context(), tokens(0, 101)); !errors.Is(err, errDown) {
			t.Errorf("after the lease: %v", err)
		}
	})
}

// What any number of calls at once are let use never passes a budget together,
// whatever the calls do, and all that they have used in the end counts.
func TestConcurrentCallsNeverPassABudget(t *testing.T) {
	for _, budgets := range []string{"20000 tokens/day", "0.04 usd/day", "20000 tokens/day 0.03 usd/month", "20001 tokens/month"} {
		in(t, budgets, func(t *testing.T) {
			d := newDesk(t, budgets)
			var mu sync.Mutex
			settled, ended := 0, 0
			granted, counted := make(map[bool]store.Amount), make(map[bool]store.Amount) // by whether it is money
			run := func(id int) {
				h, err := d.Open(t.Context(), d.ledger, Admission{
					ID: fmt.Sprint(id), Tenant: d.acme, Model: "fast", Price: price.Price{Input: 1, Output: 2}, Input: int64(id % 50), OutputCap: int64(id%3) * 100,
				})
				if errors.As(err, new(*ExceededError)) {
					return
				}
				must(t, err)
				u := tokens(int64(id%50), 0)
				within := u
				for range 300 {
					next := tokens(u.Input, u.Output+rand.Int64N(20))
					err := h.Used(t.Context(), next)
					if errors.Is(err, ErrExhausted) {
						mu.Lock()
						ended++
						mu.Unlock()
						if id%2 == 0 {
							u = next
						}
						break
					}
					must(t, err)
					u, within = next, next
					time.Sleep(time.Duration(rand.Int64N(int64(2 * time.Second))))
				}
				if id%7 == 0 {
					must(t, h.Release(t.Context()))
					return
				}
				_, err = h.Settle(t.Context(), u, h.price.Cost(u))
				must(t, err)
				mu.Lock()
				defer mu.Unlock()
				settled++
				for _, list := range []struct {
					sum map[bool]store.Amount
					provider.Usage
				}{{granted, within}, {counted, u}} {
					list.sum[false] += store.Amount(list.Total())
					list.sum[true] += micros(h.price.Cost(list.Usage))
				}
			}
			var wg sync.WaitGroup
			for id := range 200 {
				wg.Go(func() { run(id) })
			}
			wg.Wait()
			if settled == 0 || ended == 0 {
				t.Fatalf("%d settled, %d were ended", settled, ended)
			}
			for _, a := range accountsOf(Admission{Tenant: d.acme}, time.Now()) {
				if b := d.ledger.of(a.ledger.Key); granted[a.isMoney()] > a.ledger.Limit || b.Used != counted[a.isMoney()] || b.Held != 0 {
					t.Errorf("%s: %+v of %d, %d were used with leave and %d at all", a.name, b, a.ledger.Limit, granted[a.isMoney()], counted[a.isMoney()])
				}
			}
		})
	}
}

func TestLease(t *testing.T) {
	in(t, "a hold that nobody keeps frees itself", func(t *testing.T) {
		d := newDesk(t, "1000 tokens/day")
		d.mustOpen(0, 1000)
		time.Sleep(lease)
		d.mustOpen(0, 1000)
	})
	in(t, "Keep holds it while the provider is silent", func(t *testing.T) {
		d := newDesk(t, "1000 tokens/day")
		h := d.mustOpen(0, 1000)
		ctx, cancel := context.WithCancel(t.Context())
		h.Keep(ctx)
		time.Sleep(time.Hour)
		d.want(dayKey, 0, 1000)
		if n := d.ledger.asked("reserve"); n > 200 {
			t.Errorf("an hour took %d calls", n)
		}
		d.ledger.fails(errDown) // for less than a lease
		time.Sleep(lease / 2)
		d.ledger.fails(nil)
		time.Sleep(lease / 2)
		d.want(dayKey, 0, 1000)
		cancel()
		time.Sleep(lease)
		d.want(dayKey, 0, 0)
	})
	in(t, "Keep ends with the hold", func(t *testing.T) {
		d := newDesk(t, "1000 tokens/day")
		for _, end := range []func(*Hold){
			func(h *Hold) { d.settle(h, tokens(0, 1)) },
			func(h *Hold) { must(t, h.Release(t.Context())) },
		} {
			h := d.mustOpen(0, 10)
			h.Keep(t.Context())
			time.Sleep(time.Second)
			end(h)
			h.Keep(t.Context()) // too late
			asked := d.ledger.asked("reserve")
			time.Sleep(time.Hour)
			if n := d.ledger.asked("reserve") - asked; n != 0 {
				t.Errorf("the ledger was asked %d times after the end", n)
			}
		}
	})
	in(t, "Used renews it", func(t *testing.T) {
		d := newDesk(t, "1000 tokens/day")
		h := d.mustOpen(0, 1000)
		for range 100 {
			time.Sleep(renewAfter)
			must(t, h.Used(t.Context(), tokens(0, 1)))
			d.want(dayKey, 0, 1000)
		}
	})
	in(t, "a lease that was lost is not taken for one that is held", func(t *testing.T) {
		d := newDesk(t, "1000 tokens/day")
		h := d.mustOpen(0, 600)
		must(t, h.Used(t.Context(), tokens(0, 500)))
		time.Sleep(lease)
		d.mustOpen(0, 700)
		if err := h.Used(t.Context(), tokens(0, 501)); !errors.Is(err, ErrExhausted) {
			t.Errorf("got %v", err)
		}
		if b := d.ledger.of(dayKey); b.Held > 1000 {
			t.Errorf("%d are held", b.Held)
		}
	})
}

func TestReprice(t *testing.T) {
	dear := price.Price{Input: 10, Output: 20}
	in(t, "holds what the call costs elsewhere", func(t *testing.T) {
		d := newDesk(t, "0.01 usd/day 100000 tokens/day")
		h := d.mustOpen(100, 200)
		d.want(usdKey, 0, 500)
		must(t, h.Reprice(t.Context(), dear))
		d.want(usdKey, 0, 5000)
		d.want(dayKey, 0, 300)
		must(t, h.Reprice(t.Context(), price.Price{}))
		d.want(usdKey, 0, 0)
	})
	in(t, "holds all that has been used so far", func(t *testing.T) {
		d := newDesk(t, "1 usd/day")
		h := d.mustOpen(100, 10) // the model does not keep to the cap
		for out := range int64(1001) {
			must(t, h.Used(t.Context(), tokens(100, out)))
		}
		must(t, h.Reprice(t.Context(), dear))
		d.want(usdKey, 0, 21_000)
	})
	in(t, "a target that costs the same needs nothing of the ledger", func(t *testing.T) {
		d := newDesk(t, "0.01 usd/day")
		h := d.mustOpen(100, 200)
		must(t, h.Reprice(t.Context(), h.price))
		d.acme = acme(t, "1000 tokens/day") // costs nothing in tokens
		must(t, d.mustOpen(100, 200).Reprice(t.Context(), dear))
		if n := d.ledger.asked("reserve"); n != 2 {
			t.Errorf("two calls took %d reservations", n)
		}
	})
	in(t, "what does not fit changes nothing", func(t *testing.T) {
		d := newDesk(t, "0.001 usd/day")
		h := d.mustOpen(200, 100)
		d.want(usdKey, 0, 400)
		err := h.Reprice(t.Context(), price.Price{Input: 6, Output: 1})
		wantExceeded(t, err, ExceededError{Budget: "usd/day", Period: "day", RetryAfter: 24 * time.Hour})
		d.want(usdKey, 0, 400)
		must(t, h.Used(t.Context(), tokens(200, 400)))
		must(t, h.Reprice(t.Context(), price.Price{Input: 1, Output: 1}))
		must(t, h.Used(t.Context(), tokens(200, 800)))
	})
}
