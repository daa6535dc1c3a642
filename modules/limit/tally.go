package limit

import (
	"slices"
	"time"
)

// maxEntries is how many entries a tally keeps apart. 1,024 of them take
// 16 KiB.
const maxEntries = 1024

// slots is into how many parts of its length a tally that has become too long
// divides its window.
const slots = maxEntries / 2

// Tally adds up amounts over a sliding window: what was added counts until it
// is as old as the window is long, to the nanosecond. Only beyond maxEntries
// do neighbours that are less than a 512th of the window apart become one,
// which leaves with the younger of them: a tally then counts rather too much,
// and never too little.
//
// The zero Tally is empty. It is not safe for concurrent use.
type Tally struct {
	entries []tallied // oldest first
	sum     int64
}

// tallied is an amount and when it was added, in Unix nanoseconds.
type tallied struct {
	at, n int64
}

// Add counts n from now on. Where the clock was set back, it counts from the
// newest entry on.
func (t *Tally) Add(now time.Time, n int64, length time.Duration) {
	if n <= 0 {
		return
	}
	t.expire(now, length)
	at := now.UnixNano()
	if k := len(t.entries); k > 0 {
		at = max(at, t.entries[k-1].at)
	}
	if len(t.entries) == maxEntries {
		t.merge(int64(length))
	}
	t.entries = append(t.entries, tallied{at, n})
	t.sum += n
}

// merge makes one entry of all that fall into the same slot of time.
func (t *Tally) merge(length int64) {
	width := max(length/slots, 1)
	kept := t.entries[:1]
	for _, e := range t.entries[1:] {
		last := &kept[len(kept)-1]
		if last.at/width == e.at/width {
			*last = tallied{e.at, last.n + e.n}
		} else {
			kept = append(kept, e)
		}
	}
	t.entries = kept
}

// Sum is what counts now.
func (t *Tally) Sum(now time.Time, length time.Duration) int64 {
	t.expire(now, length)
	return t.sum
}

// Wait is how long until no more than n counts, 0 where that is so now.
func (t *Tally) Wait(now time.Time, n int64, length time.Duration) time.Duration {
	t.expire(now, length)
	left := t.sum
	for _, e := range t.entries {
		if left <= n {
			break
		}
		left -= e.n
		if left <= n || left == 0 {
			return time.Unix(0, e.at).Add(length).Sub(now)
		}
	}
	return 0
}

// Reset is when nothing that was added counts any more, now where nothing
// does.
func (t *Tally) Reset(now time.Time, length time.Duration) time.Time {
	t.expire(now, length)
	if len(t.entries) == 0 {
		return now
	}
	return time.Unix(0, t.entries[len(t.entries)-1].at).Add(length)
}

// expire forgets what has left the window.
func (t *Tally) expire(now time.Time, length time.Duration) {
	from := now.Add(-length).UnixNano()
	k := 0
	for k < len(t.entries) && t.entries[k].at <= from {
		t.sum -= t.entries[k].n
		k++
	}
	if k == 0 {
		return
	}
	// moved to the front, so that what is dropped is not kept in memory
	t.entries = slices.Delete(t.entries, 0, k)
	if size := cap(t.entries); size > 16 && len(t.entries) <= size/4 {
		t.entries = slices.Clone(t.entries)
	}
}

// Empty says whether nothing counts any more.
func (t *Tally) Empty(now time.Time, length time.Duration) bool {
	return t.Sum(now, length) == 0
}

// All calls fn for every entry that counts, oldest first.
func (t *Tally) All(now time.Time, length time.Duration, fn func(at time.Time, n int64)) {
	t.expire(now, length)
	for _, e := range t.entries {
		fn(time.Unix(0, e.at), e.n)
	}
}
