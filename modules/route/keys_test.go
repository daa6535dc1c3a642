package route

import (
	"crypto/sha256"
	"fmt"
	"sync"
	"testing"
	"time"
)

func keyTable(t *testing.T, failures int) *Table {
	t.Helper()
	table, err := NewTable(aliases, []string{"local", "openai"}, nil, "", Circuit{failures, time.Minute})
	if err != nil {
		t.Fatal(err)
	}
	return table
}

func refuse(t *testing.T, table *Table, key Key, model string, now time.Time, forAll bool) {
	t.Helper()
	p, wait := table.EnterKey(key, model, now)
	if p == nil {
		t.Fatalf("the circuit is open for %v", wait)
	}
	p.Refused(now, forAll)
}

func TestKeyCircuits(t *testing.T) {
	now := time.Now()
	shared := Key{Provider: "openai"}
	own := Key{Provider: "openai", Owner: "acme", Digest: sha256.Sum256([]byte("a"))}
	rotated := Key{Provider: "openai", Owner: "acme", Digest: sha256.Sum256([]byte("b"))}
	other := Key{Provider: "openai", Owner: "globex", Digest: own.Digest}
	elsewhere := Key{Provider: "local", Owner: "acme", Digest: own.Digest}

	t.Run("keys do not share a circuit", func(t *testing.T) {
		table := keyTable(t, 1)
		refuse(t, table, own, "m", now, true)
		for key, want := range map[Key]CircuitState{own: Open, shared: Closed, rotated: Closed, other: Closed, elsewhere: Closed} {
			if got := table.KeyState(key, "m", now); got != want {
				t.Errorf("%s of %q: %s, want %s", key.Provider, key.Owner, got, want)
			}
			if p, _ := table.EnterKey(key, "m", now); (p == nil) != (want == Open) {
				t.Errorf("%s of %q: let through: %v", key.Provider, key.Owner, p != nil)
			}
		}
		if got := table.KeyState(own, "another", now); got != Open {
			t.Errorf("another model: %s", got)
		}
	})
	t.Run("a model of its own", func(t *testing.T) {
		table := keyTable(t, 1)
		refuse(t, table, shared, "m", now, false)
		if a, b := table.KeyState(shared, "m", now), table.KeyState(shared, "n", now); a != Open || b != Closed {
			t.Errorf("%s and %s", a, b)
		}
	})
	t.Run("a success closes the circuit and forgets it", func(t *testing.T) {
		table := keyTable(t, 2)
		refuse(t, table, shared, "m", now, true)
		p, _ := table.EnterKey(shared, "m", now)
		if p.Accepted() {
			t.Error("a closed circuit closes")
		}
		p.Ended()
		if n := len(table.keys.breakers); n != 0 {
			t.Errorf("%d circuits are kept", n)
		}
		refuse(t, table, shared, "m", now, true)
		if s := table.KeyState(shared, "m", now); s != Closed {
			t.Errorf("the circuit is %s after a single failure", s)
		}
		refuse(t, table, shared, "m", now, true)
		later := now.Add(time.Minute)
		p, _ = table.EnterKey(shared, "m", later)
		if second, _ := table.EnterKey(shared, "m", later); second != nil {
			t.Error("two probes at once")
		}
		if !p.Accepted() || table.KeyState(shared, "m", later) != Closed {
			t.Error("the probe does not close the circuit")
		}
	})
	t.Run("a call from before the circuit opened does not close it", func(t *testing.T) {
		table := keyTable(t, 1)
		early, _ := table.EnterKey(shared, "m", now)
		refuse(t, table, shared, "m", now, true)
		if early.Accepted() || table.KeyState(shared, "m", now) != Open {
			t.Error("it does")
		}
	})
	t.Run("a call that is not let through holds no probe", func(t *testing.T) {
		table := keyTable(t, 1)
		early, _ := table.EnterKey(shared, "m", now)
		refuse(t, table, shared, "m", now, true)
		later := now.Add(time.Minute)
		early.Refused(later.Add(-time.Second), false) // the model's circuit opens
		if p, _ := table.EnterKey(shared, "m", later); p != nil {
			t.Fatal("let through by the key's circuit alone")
		}
		if p, _ := table.EnterKey(shared, "n", later); p == nil {
			t.Error("the probe of the key is lost")
		}
	})
	t.Run("no breaker", func(t *testing.T) {
		table := keyTable(t, 0)
		for range 3 {
			refuse(t, table, shared, "m", now, true)
		}
		if n := len(table.keys.breakers); n != 0 {
			t.Errorf("%d circuits are kept", n)
		}
	})
	t.Run("there are not too many", func(t *testing.T) {
		table := keyTable(t, 1)
		for i := range maxScopes + 10 {
			refuse(t, table, Key{Provider: "openai", Owner: fmt.Sprint(i)}, "m", now, true)
		}
		if n := len(table.keys.breakers); n != maxScopes {
			t.Errorf("%d circuits are kept", n)
		}
	})
	t.Run("at once", func(t *testing.T) {
		table := keyTable(t, 3)
		var wg sync.WaitGroup
		for i := range 8 {
			wg.Go(func() {
				for n := range 200 {
					p, _ := table.EnterKey(shared, "m", now)
					switch {
					case p == nil:
					case (n+i)%3 == 0:
						p.Accepted()
					default:
						p.Refused(now, n%2 == 0)
					}
					table.Circuits(now, func(string) Key { return shared })
				}
			})
		}
		wg.Wait()
	})
}
