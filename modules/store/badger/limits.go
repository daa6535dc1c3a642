package badger

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"time"

	kv "github.com/dgraph-io/badger/v4"

	"github.com/caddy-chat/caddy-chat/modules/store"
)

// Take implements store.Limiter. Windows are kept in memory and survive a
// restart, but not a crash.
func (d *db) Take(ctx context.Context, tenant string, takes []store.Take) ([]store.Taken, bool, error) {
	if err := d.enter(ctx); err != nil {
		return nil, false, err
	}
	defer d.leave()
	return d.limits.Take(ctx, tenant, takes)
}

// TakeWithin implements store.Limiter.
func (d *db) TakeWithin(ctx context.Context, tenant string, takes []store.Take, budgets []store.Budget) (results []store.Taken, balances []store.Balance, granted bool, err error) {
	if balances, err = d.Balances(ctx, tenant, budgets); err != nil {
		return nil, nil, false, err
	}
	asked := takes
	for i, b := range budgets {
		if b.Limit > 0 && balances[i].Used+balances[i].Held+b.Want > b.Limit {
			asked = append(slices.Clip(takes), closed)
			break
		}
	}
	results, granted, err = d.Take(ctx, tenant, asked)
	return results[:min(len(results), len(takes))], balances, granted, err
}

// closed lets nothing through, and with it no other take of its request. Callers' keys
// have no control characters.
var closed = store.Take{Key: "\x00closed", Windows: []store.Window{{Limit: 0, Length: time.Second}}}

// Release implements store.Limiter.
func (d *db) Release(ctx context.Context, tenant string, takes []store.Take) error {
	if err := d.enter(ctx); err != nil {
		return err
	}
	defer d.leave()
	return d.limits.Release(ctx, tenant, takes)
}

// saveLimits writes out the windows, in a key space that exists while the
// store is closed only. The names are in the values: a key of the limiter may
// be longer than one of Badger.
func (d *db) saveLimits() error {
	wb := d.disk.NewWriteBatch()
	defer wb.Cancel()

	var n uint32
	err := d.limits.Snapshot(func(tenant, key string, times []int64, until time.Time) error {
		e := kv.NewEntry(limitKey(n), encodeLimit(tenant, key, times, until))
		n++
		if len(e.Value) > maxValue {
			return nil
		}
		return wb.SetEntry(d.reclaim(e, until.UnixMilli()))
	})
	if err != nil {
		return fmt.Errorf("saving rate limits: %w", err)
	}
	if err := wb.Flush(); err != nil {
		return fmt.Errorf("saving rate limits: %w", err)
	}
	return nil
}

func (d *db) restoreLimits() error {
	err := d.view(func(txn *kv.Txn) error {
		it := txn.NewIterator(keysOnly([]byte{spaceLimits}))
		defer it.Close()
		for it.Rewind(); it.Valid(); it.Next() {
			err := it.Item().Value(func(v []byte) error {
				tenant, key, times, until, err := decodeLimit(v)
				if err != nil {
					return err
				}
				d.limits.Restore(tenant, key, times, until)
				return nil
			})
			if err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	return d.sweep([]byte{spaceLimits})
}

// encodeLimit writes times as differences: most take three to five bytes.
func encodeLimit(tenant, key string, times []int64, until time.Time) []byte {
	b := appendString(nil, tenant)
	b = appendString(b, key)
	b = binary.AppendVarint(b, until.UnixNano())
	last := int64(0)
	for _, t := range times {
		b = binary.AppendVarint(b, t-last)
		last = t
	}
	return b
}

var errLimit = errors.New("a rate limit was written in another form")

func decodeLimit(b []byte) (tenant, key string, times []int64, until time.Time, err error) {
	if tenant, b, err = cutString(b); err != nil {
		return "", "", nil, time.Time{}, err
	}
	if key, b, err = cutString(b); err != nil {
		return "", "", nil, time.Time{}, err
	}
	var ns []int64
	for len(b) > 0 {
		v, n := binary.Varint(b)
		if n <= 0 {
			return "", "", nil, time.Time{}, errLimit
		}
		ns, b = append(ns, v), b[n:]
	}
	if len(ns) == 0 {
		return "", "", nil, time.Time{}, errLimit
	}
	until, times = time.Unix(0, ns[0]), ns[1:]
	for i := 1; i < len(times); i++ {
		times[i] += times[i-1]
	}
	return tenant, key, times, until, nil
}

func cutString(b []byte) (s string, rest []byte, err error) {
	size, n := binary.Uvarint(b)
	if n <= 0 || size > uint64(len(b)-n) {
		return "", nil, errLimit
	}
	return string(b[n : n+int(size)]), b[n+int(size):], nil
}
