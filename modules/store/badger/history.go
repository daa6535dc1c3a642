package badger

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"sort"
	"time"

	kv "github.com/dgraph-io/badger/v4"

	"github.com/caddy-chat/caddy-chat/modules/store"
)

// alive is what has not expired of a session.
type alive struct {
	n       int
	first   uint64 // the oldest one
	soonest int64  // when the next one expires
}

// count looks at messages only where some may have expired, and then at few
// of them where they expire in their order, which is nearly always.
func (d *db) count(txn *kv.Txn, tenant string, m *meta) (alive, error) {
	now := d.now().UnixMilli()
	all := int(m.Next - m.First)
	switch {
	case now >= m.Latest:
		return alive{first: m.Next, soonest: never}, nil
	case now < m.Soonest:
		return alive{n: all, first: m.First, soonest: m.Soonest}, nil
	case m.Mixed:
		return d.countAll(txn, tenant, m, now)
	}

	prefix := messagePrefix(tenant, m.Incarnation)
	var failed error
	expiry := func(i int) int64 {
		at, err := messageExpiry(txn, messageKey(prefix, m.First+uint64(i)))
		if err != nil {
			failed = err
		}
		return at
	}
	gone := sort.Search(all, func(i int) bool { return now < expiry(i) })
	a := alive{n: all - gone, first: m.First + uint64(gone), soonest: never}
	if a.n > 0 {
		a.soonest = expiry(gone)
	}
	return a, failed
}

func (d *db) countAll(txn *kv.Txn, tenant string, m *meta, now int64) (alive, error) {
	a := alive{first: m.Next, soonest: never}
	err := eachMessage(txn, tenant, m, m.First, m.Next, false, func(seq uint64, expiry int64, _ []byte) (bool, error) {
		if now < expiry {
			a.n++
			a.first = min(a.first, seq)
			a.soonest = min(a.soonest, expiry)
		}
		return true, nil
	})
	if a.n < int(m.Next-a.first) {
		// Expired ones lie between those that have not: they have to be
		// looked at again, whatever is appended.
		a.soonest = 0
	}
	return a, err
}

// messageExpiry returns 0 for a message that Badger has dropped.
func messageExpiry(txn *kv.Txn, key []byte) (at int64, err error) {
	item, err := txn.Get(key)
	if errors.Is(err, kv.ErrKeyNotFound) {
		return 0, nil
	}
	if err != nil {
		return 0, err
	}
	err = item.Value(func(v []byte) error {
		at, _, err = stamp(v)
		return err
	})
	return at, err
}

// eachMessage calls fn with the messages from one number up to but without
// another, oldest or newest first, until it returns false. value is good
// until fn returns.
//
// It gets them one by one, since their keys are known: an iterator looks ahead
// and would walk over the tombstones of all that was ever pruned.
func eachMessage(txn *kv.Txn, tenant string, m *meta, from, to uint64, newestFirst bool, fn func(seq uint64, expiry int64, value []byte) (bool, error)) error {
	prefix := messagePrefix(tenant, m.Incarnation)
	key := messageKey(prefix, 0)
	for i := uint64(0); from+i < to; i++ {
		seq := from + i
		if newestFirst {
			seq = to - 1 - i
		}
		binary.BigEndian.PutUint64(key[len(prefix):], seq)
		item, err := txn.Get(key)
		if errors.Is(err, kv.ErrKeyNotFound) {
			continue // expired, and dropped by Badger
		}
		if err != nil {
			return err
		}
		more := false
		err = item.Value(func(v []byte) error {
			expiry, rest, err := stamp(v)
			if err != nil {
				return err
			}
			more, err = fn(seq, expiry, rest)
			return err
		})
		if err != nil || !more {
			return err
		}
	}
	return nil
}

// newest returns when the newest message was written.
func (d *db) newest(txn *kv.Txn, tenant string, m *meta) (int64, error) {
	updated := m.Created
	err := eachMessage(txn, tenant, m, m.First, m.Next, true, func(_ uint64, _ int64, value []byte) (bool, error) {
		msg, err := decodeMessage(value)
		updated = msg.Time.UnixMilli()
		return false, err
	})
	return updated, err
}

// History implements store.Sessions.
func (d *db) History(ctx context.Context, tenant string, s store.SessionKey, r store.Range) (msgs []store.Message, more bool, err error) {
	if err := d.enter(ctx); err != nil {
		return nil, false, err
	}
	defer d.leave()
	t := d.tenant(tenant)
	t.erase.RLock()
	defer t.erase.RUnlock()

	err = d.view(func(txn *kv.Txn) error {
		m, err := loadMeta(txn, sessionKey(tenant, s))
		if err != nil {
			return err
		}
		a, err := d.count(txn, tenant, m)
		if err != nil {
			return err
		}
		if a.n == 0 {
			return store.ErrNotFound
		}
		m.First = a.first
		msgs, more, err = d.read(ctx, txn, tenant, m, r)
		return err
	})
	if errors.Is(err, store.ErrNotFound) {
		return nil, false, err
	}
	if err != nil {
		return nil, false, fmt.Errorf("reading a session: %w", err)
	}
	return msgs, more, nil
}

func (d *db) read(ctx context.Context, txn *kv.Txn, tenant string, m *meta, r store.Range) (msgs []store.Message, more bool, err error) {
	from, to := m.First, m.Next
	if r.After > 0 {
		from = max(from, min(r.After, m.Next)+1) // without overflow
	}
	if r.Before > 0 {
		to = min(to, r.Before)
	}
	newestFirst := r.After == 0 || r.Before > 0
	limit := max(r.Limit, 1)
	now, size := d.now().UnixMilli(), int64(0)

	err = eachMessage(txn, tenant, m, from, to, newestFirst, func(seq uint64, expiry int64, value []byte) (bool, error) {
		if expiry <= now {
			return true, nil
		}
		if len(msgs) == limit || r.Bytes > 0 && size > r.Bytes {
			more = true
			return false, nil
		}
		size += int64(len(value))
		msg, err := decodeMessage(value)
		if err != nil {
			return false, err
		}
		msg.Seq = seq
		msgs = append(msgs, msg)
		return true, ctx.Err()
	})
	if err != nil {
		return nil, false, err
	}
	if newestFirst {
		slices.Reverse(msgs)
	}
	return msgs, more, nil
}

// Sessions implements store.Sessions. Sessions of the same millisecond come
// in the reverse order of their ids.
func (d *db) Sessions(ctx context.Context, tenant, user string, after *store.Cursor, limit int) (list []store.Session, more bool, err error) {
	if err := d.enter(ctx); err != nil {
		return nil, false, err
	}
	defer d.leave()
	t := d.tenant(tenant)
	t.erase.RLock()
	defer t.erase.RUnlock()

	err = d.view(func(txn *kv.Txn) error {
		list, more, err = d.list(ctx, txn, tenant, user, after, max(limit, 1))
		return err
	})
	if err != nil {
		return nil, false, fmt.Errorf("listing sessions: %w", err)
	}
	return list, more, nil
}

func (d *db) list(ctx context.Context, txn *kv.Txn, tenant, user string, after *store.Cursor, limit int) (list []store.Session, more bool, err error) {
	prefix := recentPrefix(tenant, user)
	// Backwards from behind the last possible entry: a time never begins
	// with this byte.
	start := append(slices.Clone(prefix), 0xFF)
	var seen []byte
	if after != nil {
		start = recentKey(tenant, store.SessionKey{User: user, ID: after.ID}, after.UpdatedAt.UnixMilli())
		seen = start
	}

	opts := keysOnly(prefix)
	opts.Reverse = true
	it := txn.NewIterator(opts)
	defer it.Close()
	for it.Seek(start); it.Valid(); it.Next() {
		if err := ctx.Err(); err != nil {
			return nil, false, err
		}
		key := it.Item().Key()
		if bytes.Equal(key, seen) {
			continue
		}
		id := string(key[len(prefix)+8:])
		m, err := loadMeta(txn, sessionKey(tenant, store.SessionKey{User: user, ID: id}))
		if errors.Is(err, store.ErrNotFound) {
			continue
		}
		if err != nil {
			return nil, false, err
		}
		a, err := d.count(txn, tenant, m)
		if err != nil {
			return nil, false, err
		}
		if a.n == 0 {
			continue
		}
		if len(list) == limit {
			return list, true, nil
		}
		list = append(list, store.Session{
			ID:        id,
			Title:     m.Title,
			CreatedAt: time.UnixMilli(m.Created),
			UpdatedAt: time.UnixMilli(m.Updated),
			Messages:  a.n,
		})
	}
	return list, false, nil
}
