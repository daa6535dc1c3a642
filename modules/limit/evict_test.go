package limit

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/caddy-chat/caddy-chat/modules/store"
)

func TestMaxKeys(t *testing.T) {
	fill := func(t *testing.T, c *clock, n int) *Memory {
		m := NewMemory(MemoryOptions{Now: c.now, MaxKeys: n})
		for i := range n {
			mustTake(t, m, "acme", one(fmt.Sprint(i), window(2, time.Minute)), true)
		}
		if m.size() != n {
			t.Fatalf("%d keys, want %d", m.size(), n)
		}
		return m
	}
	refused := func(t *testing.T, m *Memory, takes []store.Take) {
		t.Helper()
		if _, granted, err := m.Take(t.Context(), "acme", takes); granted || !errors.Is(err, store.ErrFull) {
			t.Fatalf("granted is %v, error %v; want store.ErrFull", granted, err)
		}
	}

	t.Run("a new key is refused, a known one is not", func(t *testing.T) {
		c := newClock()
		m := fill(t, c, 100)
		refused(t, m, one("new", window(1, time.Second)))
		mustTake(t, m, "acme", one("7", window(2, time.Minute)), true)
		mustTake(t, m, "acme", one("7", window(2, time.Minute)), false)
	})

	t.Run("what would be refused anyway needs no room", func(t *testing.T) {
		c := newClock()
		m := fill(t, c, 10)
		takes := append(one("7", window(1, time.Minute)), one("new", window(1, time.Minute))...)
		mustTake(t, m, "acme", takes, false)
	})

	t.Run("two new keys need room for two", func(t *testing.T) {
		c := newClock()
		m := NewMemory(MemoryOptions{Now: c.now, MaxKeys: 2})
		mustTake(t, m, "acme", one("long", window(1, time.Hour)), true)
		mustTake(t, m, "acme", one("short", window(1, time.Second)), true)
		two := append(one("a", window(1, time.Minute)), one("b", window(1, time.Minute))...)
		refused(t, m, two)
		c.advance(time.Second)
		refused(t, m, two)
		c.advance(time.Second)
		mustTake(t, m, "acme", one("a", window(1, time.Minute)), true)
	})

	t.Run("one expired key among many is found", func(t *testing.T) {
		c := newClock()
		m := fill(t, c, 999)
		m.max++
		mustTake(t, m, "acme", one("short", window(1, time.Second)), true)
		refused(t, m, one("new", window(1, time.Second)))
		c.advance(time.Second)
		mustTake(t, m, "acme", one("new", window(1, time.Second)), true)
	})

	t.Run("a key with slots in use is never dropped", func(t *testing.T) {
		c := newClock()
		m := NewMemory(MemoryOptions{Now: c.now, MaxKeys: 1})
		busy := []store.Take{{Key: "busy", Windows: []store.Window{window(1, time.Second)}, Slots: 1}}
		mustTake(t, m, "acme", busy, true)
		c.advance(time.Hour)
		refused(t, m, one("new", window(1, time.Second)))
		mustTake(t, m, "acme", busy, false)
		release(t, m, "acme", busy)
		mustTake(t, m, "acme", one("new", window(1, time.Second)), true)
	})

	t.Run("expired keys do not pile up", func(t *testing.T) {
		c := newClock()
		m := NewMemory(MemoryOptions{Now: c.now})
		most := 0
		for i := range 100_000 {
			mustTake(t, m, "acme", one(fmt.Sprint(i), window(1, time.Second)), true)
			c.advance(time.Millisecond)
			most = max(most, m.size())
		}
		// 1,000 of them count at any time.
		if most > 2_000 {
			t.Errorf("%d keys at once", most)
		}
		t.Logf("%d keys at most", most)
	})

	t.Run("keys of the same request are not dropped while it is counted", func(t *testing.T) {
		c := newClock()
		m := NewMemory(MemoryOptions{Now: c.now})
		for i := range 2_000 {
			takes := append(one("same", window(1, time.Second)), one(fmt.Sprint(i), window(1, time.Second))...)
			takes = append(takes, one(fmt.Sprint(-i-1), window(1, time.Second))...)
			mustTake(t, m, "acme", takes, true)
			mustTake(t, m, "acme", one("same", window(1, time.Second)), false)
			c.advance(time.Second)
		}
	})
}

func TestSweepingIsPaced(t *testing.T) {
	c := newClock()
	m := NewMemory(MemoryOptions{Now: c.now, MaxKeys: 1000})
	for i := range 1000 {
		mustTake(t, m, "acme", one(fmt.Sprint(i), window(1, time.Hour)), true)
	}
	m.makeRoom(c.now().UnixNano(), 1)
	swept := m.sweep.at
	c.advance(time.Microsecond)
	if m.makeRoom(c.now().UnixNano(), 1) || m.sweep.at != swept {
		t.Error("swept again at once")
	}
	c.advance(-time.Hour)
	if !m.makeRoom(c.now().UnixNano(), 1) {
		t.Error("a clock set back stops sweeping")
	}
}
