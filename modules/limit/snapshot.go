package limit

import (
	"slices"
	"strings"
	"time"
)

// Snapshot calls fn for every key whose events still count: with their times
// in Unix nanoseconds, oldest first, and with the time at which the newest
// has left the longest window. times may be used until fn returns. Slots are
// left out, since what runs now dies with the process.
//
// No lock is held while fn runs, so each key is exact for itself, and all of
// them are not one moment. An error of fn ends the walk and is returned.
func (m *Memory) Snapshot(fn func(tenant, key string, times []int64, until time.Time) error) error {
	var keys []key
	var times []int64
	for i := range m.shards {
		s := &m.shards[i]
		keys = s.appendKeys(keys[:0])
		for _, k := range keys {
			var until time.Time
			times, until = s.read(k, times[:0], m.now().UnixNano())
			if len(times) == 0 {
				continue
			}
			if err := fn(k.tenant, k.name, times, until); err != nil {
				return err
			}
		}
	}
	return nil
}

func (s *shard) appendKeys(dst []key) []key {
	s.mu.Lock()
	defer s.mu.Unlock()
	for k := range s.m {
		dst = append(dst, k)
	}
	return dst
}

// read appends the events of a key that still count.
func (s *shard) read(k key, dst []int64, now int64) ([]int64, time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()

	e := s.m[k]
	if e == nil || e.ring.n == 0 {
		return dst, time.Time{}
	}
	e.ring.expire(e.clamp(now), e.longest.value)
	if e.ring.n == 0 {
		return dst, time.Time{}
	}
	return e.ring.appendTo(dst), e.until()
}

// Restore puts back what Snapshot gave. Events that the key has by now are
// kept beside them. Events of the future are counted as of now: they took
// place before this call, whatever a clock said. Nothing happens where until
// has passed, or where the limiter is full.
func (m *Memory) Restore(tenant, name string, times []int64, until time.Time) {
	now := m.now().UnixNano()
	if len(times) == 0 || until.UnixNano() <= now {
		return
	}
	longest := int64(until.Sub(time.Unix(0, slices.Max(times))))

	k := key{tenant, strings.Clone(name)}
	s := &m.shards[m.shardOf(k)]
	s.mu.Lock()
	defer s.mu.Unlock()

	e := s.m[k]
	if e == nil {
		if !m.reserve(1) {
			return
		}
		e = new(entry)
		s.m[k] = e
	}

	all := e.ring.appendTo(make([]int64, 0, e.ring.n+len(times)))
	for _, t := range times {
		all = append(all, min(t, now))
	}
	slices.Sort(all)
	e.longest.ask(longest, now, e.longest.value)
	e.most.ask(int64(len(all)), now, e.longest.value)
	e.ring = ring{buf: all, n: len(all)}
	e.ring.expire(e.clamp(now), e.longest.value)
}

// Erase forgets a tenant. Slots that are in use stay so until they are
// released, and their keys with them.
func (m *Memory) Erase(tenant string) {
	for i := range m.shards {
		m.eraseShard(&m.shards[i], tenant)
	}
}

func (m *Memory) eraseShard(s *shard, tenant string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for k, e := range s.m {
		if k.tenant != tenant {
			continue
		}
		e.ring = ring{}
		if e.slots == 0 {
			m.remove(s, k)
		}
	}
}
