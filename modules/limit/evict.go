package limit

import "sync"

const (
	// looks is how many entries of its shard a new key looks at. Two would
	// be enough for the expired ones not to pile up; four keep them at about
	// a third, as one in four found pays for the new one.
	looks = 4

	// sweepEntries is about how many entries one sweep looks at, which is
	// how long it may keep one unlucky request: about a millisecond.
	sweepEntries = 1 << 14

	// sweepPause is how long after a sweep none takes place, in nanoseconds
	// an entry looked at. Looking at one takes about 50, so sweeping never
	// takes more than about a hundredth of one core, however many new keys
	// clients make up.
	sweepPause = 5_000
)

// sweeper remembers where sweeping stands.
type sweeper struct {
	mu    sync.Mutex
	hand  int   // the shard that is next
	at    int64 // when the last sweep was
	pause int64 // how long after it none takes place
}

// evictSome looks at a few entries of a shard that the caller holds, and
// drops those that have expired. Go starts to walk a map at a random place.
func (m *Memory) evictSome(s *shard, now int64) {
	n := 0
	for k, e := range s.m {
		if e.expired(now) {
			m.remove(s, k)
		}
		if n++; n == looks {
			return
		}
	}
}

// makeRoom is called when a request with up to n new keys found the limiter
// full, holding no shard, and says whether to try again. It walks whole
// shards, beginning where the last call stopped, until there is room.
func (m *Memory) makeRoom(now int64, n int) bool {
	room := func() bool { return m.count.Load()+int64(n) <= m.max }
	if room() {
		return true // evictSome was lucky
	}
	w := &m.sweep
	if !w.mu.TryLock() {
		return false
	}
	defer w.mu.Unlock()
	if since := now - w.at; since >= 0 && since < w.pause {
		return false
	}

	seen := 0
	for range shards {
		s := &m.shards[w.hand]
		w.hand = (w.hand + 1) % shards
		seen += m.sweepShard(s, now)
		if room() || seen >= sweepEntries {
			break
		}
	}
	w.at, w.pause = now, int64(seen)*sweepPause
	return true
}

// sweepShard drops what has expired in a shard and returns how many entries
// it looked at.
func (m *Memory) sweepShard(s *shard, now int64) int {
	s.mu.Lock()
	defer s.mu.Unlock()

	n := len(s.m)
	for k, e := range s.m {
		if e.expired(now) {
			m.remove(s, k)
		}
	}
	return n
}

// remove drops an entry of a shard that the caller holds.
func (m *Memory) remove(s *shard, k key) {
	delete(s.m, k)
	m.count.Add(-1)
}
