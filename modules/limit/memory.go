package limit

import (
	"context"
	"hash/maphash"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/caddy-chat/caddy-chat/modules/store"
)

const (
	shards         = 64
	defaultMaxKeys = 1_000_000
)

// MemoryOptions configure a Memory.
type MemoryOptions struct {
	// Now is the clock. Default: time.Now.
	Now func() time.Time

	// MaxKeys is how many keys are kept at once over all tenants. When so
	// many are there and none has expired, a new key is refused with
	// store.ErrFull. Default: 1,000,000.
	MaxKeys int
}

// Memory is an exact sliding-window limiter in memory. It is safe for
// concurrent use.
//
// It keeps the time of every request that still counts (a sliding-window
// log), not a counter that is weighted over two fixed windows: the weighted
// one is smaller, but lets through more than the limit when requests bunch
// at a boundary. A window of N in W has room when the N-th newest event is
// absent or W old, which costs one look however large N is.
//
// A key costs 150 to 200 bytes and its own name, and 8 to 16 bytes for each
// event that still counts, 32 at least. 1,000,000 keys seen once take about
// 200 MB, and as many that have used up 60 a minute about 650 MB; see
// BenchmarkKeySize. MaxKeys bounds keys, not events: a key never holds more
// events than its largest limit, nor more than it was granted.
type Memory struct {
	now   func() time.Time
	seed  maphash.Seed
	max   int64
	count atomic.Int64 // keys in all shards
	sweep sweeper

	// Each shard has a lock of its own, so that no lock is over all keys. A
	// Take that needs several of them locks them in index order.
	shards [shards]shard
}

// shard holds the keys whose hash falls on it.
type shard struct {
	mu sync.Mutex
	m  map[key]*entry

	_ [112]byte // one cache line, and its prefetched neighbour, a shard
}

// key names an entry. Two fields and not one joined string: no tenant and
// key can then be taken for another pair.
type key struct {
	tenant, name string
}

// NewMemory returns an empty limiter.
func NewMemory(opts MemoryOptions) *Memory {
	m := &Memory{now: opts.Now, seed: maphash.MakeSeed(), max: int64(opts.MaxKeys)}
	if m.now == nil {
		m.now = time.Now
	}
	if m.max <= 0 {
		m.max = defaultMaxKeys
	}
	for i := range m.shards {
		m.shards[i].m = make(map[key]*entry)
	}
	return m
}

// size returns how many keys are kept, those included that have expired and
// were not yet dropped.
func (m *Memory) size() int {
	return int(m.count.Load())
}

func (m *Memory) shardOf(k key) uint8 {
	// The multiplication keeps a tenant and a key of the same name apart.
	h := maphash.String(m.seed, k.tenant)*0x9e3779b97f4a7c15 ^ maphash.String(m.seed, k.name)
	return uint8(h % shards)
}

// Take grants one request against all of takes, or none of them. Where the
// clock was set back, a key stands still at its newest event until the clock
// has caught up: it may refuse more than it had to, and never grants more
// than it may. A take with windows is counted; one without only takes a slot.
func (m *Memory) Take(_ context.Context, tenant string, takes []store.Take) ([]store.Taken, bool, error) {
	now := m.now().UnixNano()
	results, granted, err := m.take(now, tenant, takes)
	if err != nil && m.makeRoom(now, len(takes)) {
		return m.take(now, tenant, takes)
	}
	return results, granted, err
}

// spot is where one take of a request is counted.
type spot struct {
	shard *shard
	key   key
	entry *entry
	at    int64 // the time at which this key counts the request
	fresh bool  // the entry is not in the shard yet
}

// take is Take at the given time. It fails with store.ErrFull only.
func (m *Memory) take(now int64, tenant string, takes []store.Take) ([]store.Taken, bool, error) {
	var space [4]spot // enough for user, ip, tenant and one more
	var locks [4]uint8
	spots, locked := space[:0], locks[:0]
	windows := 0
	for _, t := range takes {
		k := key{tenant, t.Key}
		i := m.shardOf(k)
		spots = append(spots, spot{shard: &m.shards[i], key: k})
		locked = append(locked, i)
		windows += len(t.Windows)
	}

	slices.Sort(locked)
	locked = slices.Compact(locked)
	for _, i := range locked {
		m.shards[i].mu.Lock()
	}
	defer func() {
		for _, i := range locked {
			m.shards[i].mu.Unlock()
		}
	}()

	granted, fresh := true, int64(0)
	for i := range spots {
		s := &spots[i]
		s.find(now)
		if s.fresh && uses(takes[i]) {
			fresh++
		}
		s.entry.ask(s.at, takes[i].Windows)
		granted = granted && s.entry.admits(s.at, takes[i])
	}

	if granted && !m.reserve(fresh) {
		for _, s := range spots {
			m.evictSome(s.shard, now)
		}
		return nil, false, store.ErrFull
	}

	states := make([]store.WindowState, 0, windows)
	results := make([]store.Taken, len(takes))
	for i, t := range takes {
		s := &spots[i]
		free := s.entry.slotFree(t) // before this request takes it
		if granted {
			s.commit(t)
		}
		inUse := s.entry.slots
		if granted && t.Slots > 0 && t.Later {
			inUse++
		}
		from := len(states)
		for _, w := range t.Windows {
			states = append(states, s.entry.state(now, s.at, w))
		}
		results[i] = store.Taken{
			Windows:  states[from:len(states):len(states)],
			InUse:    inUse,
			SlotFree: free,
		}
	}

	// Only now, when none of this request's own keys can look expired.
	if granted && fresh > 0 {
		for _, s := range spots {
			m.evictSome(s.shard, now)
		}
	}
	return results, granted, nil
}

// uses says whether a granted take leaves anything to remember.
func uses(t store.Take) bool {
	return len(t.Windows) > 0 || t.HoldsSlot()
}

// find looks up the entry of a spot, or makes one that is not in the shard
// yet: a refused request leaves nothing behind.
func (s *spot) find(now int64) {
	s.entry = s.shard.m[s.key]
	if s.entry == nil {
		s.entry, s.fresh = new(entry), true
	}
	s.at = s.entry.clamp(now)
}

// commit counts a granted request.
func (s *spot) commit(t store.Take) {
	s.entry.add(s.at, t)
	if !s.fresh || !uses(t) {
		return
	}
	// The name may be a piece of a request's header, which a shared string
	// would keep in memory as a whole.
	s.key.name = strings.Clone(s.key.name)
	s.shard.m[s.key] = s.entry
}

// reserve counts n new keys, unless they are more than may be kept.
func (m *Memory) reserve(n int64) bool {
	if n == 0 {
		return true
	}
	if m.count.Add(n) > m.max {
		m.count.Add(-n)
		return false
	}
	return true
}

// Release gives back the slots that a granted Take holds. One too many is
// ignored.
func (m *Memory) Release(_ context.Context, tenant string, takes []store.Take) error {
	now := m.now().UnixNano()
	for _, t := range takes {
		if t.HoldsSlot() {
			m.release(now, key{tenant, t.Key})
		}
	}
	return nil
}

func (m *Memory) release(now int64, k key) {
	s := &m.shards[m.shardOf(k)]
	s.mu.Lock()
	defer s.mu.Unlock()

	e := s.m[k]
	if e == nil || e.slots == 0 {
		return
	}
	e.slots--
	if e.expired(now) {
		m.remove(s, k)
	}
}

// Interface guard
var _ store.Limiter = (*Memory)(nil)
