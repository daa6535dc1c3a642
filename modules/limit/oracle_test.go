package limit

import (
	"math/rand/v2"
	"reflect"
	"testing"
	"time"

	"github.com/caddy-chat/caddy-chat/modules/store"
)

// oracle is the limiter as one would write it on a napkin: it keeps every
// event for good and counts them anew each time.
type oracle struct {
	events map[key][]int64
	slots  map[key]int64
}

func newOracle() *oracle {
	return &oracle{map[key][]int64{}, map[key]int64{}}
}

// at is the time at which a key counts: it never goes back.
func (o *oracle) at(k key, now int64) int64 {
	for _, t := range o.events[k] {
		now = max(now, t)
	}
	return now
}

// in counts the events less than length old.
func (o *oracle) in(k key, at int64, length time.Duration) (n int64) {
	for _, t := range o.events[k] {
		if time.Duration(at-t) < length {
			n++
		}
	}
	return n
}

func (o *oracle) take(now int64, tenant string, takes []store.Take) ([]store.Taken, bool) {
	granted := true
	free := make([]bool, len(takes))
	for i, t := range takes {
		k := key{tenant, t.Key}
		free[i] = t.Slots == 0 || o.slots[k] < t.Slots
		granted = granted && free[i]
		for _, w := range t.Windows {
			granted = granted && o.in(k, o.at(k, now), w.Length) < w.Limit
		}
	}

	results := make([]store.Taken, len(takes))
	for i, t := range takes {
		k := key{tenant, t.Key}
		at := o.at(k, now)
		if granted && len(t.Windows) > 0 {
			o.events[k] = append(o.events[k], at)
		}
		inUse := o.slots[k]
		if granted && t.Slots > 0 {
			inUse++
			if t.HoldsSlot() {
				o.slots[k]++
			}
		}
		results[i] = store.Taken{Windows: []store.WindowState{}, InUse: inUse, SlotFree: free[i]}
		for _, w := range t.Windows {
			results[i].Windows = append(results[i].Windows, o.state(k, now, at, w))
		}
	}
	return results, granted
}

func (o *oracle) state(k key, now, at int64, w store.Window) store.WindowState {
	in := o.in(k, at, w.Length)
	st := store.WindowState{Remaining: max(w.Limit-in, 0), Reset: time.Unix(0, at)}
	if in > 0 {
		st.Reset = time.Unix(0, o.at(k, 0)).Add(w.Length)
	}
	// The moments at which something changes are those at which an event
	// leaves; the first of them with room ends the wait.
	if in < w.Limit {
		return st
	}
	for _, t := range o.events[k] {
		then := t + int64(w.Length)
		if then > at && o.in(k, then, w.Length) < w.Limit {
			st.Wait = time.Duration(then - now)
			break
		}
	}
	return st
}

func (o *oracle) release(tenant string, takes []store.Take) {
	for _, t := range takes {
		if k := (key{tenant, t.Key}); t.HoldsSlot() && o.slots[k] > 0 {
			o.slots[k]--
		}
	}
}

// forget drops what may be forgotten at time now, as the limiter does at
// moments of its own choice. It only matters before the clock goes back.
func (o *oracle) forget(now int64, windows map[string][]store.Window) {
	for k := range o.events {
		var longest time.Duration
		for _, w := range windows[k.name] {
			longest = max(longest, w.Length)
		}
		if o.slots[k] == 0 && now >= o.at(k, 0) && o.in(k, now, longest) == 0 {
			delete(o.events, k)
		}
	}
}

// schedule is one random course of events over a few keys and windows.
type schedule struct {
	rnd     *rand.Rand
	windows map[string][]store.Window
	slots   map[string]int64
	mixed   bool // each take asks only some of a key's windows
	step    time.Duration
}

func newSchedule(seed uint64) *schedule {
	rnd := rand.New(rand.NewPCG(seed, 1))
	s := &schedule{rnd: rnd, windows: map[string][]store.Window{}, slots: map[string]int64{}, mixed: seed%2 == 0}
	for _, k := range []string{"user", "ip", "tenant"} {
		for range rnd.IntN(4) {
			w := store.Window{Limit: 1 + rnd.Int64N(12), Length: time.Duration(1+rnd.IntN(50)) * time.Millisecond}
			s.windows[k] = append(s.windows[k], w)
		}
		s.slots[k] = rnd.Int64N(4)
	}
	s.step = time.Duration(1+rnd.IntN(20)) * time.Millisecond
	if s.mixed {
		// What nobody asked for during the longest window may be forgotten,
		// so that one is always asked for and is longer than the schedule.
		s.step = 200 * time.Microsecond
		for _, k := range []string{"user", "ip", "tenant"} {
			long := store.Window{Limit: 1 + rnd.Int64N(20), Length: 60 * time.Millisecond}
			s.windows[k] = append([]store.Window{long}, s.windows[k]...)
		}
	}
	return s
}

func (s *schedule) takes() []store.Take {
	var takes []store.Take
	for _, k := range []string{"user", "ip", "tenant"} {
		if s.rnd.IntN(3) == 0 {
			continue
		}
		t := store.Take{Key: k}
		for i, w := range s.windows[k] {
			if !s.mixed || i == 0 || s.rnd.IntN(2) == 0 {
				t.Windows = append(t.Windows, w)
			}
		}
		if s.rnd.IntN(2) == 0 {
			t.Slots, t.Later = s.slots[k], s.rnd.IntN(3) == 0
		}
		takes = append(takes, t)
	}
	s.rnd.Shuffle(len(takes), func(i, j int) { takes[i], takes[j] = takes[j], takes[i] })
	return takes
}

// advance moves the clock, on whole milliseconds now and then, so that
// events meet the very edges of windows; and sometimes back.
func (s *schedule) advance(now int64) int64 {
	switch s.rnd.IntN(12) {
	case 0:
		return now - s.rnd.Int64N(int64(2*s.step))
	case 1, 2:
		return now
	case 3, 4, 5:
		return (now/1e6 + 1) * 1e6
	}
	return now + s.rnd.Int64N(int64(s.step))
}

func TestMemoryIsExact(t *testing.T) {
	schedules := uint64(10_000)
	if testing.Short() {
		schedules = 1_000
	}
	grants, refusals := 0, 0
	for seed := range schedules {
		s := newSchedule(seed)
		now := int64(1_700_000_000_000_000_000)
		m := NewMemory(MemoryOptions{Now: func() time.Time { return time.Unix(0, now) }})
		o := newOracle()
		var held [][]store.Take
		for step := range 60 {
			before := now
			if now = s.advance(now); now < before {
				o.forget(before, s.windows)
				for i := range m.shards {
					m.sweepShard(&m.shards[i], before)
				}
			}
			if len(held) > 0 && s.rnd.IntN(3) == 0 {
				o.release("acme", held[0])
				release(t, m, "acme", held[0])
				held = held[1:]
			}
			takes := s.takes()
			want, wantGranted := o.take(now, "acme", takes)
			got, granted, err := m.Take(t.Context(), "acme", takes)
			if err != nil || granted != wantGranted || !reflect.DeepEqual(got, want) {
				t.Fatalf("schedule %d, step %d: %+v\ngot  %v %+v, error %v\nwant %v %+v",
					seed, step, takes, granted, got, err, wantGranted, want)
			}
			if granted {
				grants++
				held = append(held, takes)
			} else {
				refusals++
			}
		}
	}
	if grants == 0 || refusals == 0 {
		t.Fatalf("%d grants and %d refusals: the schedules try nothing", grants, refusals)
	}
	t.Logf("%d grants, %d refusals", grants, refusals)
}

func TestNoIntervalHoldsMoreThanTheLimit(t *testing.T) {
	for seed := range uint64(300) {
		rnd := rand.New(rand.NewPCG(seed, 2))
		w := store.Window{Limit: 1 + rnd.Int64N(50), Length: time.Duration(1+rnd.IntN(1000)) * time.Millisecond}
		now := int64(1_700_000_000_000_000_000)
		m := NewMemory(MemoryOptions{Now: func() time.Time { return time.Unix(0, now) }})
		takes := []store.Take{{Key: "u", Windows: []store.Window{w}}}

		var granted []int64
		for range 1000 {
			now += rnd.Int64N(int64(w.Length)/w.Limit + 1)
			res, ok, err := m.Take(t.Context(), "acme", takes)
			if err != nil {
				t.Fatal(err)
			}
			if ok {
				granted = append(granted, now)
				continue
			}
			// The wait is exact too: a nanosecond before it is too early.
			wait := int64(res[0].Windows[0].Wait)
			now += wait - 1
			if _, ok, _ := m.Take(t.Context(), "acme", takes); ok {
				t.Fatalf("seed %d: granted before the wait was over", seed)
			}
			now++
			if _, ok, _ := m.Take(t.Context(), "acme", takes); !ok {
				t.Fatalf("seed %d: refused after the wait", seed)
			}
			granted = append(granted, now)
		}
		for i := int(w.Limit); i < len(granted); i++ {
			if age := granted[i] - granted[i-int(w.Limit)]; age < int64(w.Length) {
				t.Fatalf("seed %d: %d requests within %v, window %+v", seed, w.Limit+1, time.Duration(age), w)
			}
		}
	}
}
