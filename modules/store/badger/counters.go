package badger

import (
	"encoding/binary"
	"errors"
	"fmt"
	"time"

	kv "github.com/dgraph-io/badger/v4"

	"github.com/caddy-chat/caddy-chat/modules/store"
)

// maxCounterKey is the longest name of a counter. Badger refuses keys of more
// than 65,000 bytes, and one that it refuses would hold up a whole group.
const maxCounterKey = 1024

// counters are what a tenant has used. Memory is the truth, the disk follows
// within commitWithin.
type counters struct {
	byKey map[string]*counter

	// unsaved are the counters that changed since they were last written.
	// queued says that commitCounters will ask for them.
	unsaved []*counter
	queued  bool
}

type counter struct {
	key     string
	used    store.Amount
	until   int64 // milliseconds
	unsaved bool
	idle    bool // not used since the last dropIdle
}

// at returns what is used at a time: 0 once the counter may be forgotten.
func (c *counter) at(now time.Time) store.Amount {
	if now.UnixMilli() >= c.until {
		return 0
	}
	return c.used
}

// counter returns a counter from memory, after reading it from the disk the
// first time.
func (d *db) counter(l *ledger, key string) (*counter, error) {
	if c := l.counters.byKey[key]; c != nil {
		c.idle = false
		return c, nil
	}
	if len(key) > maxCounterKey {
		return nil, fmt.Errorf("name of a counter is %d bytes long, the most is %d", len(key), maxCounterKey)
	}
	c := &counter{key: key}
	err := d.view(func(txn *kv.Txn) error {
		item, err := txn.Get(budgetKey(l.tenant, key))
		if errors.Is(err, kv.ErrKeyNotFound) {
			return nil
		}
		if err != nil {
			return err
		}
		return item.Value(c.decode)
	})
	if err != nil {
		return nil, err
	}
	if l.counters.byKey == nil {
		l.counters.byKey = make(map[string]*counter)
	}
	l.counters.byKey[key] = c
	return c, nil
}

func (c *counter) decode(value []byte) error {
	until, rest, err := stamp(value)
	if err != nil {
		return err
	}
	if len(rest) != 8 {
		return errors.New("counter is not 8 bytes")
	}
	c.used, c.until = store.Amount(binary.BigEndian.Uint64(rest)), until
	return nil
}

// entry is how the counter is written.
func (d *db) entry(tenant string, c *counter) *kv.Entry {
	value := stamped(c.until, binary.BigEndian.AppendUint64(nil, uint64(c.used)))
	return d.reclaim(kv.NewEntry(budgetKey(tenant, c.key), value), c.until)
}

// add counts what was used.
func (c *counter) add(b store.Budget, now time.Time) {
	c.used = c.at(now) + b.Want
	c.until = never
	if !b.Until.IsZero() {
		c.until = b.Until.UnixMilli()
	}
}

// note adds a counter to the unsaved ones, and says whether the ledger has to
// be queued.
func (cs *counters) note(c *counter) (queue bool) {
	if !c.unsaved {
		c.unsaved = true
		cs.unsaved = append(cs.unsaved, c)
	}
	queue, cs.queued = !cs.queued, true
	return queue
}

// take hands over the counters to write.
func (cs *counters) take() []*counter {
	list := cs.unsaved
	cs.unsaved, cs.queued = nil, false
	for _, c := range list {
		c.unsaved = false
	}
	return list
}

// dropIdleCounters frees the memory of counters that no call asks for. No
// commit may run beside it: what that has taken is not on the disk yet.
func (d *db) dropIdleCounters() {
	d.unsaved.committing.Lock()
	defer d.unsaved.committing.Unlock()
	d.tenants.Range(func(_, t any) bool {
		t.(*tenant).ledger.dropIdle()
		return true
	})
}

// dropIdle forgets counters that the disk has too and that no call has asked
// for since the last time.
func (l *ledger) dropIdle() {
	l.mu.Lock()
	defer l.mu.Unlock()
	cs := &l.counters
	for key, c := range cs.byKey {
		if c.idle && !c.unsaved {
			delete(cs.byKey, key)
		}
		c.idle = true
	}
}
