package limit

import (
	"math/rand/v2"
	"testing"
	"time"
)

func wantSum(t *testing.T, y *Tally, now time.Time, length time.Duration, want int64) {
	t.Helper()
	if got := y.Sum(now, length); got != want {
		t.Errorf("the sum is %d, want %d", got, want)
	}
}

func TestTally(t *testing.T) {
	const length = time.Minute
	start := time.Unix(1_700_000_000, 0)
	at := func(s int) time.Time { return start.Add(time.Duration(s) * time.Second) }

	t.Run("what was added counts until it is as old as the window is long", func(t *testing.T) {
		var y Tally
		y.Add(at(0), 5, length)
		y.Add(at(10), 7, length)
		wantSum(t, &y, at(60).Add(-1), length, 12)
		wantSum(t, &y, at(60), length, 7)
		wantSum(t, &y, at(70), length, 0)
		if !y.Empty(at(70), length) || !y.Reset(at(70), length).Equal(at(70)) {
			t.Error("it is not empty")
		}
	})
	t.Run("waits until no more than so much counts", func(t *testing.T) {
		var y Tally
		y.Add(at(0), 5, length)
		y.Add(at(10), 7, length)
		for n, want := range map[int64]time.Duration{12: 0, 11: 40 * time.Second, 7: 40 * time.Second, 6: 50 * time.Second, 0: 50 * time.Second, -3: 50 * time.Second} {
			if got := y.Wait(at(20), n, length); got != want {
				t.Errorf("for %d it waits %v, want %v", n, got, want)
			}
		}
		if got := new(Tally).Wait(at(0), -1, length); got != 0 {
			t.Errorf("an empty one waits %v", got)
		}
		if got := y.Reset(at(20), length); !got.Equal(at(70)) {
			t.Errorf("reset is at %v", got)
		}
	})
	t.Run("nothing and less add nothing", func(t *testing.T) {
		var y Tally
		y.Add(at(0), 0, length)
		y.Add(at(0), -5, length)
		if !y.Empty(at(0), length) || len(y.entries) != 0 {
			t.Errorf("there are entries: %v", y.entries)
		}
	})
	t.Run("where the clock was set back, it stands still", func(t *testing.T) {
		var y Tally
		y.Add(at(100), 5, length)
		y.Add(at(0), 7, length)
		wantSum(t, &y, at(0), length, 12)
		wantSum(t, &y, at(100), length, 12)
		wantSum(t, &y, at(160), length, 0)
	})
	t.Run("many leave no sooner, and little later", func(t *testing.T) {
		var y Tally
		type added struct {
			at time.Time
			n  int64
		}
		var all []added
		now := start
		for range 20_000 {
			now = now.Add(time.Duration(rand.Int64N(int64(20 * time.Millisecond))))
			a := added{now, rand.Int64N(10)}
			all = append(all, a)
			y.Add(a.at, a.n, length)
			if len(y.entries) > maxEntries || cap(y.entries) > 2*maxEntries {
				t.Fatalf("%d entries in room for %d", len(y.entries), cap(y.entries))
			}
		}
		sum := func(from time.Time) (n int64) {
			for _, a := range all {
				if a.at.After(from) {
					n += a.n
				}
			}
			return n
		}
		for range 70 {
			exact := sum(now.Add(-length))
			late := sum(now.Add(-length - length/slots))
			if got := y.Sum(now, length); got < exact || got > late {
				t.Fatalf("the sum is %d, want %d to %d", got, exact, late)
			}
			now = now.Add(time.Second)
		}
		if got := y.Sum(now, length); got != 0 || cap(y.entries) > 64 {
			t.Errorf("%d are left, in room for %d", got, cap(y.entries))
		}
	})
}
