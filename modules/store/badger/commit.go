package badger

import (
	"errors"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	kv "github.com/dgraph-io/badger/v4"
	"go.uber.org/zap"
)

const (
	// commitWithin bounds what a killed process can lose of the counters. A
	// call that is settled when an older one has been in memory only for so
	// long waits until that is written.
	commitWithin = 100 * time.Millisecond

	// commitAfter is when a group is written in the background. It leaves time
	// for the commit itself.
	commitAfter = commitWithin / 2

	// commitAgain is the pause after a commit that failed.
	commitAgain = time.Second

	// ledgersAtOnce go into one transaction. A tenant has a handful of
	// counters, and Badger takes some ten thousand.
	ledgersAtOnce = 256
)

// unsaved are the ledgers with counters that are not on the disk yet.
type unsaved struct {
	// committing is held from the moment counters are taken until they are on
	// the disk: whoever holds it can rely on no commit running.
	committing sync.Mutex

	mu      sync.Mutex
	ledgers []*ledger
	since   time.Time // when the first of them was added

	wake   chan struct{} // capacity 1: something was added
	failed atomic.Pointer[error]
}

func (u *unsaved) add(l *ledger) {
	u.mu.Lock()
	defer u.mu.Unlock()
	if len(u.ledgers) == 0 {
		u.since = time.Now()
		select {
		case u.wake <- struct{}{}:
		default:
		}
	}
	u.ledgers = append(u.ledgers, l)
}

func (u *unsaved) take() []*ledger {
	u.mu.Lock()
	defer u.mu.Unlock()
	list := u.ledgers
	u.ledgers = nil
	return list
}

func (u *unsaved) overdue() bool {
	u.mu.Lock()
	defer u.mu.Unlock()
	return len(u.ledgers) > 0 && time.Since(u.since) >= commitWithin
}

// writable returns an error while counters cannot be written. New calls are
// refused then: what they use could not be counted, and would be free.
func (d *db) writable() error {
	if err := d.room.toWrite(); err != nil {
		return err
	}
	if err := d.unsaved.failed.Load(); err != nil {
		return *err
	}
	return nil
}

// commitInGroups writes counters a moment after they were settled, until the
// store is closed.
func (d *db) commitInGroups() {
	for {
		select {
		case <-d.done:
			return
		case <-d.unsaved.wake:
		}
		pause := commitAfter
		for written := false; !written; {
			select {
			case <-d.done:
				return
			case <-time.After(pause):
			}
			written = d.commitCounters() == nil
			pause = commitAgain
		}
	}
}

// commitCounters writes what was settled and is not on the disk yet. When it
// returns without an error, all that was settled before is. What cannot be
// written stays in memory, and is written by the next call.
func (d *db) commitCounters() error {
	d.unsaved.committing.Lock()
	defer d.unsaved.committing.Unlock()

	var err error
	for ledgers := range slices.Chunk(d.unsaved.take(), ledgersAtOnce) {
		err = errors.Join(err, d.commitLedgers(ledgers))
	}
	d.noteCommit(err)
	return err
}

func (d *db) noteCommit(err error) {
	if err == nil {
		if d.unsaved.failed.Swap(nil) != nil {
			d.log.Info("budgets are written again")
		}
		return
	}
	if d.unsaved.failed.Swap(&err) == nil {
		d.log.Error("writing budgets failed: calls of tenants with a budget are refused until it works", zap.Error(err))
	}
}

// commitLedgers writes some ledgers, each whole: a call is counted in all of
// its budgets or in none.
func (d *db) commitLedgers(ledgers []*ledger) error {
	var entries []*kv.Entry
	taken := make([][]*counter, len(ledgers))
	for i, l := range ledgers {
		taken[i], entries = d.takeCounters(l, entries)
	}
	err := d.commitEntries(entries)
	if err == nil {
		return nil
	}
	for i, l := range ledgers {
		d.putBack(l, taken[i])
	}
	return err
}

func (d *db) commitEntries(entries []*kv.Entry) error {
	commit := d.commit
	if d.isClosing() {
		commit = d.update // Close has looked for room
	}
	return commit(func(txn *kv.Txn) error {
		for _, e := range entries {
			if err := txn.SetEntry(e); err != nil {
				return err
			}
		}
		return nil
	})
}

func (d *db) takeCounters(l *ledger, entries []*kv.Entry) ([]*counter, []*kv.Entry) {
	l.mu.Lock()
	defer l.mu.Unlock()
	taken := l.counters.take()
	for _, c := range taken {
		entries = append(entries, d.entry(l.tenant, c))
	}
	return taken, entries
}

func (d *db) putBack(l *ledger, taken []*counter) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, c := range taken {
		d.noteUnsaved(l, c)
	}
}

// noteUnsaved marks a counter to be written with the next group.
func (d *db) noteUnsaved(l *ledger, c *counter) {
	if l.counters.note(c) {
		d.unsaved.add(l)
	}
}
