package limit

import (
	"context"
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/caddy-chat/caddy-chat/modules/store"
)

// clock is a clock that a test moves.
type clock struct {
	nanos atomic.Int64
}

func newClock() *clock {
	c := new(clock)
	c.nanos.Store(1_700_000_000_000_000_000)
	return c
}

func (c *clock) now() time.Time          { return time.Unix(0, c.nanos.Load()) }
func (c *clock) advance(d time.Duration) { c.nanos.Add(int64(d)) }

func window(limit int64, length time.Duration) store.Window {
	return store.Window{Limit: limit, Length: length}
}

func one(name string, windows ...store.Window) []store.Take {
	return []store.Take{{Key: name, Windows: windows}}
}

func mustTake(t *testing.T, m *Memory, tenant string, takes []store.Take, want bool) []store.Taken {
	t.Helper()
	res, granted, err := m.Take(t.Context(), tenant, takes)
	if err != nil {
		t.Fatal(err)
	}
	if granted != want {
		t.Fatalf("granted is %v, want %v: %+v", granted, want, res)
	}
	return res
}

func release(t *testing.T, m *Memory, tenant string, takes []store.Take) {
	t.Helper()
	// The request's context is often over by the time.
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := m.Release(ctx, tenant, takes); err != nil {
		t.Error(err)
	}
}

func TestTake(t *testing.T) {
	t.Run("an event leaves the window when it is as old as the window is long", func(t *testing.T) {
		c := newClock()
		m := NewMemory(MemoryOptions{Now: c.now})
		takes := one("u", window(1, time.Second))
		mustTake(t, m, "acme", takes, true)
		c.advance(time.Second - 1)
		res := mustTake(t, m, "acme", takes, false)
		want := store.WindowState{Reset: c.now().Add(1), Wait: 1}
		if res[0].Windows[0] != want {
			t.Errorf("got %+v, want %+v", res[0].Windows[0], want)
		}
		c.advance(1)
		mustTake(t, m, "acme", takes, true)
	})

	t.Run("refused requests use up nothing", func(t *testing.T) {
		c := newClock()
		m := NewMemory(MemoryOptions{Now: c.now})
		takes := one("u", window(2, time.Second), window(10, time.Hour))
		for range 5 {
			mustTake(t, m, "acme", takes, true)
			mustTake(t, m, "acme", takes, true)
			for range 20 {
				mustTake(t, m, "acme", takes, false)
			}
			c.advance(time.Second)
		}
		res := mustTake(t, m, "acme", takes, false)
		if st := res[0].Windows; st[0].Remaining != 2 || st[1].Remaining != 0 {
			t.Errorf("got %+v", st)
		}
	})

	t.Run("several keys all or nothing", func(t *testing.T) {
		m := NewMemory(MemoryOptions{})
		full := store.Take{Key: "tenant", Windows: []store.Window{window(1, time.Hour)}}
		mustTake(t, m, "acme", []store.Take{full}, true)
		for range 3 {
			user := store.Take{Key: "u", Windows: []store.Window{window(5, time.Hour)}, Slots: 2}
			res := mustTake(t, m, "acme", []store.Take{user, full}, false)
			if got := res[0]; got.Windows[0].Remaining != 5 || got.InUse != 0 || !got.SlotFree {
				t.Fatalf("the refused request left something at the user: %+v", got)
			}
		}
		if m.size() != 1 {
			t.Errorf("%d keys, want the granted one only", m.size())
		}
	})

	t.Run("tenants do not meet", func(t *testing.T) {
		m := NewMemory(MemoryOptions{})
		takes := one("u", window(1, time.Hour))
		mustTake(t, m, "acme", takes, true)
		mustTake(t, m, "globex", takes, true)
		mustTake(t, m, "acme", takes, false)
		mustTake(t, m, "acmeu", one("", window(1, time.Hour)), true)
	})

	t.Run("nothing to count is granted and not kept", func(t *testing.T) {
		m := NewMemory(MemoryOptions{})
		mustTake(t, m, "acme", nil, true)
		mustTake(t, m, "acme", one("u"), true)
		if m.size() != 0 {
			t.Errorf("%d keys", m.size())
		}
	})

	t.Run("a window that lets nothing through", func(t *testing.T) {
		m := NewMemory(MemoryOptions{})
		res := mustTake(t, m, "acme", one("u", window(0, time.Second)), false)
		if st := res[0].Windows[0]; st.Remaining != 0 || st.Wait != time.Second {
			t.Errorf("got %+v", st)
		}
	})

	t.Run("a clock set back refuses rather than grants too much", func(t *testing.T) {
		c := newClock()
		m := NewMemory(MemoryOptions{Now: c.now})
		takes := one("u", window(2, time.Second))
		mustTake(t, m, "acme", takes, true)
		c.advance(-time.Minute)
		mustTake(t, m, "acme", takes, true)
		res := mustTake(t, m, "acme", takes, false)
		if wait := res[0].Windows[0].Wait; wait != time.Minute+time.Second {
			t.Errorf("wait is %v; the clock needs a minute and a second", wait)
		}
		c.advance(res[0].Windows[0].Wait)
		mustTake(t, m, "acme", takes, true)
	})
}

func TestChangedLimits(t *testing.T) {
	t.Run("a smaller limit counts what was granted before", func(t *testing.T) {
		m := NewMemory(MemoryOptions{})
		for range 5 {
			mustTake(t, m, "acme", one("u", window(5, time.Hour)), true)
		}
		mustTake(t, m, "acme", one("u", window(2, time.Hour)), false)
		// The smaller one must not have made it forget.
		mustTake(t, m, "acme", one("u", window(5, time.Hour)), false)
		res := mustTake(t, m, "acme", one("u", window(7, time.Hour)), true)
		if got := res[0].Windows[0].Remaining; got != 1 {
			t.Errorf("remaining is %d, want 1", got)
		}
	})

	t.Run("a longer window counts what a shorter one granted", func(t *testing.T) {
		c := newClock()
		m := NewMemory(MemoryOptions{Now: c.now})
		mustTake(t, m, "acme", one("u", window(3, time.Minute)), true)
		c.advance(30 * time.Second)
		mustTake(t, m, "acme", one("u", window(2, time.Hour)), true)
		mustTake(t, m, "acme", one("u", window(2, time.Hour)), false)
	})

	t.Run("what nobody asks for any more is forgotten", func(t *testing.T) {
		c := newClock()
		m := NewMemory(MemoryOptions{Now: c.now})
		for range 1000 {
			mustTake(t, m, "acme", one("u", window(1000, time.Minute)), true)
		}
		e := m.shards[m.shardOf(key{"acme", "u"})].m[key{"acme", "u"}]
		if len(e.ring.buf) != 1000 {
			t.Fatalf("ring of %d for a limit of 1000", len(e.ring.buf))
		}
		for range 200 {
			c.advance(time.Second)
			mustTake(t, m, "acme", one("u", window(2, time.Second)), true)
		}
		if len(e.ring.buf) > minRing {
			t.Errorf("ring of %d for a limit of 2", len(e.ring.buf))
		}
	})
}

func TestSlots(t *testing.T) {
	c := newClock()
	m := NewMemory(MemoryOptions{Now: c.now})
	takes := []store.Take{{Key: "u", Slots: 2}}

	mustTake(t, m, "acme", takes, true)
	if res := mustTake(t, m, "acme", takes, true); res[0].InUse != 2 || !res[0].SlotFree {
		t.Errorf("got %+v", res[0])
	}
	if res := mustTake(t, m, "acme", takes, false); res[0].InUse != 2 || res[0].SlotFree {
		t.Errorf("got %+v", res[0])
	}

	release(t, m, "acme", takes)
	mustTake(t, m, "acme", takes, true)
	release(t, m, "acme", takes)
	release(t, m, "acme", takes)
	if m.size() != 0 {
		t.Error("a key without slots in use and without events is kept")
	}

	release(t, m, "acme", takes) // one too many
	mustTake(t, m, "acme", takes, true)
	mustTake(t, m, "acme", takes, true)
	mustTake(t, m, "acme", takes, false)
}

func TestConcurrentTakesGrantExactlyTheLimit(t *testing.T) {
	m := NewMemory(MemoryOptions{})
	var wg sync.WaitGroup
	var granted, slots atomic.Int64
	for i := range 500 {
		wg.Go(func() {
			takes := []store.Take{
				{Key: "user", Windows: []store.Window{window(100, time.Hour)}, Slots: 1000},
				{Key: fmt.Sprint("own ", i), Windows: []store.Window{window(1, time.Hour)}},
				{Key: "tenant", Windows: []store.Window{window(400, time.Hour)}},
			}
			// Any order of keys: locks are taken in one order all the same.
			rand.Shuffle(len(takes), func(i, j int) { takes[i], takes[j] = takes[j], takes[i] })
			_, ok, err := m.Take(context.Background(), "acme", takes)
			if err != nil {
				t.Error(err)
			}
			if !ok {
				return
			}
			granted.Add(1)
			release(t, m, "acme", takes)
			slots.Add(1)
		})
	}
	wg.Wait()
	if granted.Load() != 100 || slots.Load() != 100 {
		t.Errorf("%d granted, %d released; want 100", granted.Load(), slots.Load())
	}
	res := mustTake(t, m, "acme", []store.Take{{Key: "user", Windows: []store.Window{window(200, time.Hour)}, Slots: 1}}, true)
	if res[0].Windows[0].Remaining != 99 || res[0].InUse != 1 {
		t.Errorf("got %+v", res[0])
	}
}
