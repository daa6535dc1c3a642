package badger

import (
	"encoding/binary"
	"errors"
	"fmt"
	"time"

	kv "github.com/dgraph-io/badger/v4"

	"github.com/caddy-chat/caddy-chat/modules/limit"
	"github.com/caddy-chat/caddy-chat/modules/store"
)

const (
	// maxWindows is how many windows of all tenants may have something in
	// them. Their keys can hold names that clients make up.
	maxWindows = 1_000_000

	// looks is how many windows of its tenant a new one looks at, to drop
	// those that are empty: more than one, so that they do not pile up.
	looks = 4

	// looksAtOnce is how many are looked at under one lock.
	looksAtOnce = 4096
)

// window is a counter that slides.
type window struct {
	limit.Tally
	length time.Duration
}

// slide is the balance of a counter that slides. id is whose hold is not in
// the way of what is wanted.
func (d *db) slide(l *ledger, now time.Time, id string, b store.Budget) store.Balance {
	bal := store.Balance{Held: l.holds.sums[b.Key], Reset: now}
	w := l.windows[b.Key]
	if w != nil {
		bal.Used = store.Amount(w.Sum(now, b.Window))
		bal.Reset = w.Reset(now, b.Window)
		if b.Limit > 0 {
			room := b.Limit - b.Want - bal.Held + l.holds.own(id, b.Key)
			bal.Wait = w.Wait(now, int64(room), b.Window)
		}
		if bal.Used == 0 {
			d.dropWindow(l, b.Key)
		}
	}
	if end := now.Add(b.Window); bal.Held > 0 && end.After(bal.Reset) {
		bal.Reset = end
	}
	return bal
}

// roomFor says whether the windows that are not there yet may be added. What
// is settled is added in any case: it has been reserved before.
func (d *db) roomFor(l *ledger, budgets []store.Budget) bool {
	for _, b := range budgets {
		if b.Window == 0 || l.windows[b.Key] != nil || l.holds.sums[b.Key] != 0 || d.windows.Load() < maxWindows {
			continue
		}
		d.dropEmpty(l, looks)
		if d.windows.Load() >= maxWindows {
			return false
		}
	}
	return true
}

func (d *db) addToWindow(l *ledger, now time.Time, b store.Budget) {
	if b.Want <= 0 {
		return
	}
	w := l.windows[b.Key]
	if w == nil {
		d.dropEmpty(l, looks)
		w = d.newWindow(l, b.Key, b.Window)
	}
	w.Add(now, int64(b.Want), b.Window)
}

func (d *db) newWindow(l *ledger, key string, length time.Duration) *window {
	if l.windows == nil {
		l.windows = make(map[string]*window)
	}
	w := &window{length: length}
	l.windows[key] = w
	d.windows.Add(1)
	return w
}

func (d *db) dropWindow(l *ledger, key string) {
	delete(l.windows, key)
	d.windows.Add(-1)
}

// dropEmpty looks at some of a tenant's windows, drops those in which nothing
// counts any more and returns how many these were. Go starts to walk a map
// at a random place.
func (d *db) dropEmpty(l *ledger, atMost int) (dropped int) {
	now := d.now()
	for key, w := range l.windows {
		if w.Empty(now, w.length) {
			d.dropWindow(l, key)
			dropped++
		}
		if atMost--; atMost == 0 {
			break
		}
	}
	return dropped
}

// expireWindows drops empty windows of all tenants, a bounded number at a
// time, for as long as many of those that it finds are empty.
func (d *db) expireWindows() {
	d.tenants.Range(func(_, t any) bool {
		l := &t.(*tenant).ledger
		for d.expireSome(l) > looksAtOnce/4 {
		}
		return true
	})
}

func (d *db) expireSome(l *ledger) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return d.dropEmpty(l, looksAtOnce)
}

// saveWindows writes out the windows, as saveLimits does: they exist on disk
// while the store is closed only.
func (d *db) saveWindows() error {
	wb := d.disk.NewWriteBatch()
	defer wb.Cancel()

	var n uint32
	var err error
	d.tenants.Range(func(id, t any) bool {
		l := &t.(*tenant).ledger
		l.mu.Lock()
		defer l.mu.Unlock()
		for key, w := range l.windows {
			value := encodeWindow(d.now(), id.(string), key, w)
			if err = wb.SetEntry(kv.NewEntry(slideKey(n), value)); err != nil {
				return false
			}
			n++
		}
		return true
	})
	if err == nil {
		err = wb.Flush()
	}
	if err != nil {
		return fmt.Errorf("saving token windows: %w", err)
	}
	return nil
}

func (d *db) restoreWindows() error {
	err := d.view(func(txn *kv.Txn) error {
		it := txn.NewIterator(keysOnly([]byte{spaceSlides}))
		defer it.Close()
		for it.Rewind(); it.Valid(); it.Next() {
			if err := it.Item().Value(d.restoreWindow); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	return d.sweep([]byte{spaceSlides})
}

// encodeWindow writes the tenant, the key, the length, and then each entry's
// time, as the difference to the one before, and amount.
func encodeWindow(now time.Time, tenant, key string, w *window) []byte {
	b := appendString(nil, tenant)
	b = appendString(b, key)
	b = binary.AppendVarint(b, int64(w.length))
	last := int64(0)
	w.All(now, w.length, func(at time.Time, n int64) {
		b = binary.AppendVarint(b, at.UnixNano()-last)
		b = binary.AppendVarint(b, n)
		last = at.UnixNano()
	})
	return b
}

var errWindow = errors.New("a token window was written in another form")

// restoreWindow puts back what encodeWindow wrote. What was added in the
// future counts as of now: it took place before this call, whatever a clock
// said.
func (d *db) restoreWindow(b []byte) error {
	tenant, b, err := cutString(b)
	if err != nil {
		return errWindow
	}
	key, b, err := cutString(b)
	if err != nil {
		return errWindow
	}
	var ns []int64
	for len(b) > 0 {
		v, n := binary.Varint(b)
		if n <= 0 {
			return errWindow
		}
		ns, b = append(ns, v), b[n:]
	}
	if len(ns)%2 != 1 || ns[0] <= 0 {
		return errWindow
	}

	length, now, at := time.Duration(ns[0]), d.now(), int64(0)
	var tally limit.Tally
	for i := 1; i < len(ns); i += 2 {
		at += ns[i]
		tally.Add(time.Unix(0, min(at, now.UnixNano())), ns[i+1], length)
	}
	if tally.Empty(now, length) {
		return nil
	}
	l := &d.tenant(tenant).ledger
	l.mu.Lock()
	defer l.mu.Unlock()
	d.newWindow(l, key, length).Tally = tally
	return nil
}
