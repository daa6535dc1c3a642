package badger

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"testing"
	"time"

	"github.com/caddy-chat/caddy-chat/modules/store"
)

// movedClock is a clock that a test moves.
type movedClock struct{ nanos atomic.Int64 }

func newMovedClock() *movedClock {
	c := new(movedClock)
	c.nanos.Store(time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC).UnixNano())
	return c
}

func (c *movedClock) now() time.Time          { return time.Unix(0, c.nanos.Load()) }
func (c *movedClock) advance(d time.Duration) { c.nanos.Add(int64(d)) }

func sliding(key string, want store.Amount) []store.Budget {
	return []store.Budget{{Key: key, Limit: 100, Want: want, Window: time.Minute}}
}

func spend(t *testing.T, d *db, tenant, id, key string, n store.Amount) {
	t.Helper()
	if _, err := d.Settle(context.Background(), tenant, id, sliding(key, n)); err != nil {
		t.Fatal(err)
	}
}

func wantUsed(t *testing.T, d *db, tenant, key string, want store.Amount) store.Balance {
	t.Helper()
	balances, err := d.Balances(context.Background(), tenant, sliding(key, 0))
	must(t, err)
	if balances[0].Used != want || balances[0].Held != 0 {
		t.Errorf("%s of %s is %+v, want used %d", key, tenant, balances[0], want)
	}
	return balances[0]
}

func TestWindowsSurviveARestart(t *testing.T) {
	c, dir := newMovedClock(), t.TempDir()
	d := openAt(t, Badger{Path: dir}, c.now)
	spend(t, d, "acme", "a", "anna", 30)
	c.advance(20 * time.Second)
	spend(t, d, "acme", "b", "anna", 20)
	spend(t, d, "globex", "a", "anna", 5)
	if _, err := d.Reserve(context.Background(), "acme", "c", time.Hour, sliding("anna", 50)); err != nil {
		t.Fatal(err)
	}
	must(t, d.Close())

	c.advance(10 * time.Second)
	d = openAt(t, Badger{Path: dir}, c.now)
	if n := count(t, d, []byte{spaceSlides}); n != 0 {
		t.Errorf("%d saved windows are left after opening", n)
	}
	b := wantUsed(t, d, "acme", "anna", 50) // and nothing held: its process is gone
	if want := c.now().Add(50 * time.Second); !b.Reset.Equal(want) {
		t.Errorf("reset is at %v, want %v", b.Reset, want)
	}
	wantUsed(t, d, "globex", "anna", 5)
	c.advance(30 * time.Second)
	wantUsed(t, d, "acme", "anna", 20)
	must(t, d.Close())

	c.advance(time.Minute) // longer closed than the window is long
	d = openAt(t, Badger{Path: dir}, c.now)
	wantUsed(t, d, "acme", "anna", 0)
	if n := d.windows.Load(); n != 0 {
		t.Errorf("%d windows are kept", n)
	}
}

func TestWindowsOfTheFutureCountFromTheRestartOn(t *testing.T) {
	c, dir := newMovedClock(), t.TempDir()
	d := openAt(t, Badger{Path: dir}, c.now)
	spend(t, d, "acme", "a", "anna", 30)
	must(t, d.Close())
	c.advance(-time.Hour)
	d = openAt(t, Badger{Path: dir}, c.now)
	wantUsed(t, d, "acme", "anna", 30)
	c.advance(time.Minute)
	wantUsed(t, d, "acme", "anna", 0)
}

func TestRestoreWindowRefusesWhatItDidNotWrite(t *testing.T) {
	c := newMovedClock()
	d := openAt(t, Badger{Path: t.TempDir()}, c.now)
	w := &window{length: time.Minute}
	w.Add(c.now(), 7, w.length)
	whole := encodeWindow(c.now(), "acme", "anna", w)
	for n := range whole {
		if err := d.restoreWindow(whole[:n]); err == nil && d.windows.Load() != 0 {
			t.Fatalf("the first %d of %d bytes made a window", n, len(whole))
		}
	}
	must(t, d.restoreWindow(whole))
	wantUsed(t, d, "acme", "anna", 7)
}

func TestEmptyWindowsAreDropped(t *testing.T) {
	const n = 1000
	c := newMovedClock()
	d := openAt(t, Badger{Path: t.TempDir()}, c.now)
	fill := func(round int) {
		for i := range n {
			key := fmt.Sprint(round, "/", i)
			spend(t, d, fmt.Sprint("tenant", i%2), key, key, 1)
		}
	}
	fill(0)
	if got := d.windows.Load(); got != n {
		t.Fatalf("%d windows, want %d", got, n)
	}

	t.Run("when one is read", func(t *testing.T) {
		c.advance(time.Minute)
		wantUsed(t, d, "tenant0", "0/0", 0)
		if got := d.windows.Load(); got != n-1 {
			t.Errorf("%d windows, want %d", got, n-1)
		}
	})
	t.Run("by new ones", func(t *testing.T) {
		fill(1)
		if got := d.windows.Load(); got > n+n/2 {
			t.Errorf("%d windows beside %d empty ones", got, got-n)
		}
	})
	t.Run("by themselves", func(t *testing.T) {
		d.expireWindows()
		if got := d.windows.Load(); got != n {
			t.Errorf("%d windows, want the %d that count", got, n)
		}
		c.advance(time.Minute)
		d.expireWindows()
		if got := d.windows.Load(); got != 0 {
			t.Errorf("%d windows, want none", got)
		}
	})
	t.Run("with their tenant", func(t *testing.T) {
		fill(2)
		must(t, d.EraseTenant(context.Background(), "tenant0"))
		if got := d.windows.Load(); got != n/2 {
			t.Errorf("%d windows, want %d", got, n/2)
		}
	})
}

func TestTooManyWindowsAreRefused(t *testing.T) {
	ctx := context.Background()
	c := newMovedClock()
	d := openAt(t, Badger{Path: t.TempDir()}, c.now)
	spend(t, d, "acme", "a", "anna", 10)
	d.windows.Add(maxWindows - 1)

	_, err := d.Reserve(ctx, "acme", "b", time.Minute, sliding("bob", 1))
	wantErr(t, err, store.ErrFull)
	_, err = d.Reserve(ctx, "acme", "b", time.Minute, sliding("anna", 1))
	must(t, err)
	// what has been used counts in any case
	spend(t, d, "acme", "c", "carl", 7)
	wantUsed(t, d, "acme", "carl", 7)

	c.advance(time.Minute)
	_, err = d.Reserve(ctx, "acme", "d", time.Minute, sliding("dora", 1))
	must(t, err)
}

// A full disk is no reason to forget what is only in memory.
func TestWindowsNeedNoDisk(t *testing.T) {
	small := newSmallDisk()
	d := openAt(t, Badger{Path: t.TempDir(), space: small.space}, time.Now)
	small.has(0)
	spend(t, d, "acme", "a", "anna", 10)
	wantUsed(t, d, "acme", "anna", 10)
	_, err := d.Settle(context.Background(), "acme", "b", append(sliding("anna", 5), store.Budget{Key: "day", Want: 5}))
	wantFull(t, err)
	wantUsed(t, d, "acme", "anna", 10)
}

func wantErr(t *testing.T, err, want error) {
	t.Helper()
	if !errors.Is(err, want) {
		t.Errorf("error is %v, want %v", err, want)
	}
}
