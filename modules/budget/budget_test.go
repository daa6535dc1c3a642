package budget

import (
	"errors"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/caddy-chat/caddy-chat/modules/price"
	"github.com/caddy-chat/caddy-chat/modules/provider"
	"github.com/caddy-chat/caddy-chat/modules/store"
	"github.com/caddy-chat/caddy-chat/modules/tenant"
)

// A bubble of synctest begins at midnight UTC, 2000-01-01.
const (
	dayKey   = "tokens/day/2000-01-01"
	monthKey = "tokens/month/2000-01"
	usdKey   = "usd/day/2000-01-01"
)

func acme(t testing.TB, budgets string) *tenant.Tenant {
	t.Helper()
	a := &tenant.Tenant{ID: "acme"}
	if budgets != "" {
		list, err := tenant.ParseBudgets(budgets)
		must(t, err)
		a.Budgets = list
	}
	return a
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func tokens(in, out int64) provider.Usage { return provider.Usage{Input: in, Output: out} }

// desk is a book with a ledger and a tenant.
type desk struct {
	*testing.T
	*Book
	ledger *memory
	acme   *tenant.Tenant
	n      int
}

func newDesk(t *testing.T, budgets string) *desk {
	return &desk{T: t, Book: NewBook(DefaultWarnAt), ledger: newMemory(), acme: acme(t, budgets)}
}

// open asks for a call; every one has an id of its own.
func (d *desk) open(input, outputCap int64, windows ...Window) (*Hold, error) {
	d.n++
	return d.Open(d.Context(), d.ledger, Admission{
		ID: fmt.Sprint(d.n), Tenant: d.acme, Model: "fast", Windows: windows,
		Price: price.Price{Input: 1, Output: 2}, Input: input, OutputCap: outputCap,
	})
}

func (d *desk) mustOpen(input, outputCap int64, windows ...Window) *Hold {
	d.Helper()
	h, err := d.open(input, outputCap, windows...)
	must(d, err)
	return h
}

func (d *desk) settle(h *Hold, u provider.Usage) Receipt {
	d.Helper()
	r, err := h.Settle(d.Context(), u, (price.Price{Input: 1, Output: 2}).Cost(u))
	must(d, err)
	return r
}

func (d *desk) want(key string, used, held store.Amount) {
	d.Helper()
	if b := d.ledger.of(key); b.Used != used || b.Held != held {
		d.Errorf("%s: used %d and held %d, want %d and %d", key, b.Used, b.Held, used, held)
	}
}

func wantExceeded(t testing.TB, err error, want ExceededError) {
	t.Helper()
	e, ok := errors.AsType[*ExceededError](err)
	if !ok || *e != want {
		t.Fatalf("got %v (%+v), want %+v", err, e, want)
	}
}

// in runs a test at midnight UTC, on a clock of its own.
func in(t *testing.T, name string, run func(t *testing.T)) {
	t.Run(name, func(t *testing.T) { synctest.Test(t, run) })
}

func TestOpen(t *testing.T) {
	in(t, "expects the usual length of each answer that is asked for", func(t *testing.T) {
		d := newDesk(t, "100000 tokens/day")
		open := func(choices int) *Hold {
			d.n++
			h, err := d.Open(t.Context(), d.ledger, Admission{ID: fmt.Sprint(d.n), Tenant: d.acme, Model: "fast", Choices: choices})
			must(t, err)
			return h
		}
		h := open(10)
		d.want(dayKey, 0, 10_000)
		d.settle(h, tokens(0, 2000))
		h = open(3)
		d.want(dayKey, 2000, 3*600) // the mean and four deviations of 200
		must(t, h.Release(t.Context()))
	})
	in(t, "reserves the input and the cap", func(t *testing.T) {
		d := newDesk(t, "1000 tokens/day 5000 tokens/month 1 usd/day")
		d.mustOpen(100, 200)
		d.want(dayKey, 0, 300)
		d.want(monthKey, 0, 300)
		d.want(usdKey, 0, 500) // millionths: 100 at 1, 200 at 2
	})
	in(t, "refuses what does not fit, until the period ends", func(t *testing.T) {
		d := newDesk(t, "1000 tokens/day 1100 tokens/month")
		d.settle(d.mustOpen(100, 700), tokens(100, 700))
		time.Sleep(15*time.Hour + time.Second/2)
		_, err := d.open(100, 200)
		wantExceeded(t, err, ExceededError{Budget: "tokens/day", Period: "day", RetryAfter: 9*time.Hour - time.Second/2})
		_, err = d.open(100, 300) // both
		wantExceeded(t, err, ExceededError{Budget: "tokens/month", Period: "month", RetryAfter: 30*24*time.Hour + 9*time.Hour - time.Second/2})
		d.want(dayKey, 800, 0)
		d.mustOpen(100, 100)
	})
	in(t, "what others hold is in the way for nobody knows how long", func(t *testing.T) {
		d := newDesk(t, "1000 tokens/day 2000 tokens/month")
		d.settle(d.mustOpen(0, 100), tokens(0, 100))
		d.mustOpen(0, 800)
		_, err := d.open(0, 200)
		wantExceeded(t, err, ExceededError{Budget: "tokens/day", Period: "day"})
		_, err = d.open(0, 901) // too much also without them
		wantExceeded(t, err, ExceededError{Budget: "tokens/day", Period: "day", RetryAfter: 24 * time.Hour})
	})
	in(t, "expects no output where there is none", func(t *testing.T) {
		d := newDesk(t, "1000 tokens/day")
		h, err := d.Open(t.Context(), d.ledger, Admission{ID: "embeds", Tenant: d.acme, Model: "fast", Input: 70, NoOutput: true})
		must(t, err)
		d.want(dayKey, 0, 70)
		d.settle(h, tokens(70, 0))
		d.mustOpen(0, 0) // nothing is learnt of it
		d.want(dayKey, 70, 930)
	})
	in(t, "a new period begins with all of it", func(t *testing.T) {
		d := newDesk(t, "1000 tokens/day")
		time.Sleep(24*time.Hour - time.Second)
		late := d.mustOpen(0, 1000)
		_, err := d.open(0, 1)
		wantExceeded(t, err, ExceededError{Budget: "tokens/day", Period: "day"})
		time.Sleep(time.Second)
		d.mustOpen(0, 1000)
		// a call counts in the period in which it began
		d.settle(late, tokens(0, 10))
		d.want(dayKey, 10, 0)
		d.want("tokens/day/2000-01-02", 0, 1000)
	})
	in(t, "is not refused for want of a cap", func(t *testing.T) {
		d := newDesk(t, "500 tokens/day")
		h := d.mustOpen(10, 0)
		d.want(dayKey, 0, 500)
		d.settle(h, tokens(10, 20))
		d.mustOpen(10, 60) // of the 470 that are left
	})
	in(t, "takes what is left for a guess", func(t *testing.T) {
		d := newDesk(t, "1100 tokens/day 0.002 usd/day")
		minute := Window{Name: "tokens", Key: "w", Limit: 900, Length: time.Minute}
		d.settle(d.mustOpen(0, 200), tokens(0, 200))
		h := d.mustOpen(10, 0, minute)
		d.want(dayKey, 200, 900)
		d.want(usdKey, 400, 1600)
		d.want("w", 0, 900)
		must(t, h.Reprice(t.Context(), price.Price{Input: 3, Output: 3}))
		d.want(usdKey, 400, 1600)
		d.settle(h, tokens(10, 640))
		d.want(dayKey, 850, 0)

		b := NewBook(nil) // nothing is learnt there
		open := func(input int64) error {
			d.n++
			_, err := b.Open(t.Context(), d.ledger, Admission{ID: fmt.Sprint(d.n), Tenant: d.acme, Model: "fast", Input: input})
			return err
		}
		wantExceeded(t, open(250-shortest+1), ExceededError{Budget: "tokens/day", Period: "day", RetryAfter: 24 * time.Hour})
		must(t, open(250-shortest))
		wantExceeded(t, open(1), ExceededError{Budget: "tokens/day", Period: "day"})
	})
	in(t, "refuses an input that is larger than the budget", func(t *testing.T) {
		d := newDesk(t, "500 tokens/day")
		_, err := d.open(501, 1)
		wantExceeded(t, err, ExceededError{Budget: "tokens/day", Period: "day", RetryAfter: 24 * time.Hour})
		d.mustOpen(500, 1)
	})
	in(t, "without budgets it costs nothing", func(t *testing.T) {
		d := newDesk(t, "")
		h := d.mustOpen(10, 10)
		must(t, h.Used(t.Context(), tokens(10, 1_000_000)))
		must(t, h.Reprice(t.Context(), price.Price{Input: 1e6}))
		h.Keep(t.Context())
		if r, err := h.Settle(t.Context(), tokens(1, 1), 1); err != nil || len(r.Warnings)+len(r.Ratios) > 0 {
			t.Errorf("got %+v, %v", r, err)
		}
		must(t, h.Release(t.Context()))
		d.acme = nil
		d.mustOpen(10, 10)
		if len(d.ledger.calls) != 0 {
			t.Errorf("the ledger was asked: %v", d.ledger.calls)
		}
	})
	in(t, "of two limits for one thing the smaller counts", func(t *testing.T) {
		d := newDesk(t, "1000 tokens/day 300 tokens/day 500 tokens/day")
		d.settle(d.mustOpen(0, 200), tokens(0, 200))
		d.want(dayKey, 200, 0)
		_, err := d.open(0, 101)
		wantExceeded(t, err, ExceededError{Budget: "tokens/day", Period: "day", RetryAfter: 24 * time.Hour})
	})
	in(t, "a failing ledger is no refusal", func(t *testing.T) {
		d := newDesk(t, "1000 tokens/day")
		d.ledger.fails(errDown)
		_, err := d.open(1, 1)
		if !errors.Is(err, errDown) || errors.As(err, new(*ExceededError)) {
			t.Errorf("got %v", err)
		}
	})
}

func TestWindows(t *testing.T) {
	minute := Window{Name: "tokens", Key: "w", Limit: 1000, Length: time.Minute}
	in(t, "refuses until enough has left the window", func(t *testing.T) {
		d := newDesk(t, "")
		d.settle(d.mustOpen(0, 600, minute), tokens(0, 600))
		time.Sleep(10 * time.Second)
		d.settle(d.mustOpen(0, 300, minute), tokens(0, 300))
		_, err := d.open(0, 101, minute)
		wantExceeded(t, err, ExceededError{Budget: "tokens", Window: true, RetryAfter: 50 * time.Second})
		time.Sleep(50 * time.Second)
		d.mustOpen(0, 101, minute)
	})
	in(t, "a budget's refusal comes before a window's", func(t *testing.T) {
		d := newDesk(t, "1000 tokens/day")
		d.settle(d.mustOpen(0, 1000, minute), tokens(0, 1000))
		_, err := d.open(0, 1, minute)
		wantExceeded(t, err, ExceededError{Budget: "tokens/day", Period: "day", RetryAfter: 24 * time.Hour})
	})
	in(t, "never end an answer", func(t *testing.T) {
		d := newDesk(t, "")
		h := d.mustOpen(0, 1000, minute)
		for out := range int64(5000) {
			must(t, h.Used(t.Context(), tokens(0, out)))
		}
		d.settle(h, tokens(0, 5000))
		d.want("w", 5000, 0)
	})
	in(t, "let a call through that is larger than they are once they are empty", func(t *testing.T) {
		d := newDesk(t, "")
		h := d.mustOpen(5000, 10, minute)
		d.want("w", 0, 1000)
		must(t, h.Release(t.Context()))
	})
}
