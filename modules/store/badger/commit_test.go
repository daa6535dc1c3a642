package badger

import (
	"errors"
	"fmt"
	"runtime"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	kv "github.com/dgraph-io/badger/v4"

	"github.com/caddy-chat/caddy-chat/modules/store"
)

func dayBudget(want store.Amount) []store.Budget { return []store.Budget{{Key: "day", Want: want}} }

func settled(t *testing.T, d *db, tenant, id string, n store.Amount) {
	t.Helper()
	_, err := d.Settle(t.Context(), tenant, id, dayBudget(n))
	must(t, err)
}

// wantOnDisk checks what a killed process would leave of a counter.
func wantOnDisk(t *testing.T, d *db, tenant string, want store.Amount) {
	t.Helper()
	var c counter
	err := d.view(func(txn *kv.Txn) error {
		item, err := txn.Get(budgetKey(tenant, "day"))
		if errors.Is(err, kv.ErrKeyNotFound) {
			return nil
		}
		if err != nil {
			return err
		}
		return item.Value(c.decode)
	})
	must(t, err)
	if c.used != want {
		t.Errorf("%d of %s are on the disk, want %d", c.used, tenant, want)
	}
}

func wantCounted(t *testing.T, d *db, tenant string, want store.Amount) {
	t.Helper()
	balances, err := d.Balances(t.Context(), tenant, dayBudget(0))
	must(t, err)
	if balances[0].Used != want {
		t.Errorf("%s used %d, want %d", tenant, balances[0].Used, want)
	}
}

// inBubble runs a test on a store whose clock stands still while any of its
// goroutines works.
func inBubble(t *testing.T, name string, b Badger, run func(t *testing.T, d *db)) {
	t.Run(name, func(t *testing.T) {
		b.Path = t.TempDir()
		synctest.Test(t, func(t *testing.T) { run(t, openAt(t, b, time.Now)) })
	})
}

func TestCountersAreCommitted(t *testing.T) {
	inBubble(t, "within 100 ms", Badger{}, func(t *testing.T, d *db) {
		settled(t, d, "acme", "a", 30)
		settled(t, d, "globex", "a", 5)
		wantOnDisk(t, d, "acme", 0)
		wantCounted(t, d, "acme", 30)
		for range 3 {
			settled(t, d, "acme", fmt.Sprint(time.Now()), 10)
			time.Sleep(commitWithin)
		}
		wantOnDisk(t, d, "acme", 60)
		wantOnDisk(t, d, "globex", 5)
	})
	inBubble(t, "of more tenants than fit one transaction", Badger{}, func(t *testing.T, d *db) {
		const n = 3*ledgersAtOnce + 1
		for i := range n {
			settled(t, d, fmt.Sprint(i), "a", store.Amount(i))
		}
		time.Sleep(commitWithin)
		for i := range n {
			wantOnDisk(t, d, fmt.Sprint(i), store.Amount(i))
		}
	})
	inBubble(t, "before the next call where that took longer", Badger{}, func(t *testing.T, d *db) {
		settled(t, d, "acme", "a", 30)
		d.unsaved.mu.Lock()
		d.unsaved.since = time.Now().Add(-commitWithin)
		d.unsaved.mu.Unlock()
		settled(t, d, "globex", "a", 5)
		wantOnDisk(t, d, "acme", 30)
		wantOnDisk(t, d, "globex", 0)
	})
	inBubble(t, "before they are acknowledged with sync_writes", Badger{SyncWrites: true}, func(t *testing.T, d *db) {
		settled(t, d, "acme", "a", 30)
		wantOnDisk(t, d, "acme", 30)
	})
	inBubble(t, "not after their tenant was erased", Badger{}, func(t *testing.T, d *db) {
		settled(t, d, "acme", "a", 30)
		must(t, d.EraseTenant(t.Context(), "acme"))
		time.Sleep(commitWithin)
		wantOnDisk(t, d, "acme", 0)
		settled(t, d, "acme", "a", 7)
		must(t, d.EraseTenant(t.Context(), "acme"))
		settled(t, d, "acme", "a", 3)
		time.Sleep(commitWithin)
		wantOnDisk(t, d, "acme", 3)
	})
}

func TestCountersSurviveARestart(t *testing.T) {
	dir := t.TempDir()
	small := newSmallDisk()
	d := openAt(t, Badger{Path: dir, space: small.space}, time.Now)
	settled(t, d, "acme", "a", 30)
	small.has(closeRoom) // the last writes are made on a full disk, too
	must(t, d.Close())
	d = openAt(t, Badger{Path: dir}, time.Now)
	wantCounted(t, d, "acme", 30)
}

func TestCommitFails(t *testing.T) {
	reserve := func(t *testing.T, d *db, id string, budgets []store.Budget) error {
		_, err := d.Reserve(t.Context(), "acme", id, time.Hour, budgets)
		return err
	}
	small := newSmallDisk()
	inBubble(t, "on a full disk, and works again when there is room", Badger{space: small.space}, func(t *testing.T, d *db) {
		must(t, reserve(t, d, "running", dayBudget(10)))
		settled(t, d, "acme", "a", 30)
		small.has(0)
		time.Sleep(commitWithin)
		wantOnDisk(t, d, "acme", 0)
		wantFull(t, reserve(t, d, "new", dayBudget(10)))
		must(t, reserve(t, d, "running", dayBudget(20)))

		small.has(512 << 20)
		time.Sleep(3 * commitAgain)
		wantOnDisk(t, d, "acme", 30)
		must(t, reserve(t, d, "new", dayBudget(10)))
		wantCounted(t, d, "acme", 30)
	})
	inBubble(t, "on a broken disk", Badger{}, func(t *testing.T, d *db) {
		must(t, reserve(t, d, "running", dayBudget(10)))
		settled(t, d, "acme", "a", 30)
		must(t, d.disk.Close())
		must(t, reserve(t, d, "early", dayBudget(10)))
		time.Sleep(commitWithin)
		for _, again := range []time.Duration{0, 2 * commitAgain} {
			time.Sleep(again)
			wantErr(t, reserve(t, d, "new", dayBudget(10)), kv.ErrDBClosed)
			must(t, reserve(t, d, "running", dayBudget(20)))
			must(t, reserve(t, d, "sliding", sliding("anna", 10))) // needs no disk
			_, err := d.Settle(t.Context(), "acme", "running", dayBudget(5))
			wantErr(t, err, kv.ErrDBClosed)
			wantCounted(t, d, "acme", 30) // and a later commit has all of it
		}
		wantErr(t, d.Close(), kv.ErrDBClosed)
	})
}

// A name that Badger refuses would keep all other counters from the disk.
func TestLongCounterNamesAreRefused(t *testing.T) {
	inBubble(t, "by every call", Badger{}, func(t *testing.T, d *db) {
		long := []store.Budget{{Key: string(make([]byte, 70_000)), Want: 1}}
		if _, err := d.Reserve(t.Context(), "acme", "a", time.Hour, long); err == nil {
			t.Error("it was reserved")
		}
		if _, err := d.Settle(t.Context(), "acme", "a", append(dayBudget(3), long...)); err == nil {
			t.Error("it was settled")
		}
		settled(t, d, "acme", "a", 30)
		time.Sleep(commitWithin)
		wantOnDisk(t, d, "acme", 30)
	})
}

func inMemory(d *db, tenant string) int {
	l := &d.tenant(tenant).ledger
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.counters.byKey)
}

func TestIdleCountersAreDropped(t *testing.T) {
	inBubble(t, "once they are on the disk", Badger{}, func(t *testing.T, d *db) {
		settled(t, d, "acme", "a", 30)
		d.dropIdleCounters()
		d.dropIdleCounters()
		if inMemory(d, "acme") != 1 {
			t.Fatal("a counter was dropped that the disk does not know")
		}
		time.Sleep(commitWithin)
		wantCounted(t, d, "acme", 30)
		d.dropIdleCounters()
		if inMemory(d, "acme") != 1 {
			t.Error("a counter in use was dropped")
		}
		time.Sleep(3 * expireEvery)
		if n := inMemory(d, "acme"); n != 0 {
			t.Errorf("%d counters are kept", n)
		}
		wantCounted(t, d, "acme", 30)
		settled(t, d, "acme", "b", 12)
		wantCounted(t, d, "acme", 42)
	})
}

// repeat runs a function again and again until stop is called.
func repeat(do func()) (stop func()) {
	var wg sync.WaitGroup
	done := make(chan struct{})
	wg.Go(func() {
		for {
			select {
			case <-done:
				return
			default:
				do()
			}
		}
	})
	return func() {
		close(done)
		wg.Wait()
	}
}

// TestSettlesBesideCommits settles while counters are written and dropped.
func TestSettlesBesideCommits(t *testing.T) {
	const workers, calls = 8, 1000
	dir := t.TempDir()
	d := openAt(t, Badger{Path: dir}, time.Now)
	stopCommits := repeat(func() {
		if err := d.commitCounters(); err != nil {
			t.Error(err)
		}
	})
	stopDrops := repeat(d.dropIdleCounters)
	var wg sync.WaitGroup
	for w := range workers {
		wg.Go(func() {
			for i := range calls {
				for _, tenant := range []string{"acme", "globex"} {
					if _, err := d.Settle(t.Context(), tenant, fmt.Sprint(w, "/", i), dayBudget(1)); err != nil {
						t.Error(err)
					}
				}
			}
		})
	}
	wg.Wait()
	stopCommits()
	stopDrops()
	must(t, d.Close())

	d = openAt(t, Badger{Path: dir}, time.Now)
	wantCounted(t, d, "acme", workers*calls)
	wantCounted(t, d, "globex", workers*calls)
}

// TestEraseBesideCommits erases a tenant while its counter is written, in a
// group that takes longer than that: it must not come back.
func TestEraseBesideCommits(t *testing.T) {
	d := openAt(t, Badger{Path: t.TempDir()}, time.Now)
	for round := range 200 {
		for i := range ledgersAtOnce - 1 {
			settled(t, d, fmt.Sprint("tenant", i), fmt.Sprint(round), 1)
		}
		settled(t, d, "erased", fmt.Sprint(round), 1)
		var wg sync.WaitGroup
		wg.Go(func() {
			if err := d.commitCounters(); err != nil {
				t.Error(err)
			}
		})
		runtime.Gosched()
		must(t, d.EraseTenant(t.Context(), "erased"))
		wg.Wait()
		wantOnDisk(t, d, "erased", 0)
	}
}
