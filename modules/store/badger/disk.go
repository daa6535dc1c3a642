package badger

import (
	"bytes"
	"encoding/binary"
	"errors"
	"math"
	"time"

	kv "github.com/dgraph-io/badger/v4"
)

// never is the expiry, in milliseconds, of what is kept for good.
const never = math.MaxInt64

// view reads from one moment's state.
func (d *db) view(fn func(*kv.Txn) error) error {
	return d.disk.View(fn)
}

// commit writes all or nothing. The caller holds the lock of what it changes.
func (d *db) commit(fn func(*kv.Txn) error) error {
	if err := d.room.toWrite(); err != nil {
		return err
	}
	return d.update(fn)
}

// commitDeletion is commit for what makes room.
func (d *db) commitDeletion(fn func(*kv.Txn) error) error {
	if err := d.room.toDelete(); err != nil {
		return err
	}
	return d.update(fn)
}

func (d *db) update(fn func(*kv.Txn) error) error {
	if err := d.disk.Update(fn); err != nil {
		return err
	}
	d.dirty.Store(true)
	return nil
}

// reclaim lets Badger drop an entry some time after it expired by our clock,
// which is the one that decides: it may be another than the system's, and
// Badger's counts whole seconds.
func (d *db) reclaim(e *kv.Entry, expiry int64) *kv.Entry {
	if expiry == never {
		return e
	}
	const slack = 60
	left := max(0, (expiry-d.now().UnixMilli())/1000)
	e.ExpiresAt = uint64(time.Now().Unix() + left + slack)
	return e
}

// stamped puts an expiry in front of a value.
func stamped(expiry int64, value []byte) []byte {
	b := binary.BigEndian.AppendUint64(make([]byte, 0, 8+len(value)), uint64(expiry))
	return append(b, value...)
}

func stamp(value []byte) (expiry int64, rest []byte, err error) {
	if len(value) < 8 {
		return 0, nil, errors.New("entry is too short")
	}
	return int64(binary.BigEndian.Uint64(value)), value[8:], nil
}

// keysOnly reads a prefix without the values.
func keysOnly(prefix []byte) kv.IteratorOptions {
	return kv.IteratorOptions{Prefix: prefix}
}

// sweep deletes everything under a prefix, a bounded number of keys at a time.
// Others may read meanwhile: DropPrefix would stop all writers.
func (d *db) sweep(prefix []byte) error {
	const atOnce = 4096
	for from := prefix; ; {
		var keys [][]byte
		err := d.view(func(txn *kv.Txn) error {
			it := txn.NewIterator(keysOnly(prefix))
			defer it.Close()
			for it.Seek(from); it.Valid() && len(keys) < atOnce; it.Next() {
				keys = append(keys, it.Item().KeyCopy(nil))
			}
			return nil
		})
		if err != nil || len(keys) == 0 {
			return err
		}
		if err := d.deleteAll(keys); err != nil {
			return err
		}
		// Not from the prefix again: that would walk over all the tombstones.
		from = append(bytes.Clone(keys[len(keys)-1]), 0)
	}
}

func (d *db) deleteAll(keys [][]byte) error {
	if len(keys) == 0 {
		return nil
	}
	if err := d.room.toDelete(); err != nil {
		return err
	}
	wb := d.disk.NewWriteBatch()
	defer wb.Cancel()
	for _, k := range keys {
		if err := wb.Delete(k); err != nil {
			return err
		}
	}
	if err := wb.Flush(); err != nil {
		return err
	}
	d.dirty.Store(true)
	return nil
}

// discard deletes what a prefix in the trash holds, and then forgets it.
func (d *db) discard(prefix []byte) error {
	if err := d.sweep(prefix); err != nil {
		return err
	}
	return d.deleteAll([][]byte{trashKey(prefix)})
}

// emptyTrash ends deletions that the last process began.
func (d *db) emptyTrash() error {
	var prefixes [][]byte
	err := d.view(func(txn *kv.Txn) error {
		it := txn.NewIterator(keysOnly([]byte{spaceTrash}))
		defer it.Close()
		for it.Rewind(); it.Valid(); it.Next() {
			prefixes = append(prefixes, it.Item().KeyCopy(nil)[1:])
		}
		return nil
	})
	if err != nil {
		return err
	}
	for _, p := range prefixes {
		if err := d.discard(p); err != nil {
			return err
		}
	}
	return nil
}
