package limit

import (
	"errors"
	"reflect"
	"slices"
	"testing"
	"time"

	"github.com/caddy-chat/caddy-chat/modules/store"
)

type saved struct {
	tenant, key string
	times       []int64
	until       time.Time
}

func snapshot(t *testing.T, m *Memory) []saved {
	t.Helper()
	var all []saved
	err := m.Snapshot(func(tenant, key string, times []int64, until time.Time) error {
		all = append(all, saved{tenant, key, slices.Clone(times), until})
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}

func TestSnapshotAndRestore(t *testing.T) {
	c := newClock()
	start := c.now()
	m := NewMemory(MemoryOptions{Now: c.now})
	windows := []store.Window{window(3, time.Second), window(9, time.Minute)}
	mustTake(t, m, "acme", one("gone", window(1, time.Second)), true)
	for range 4 {
		mustTake(t, m, "acme", one("u", windows...), true)
		c.advance(500 * time.Millisecond)
	}
	mustTake(t, m, "globex", []store.Take{{Key: "busy", Slots: 1}}, true)

	all := snapshot(t, m)
	at := start.UnixNano()
	want := []saved{{"acme", "u", []int64{at, at + 5e8, at + 10e8, at + 15e8}, start.Add(61500 * time.Millisecond)}}
	if !reflect.DeepEqual(all, want) {
		t.Fatalf("got %+v\nwant %+v", all, want)
	}

	t.Run("a new process goes on where the old one stopped", func(t *testing.T) {
		n := NewMemory(MemoryOptions{Now: c.now})
		n.Restore("acme", "u", all[0].times, all[0].until)
		if got := snapshot(t, n); !reflect.DeepEqual(got, want) {
			t.Fatalf("got %+v\nwant %+v", got, want)
		}
		for range 2 {
			for i, takes := 0, one("u", windows...); i < 8; i++ {
				a, grantedA, _ := m.Take(t.Context(), "acme", takes)
				b, grantedB, _ := n.Take(t.Context(), "acme", takes)
				if grantedA != grantedB || !reflect.DeepEqual(a, b) {
					t.Fatalf("old %v %+v\nnew %v %+v", grantedA, a, grantedB, b)
				}
			}
			c.advance(700 * time.Millisecond)
		}
	})

	t.Run("restoring beside newer events counts both", func(t *testing.T) {
		n := NewMemory(MemoryOptions{Now: c.now})
		mustTake(t, n, "acme", one("u", windows...), true)
		n.Restore("acme", "u", all[0].times, all[0].until)
		res := mustTake(t, n, "acme", one("u", window(6, time.Minute)), true)
		if got := res[0].Windows[0].Remaining; got != 0 {
			t.Errorf("remaining is %d, want 0", got)
		}
	})

	t.Run("events of the future are counted as of now", func(t *testing.T) {
		n := NewMemory(MemoryOptions{Now: c.now})
		future := c.now().Add(time.Hour)
		n.Restore("acme", "u", []int64{future.UnixNano()}, future.Add(time.Second))
		takes := one("u", window(1, time.Second))
		mustTake(t, n, "acme", takes, false)
		c.advance(time.Second)
		mustTake(t, n, "acme", takes, true)
	})

	t.Run("what has expired, and what does not fit, is left out", func(t *testing.T) {
		n := NewMemory(MemoryOptions{Now: c.now, MaxKeys: 1})
		n.Restore("acme", "old", []int64{1}, c.now())
		n.Restore("acme", "none", nil, c.now().Add(time.Hour))
		if n.size() != 0 {
			t.Errorf("%d keys, want none", n.size())
		}
		for _, k := range []string{"a", "b"} {
			n.Restore("acme", k, []int64{c.now().UnixNano()}, c.now().Add(time.Hour))
		}
		if n.size() != 1 {
			t.Errorf("%d keys, want 1", n.size())
		}
	})

	t.Run("an error ends the walk", func(t *testing.T) {
		stop := errors.New("stop")
		err := m.Snapshot(func(string, string, []int64, time.Time) error { return stop })
		if !errors.Is(err, stop) {
			t.Errorf("got %v", err)
		}
	})
}

func TestErase(t *testing.T) {
	m := NewMemory(MemoryOptions{})
	takes := one("u", window(1, time.Hour))
	busy := []store.Take{{Key: "busy", Windows: []store.Window{window(1, time.Hour)}, Slots: 1}}
	for _, tenant := range []string{"acme", "globex"} {
		mustTake(t, m, tenant, takes, true)
		mustTake(t, m, tenant, busy, true)
	}
	m.Erase("acme")

	for _, s := range snapshot(t, m) {
		if s.tenant == "acme" {
			t.Errorf("%+v is still there", s)
		}
	}
	mustTake(t, m, "acme", takes, true)
	mustTake(t, m, "globex", takes, false)
	if res := mustTake(t, m, "acme", busy, false); res[0].SlotFree || res[0].Windows[0].Remaining != 1 {
		t.Errorf("got %+v; want the window free and the slot still in use", res[0])
	}
	release(t, m, "acme", busy)
	mustTake(t, m, "acme", busy, true)
}
