package limit

import (
	"time"

	"github.com/caddy-chat/caddy-chat/modules/store"
)

// entry is what is known of one key. All windows of the key share its events.
type entry struct {
	ring  ring
	slots int64 // in use

	longest demand // length of the longest window, in nanoseconds
	most    demand // limit of the largest window
}

// demand is the largest value that was asked for lately. Two routes, or the
// configurations before and after a reload, may ask different windows of one
// key; what only one of them needs must outlive the other's requests, and go
// when it is no longer asked for.
type demand struct {
	value int64
	at    int64 // when it was last asked for
}

// ask notes that v was asked for at time now. A larger value is forgotten
// when it has not been asked for during keep.
func (d *demand) ask(v, now, keep int64) {
	if v >= d.value || now-d.at >= keep {
		*d = demand{v, now}
	}
}

// clamp returns now, or the newest event where the clock was set back: the
// ring stays sorted.
func (e *entry) clamp(now int64) int64 {
	if e.ring.n == 0 {
		return now
	}
	return max(now, e.ring.newest(1))
}

// ask notes which windows are asked for. Refused requests ask too: a window
// that refuses for hours must not lose its events to one that grants.
func (e *entry) ask(now int64, windows []store.Window) {
	if len(windows) == 0 {
		return
	}
	var longest, most int64
	for _, w := range windows {
		longest = max(longest, int64(w.Length))
		most = max(most, w.Limit)
	}
	keep := e.longest.value
	e.longest.ask(longest, now, keep)
	e.most.ask(most, now, keep)
}

// admits says whether the key would let one more request through.
func (e *entry) admits(now int64, t store.Take) bool {
	if !e.slotFree(t) {
		return false
	}
	for _, w := range t.Windows {
		if e.wait(now, w) > 0 {
			return false
		}
	}
	return true
}

func (e *entry) slotFree(t store.Take) bool {
	return t.Slots == 0 || e.slots < t.Slots
}

// add counts one request.
func (e *entry) add(now int64, t store.Take) {
	if t.HoldsSlot() {
		e.slots++
	}
	if len(t.Windows) > 0 {
		e.ring.expire(now, e.longest.value)
		e.ring.push(now, e.most.value)
	}
}

// wait returns how long until the window has room, 0 where it has now. An
// event leaves the window at the very moment that it is Length old.
func (e *entry) wait(now int64, w store.Window) time.Duration {
	if w.Limit < 1 {
		return max(w.Length, 1)
	}
	if int64(e.ring.n) < w.Limit {
		return 0
	}
	age := now - e.ring.newest(int(w.Limit))
	return max(w.Length-time.Duration(age), 0)
}

// state returns what a window looks like at the key's time at. now is the
// clock's, which may be behind: the wait is counted by the clock.
func (e *entry) state(now, at int64, w store.Window) store.WindowState {
	in := e.ring.younger(at, int64(w.Length))
	st := store.WindowState{
		Remaining: max(w.Limit-in, 0),
		Reset:     time.Unix(0, at),
		Wait:      e.wait(at, w),
	}
	if in > 0 {
		st.Reset = time.Unix(0, e.ring.newest(1)).Add(w.Length)
	}
	if st.Wait > 0 {
		st.Wait += time.Duration(at - now)
	}
	return st
}

// expired says whether the entry can be forgotten: no slot is in use and the
// newest event has left the longest window.
func (e *entry) expired(now int64) bool {
	if e.slots > 0 {
		return false
	}
	return e.ring.n == 0 || now-e.ring.newest(1) >= e.longest.value
}

// until is when the newest event leaves the longest window.
func (e *entry) until() time.Time {
	return time.Unix(0, e.ring.newest(1)).Add(time.Duration(e.longest.value))
}
