package badger

import (
	"context"
	"errors"
	"fmt"
	"time"

	kv "github.com/dgraph-io/badger/v4"

	"github.com/caddy-chat/caddy-chat/modules/store"
)

// CacheGet implements store.Cache.
func (d *db) CacheGet(ctx context.Context, tenant, key string) (value []byte, err error) {
	if err := d.enter(ctx); err != nil {
		return nil, err
	}
	defer d.leave()
	t := d.tenant(tenant)
	t.erase.RLock()
	defer t.erase.RUnlock()

	err = d.view(func(txn *kv.Txn) error {
		item, err := txn.Get(cacheKey(tenant, key))
		if err != nil {
			return err
		}
		return item.Value(func(v []byte) error {
			expiry, rest, err := stamp(v)
			if err != nil {
				return err
			}
			if expiry <= d.now().UnixMilli() {
				return kv.ErrKeyNotFound
			}
			value = append([]byte{}, rest...)
			return nil
		})
	})
	if errors.Is(err, kv.ErrKeyNotFound) {
		return nil, store.ErrNotFound
	}
	if err != nil {
		return nil, fmt.Errorf("reading from the cache: %w", err)
	}
	return value, nil
}

// CacheKeep implements store.Cache.
func (d *db) CacheKeep(ctx context.Context, tenant string, _ store.SessionKey, key string, value []byte, ttl time.Duration) error {
	return d.CachePut(ctx, tenant, key, value, ttl)
}

// CachePut implements store.Cache. A value for no time at all is not kept.
func (d *db) CachePut(ctx context.Context, tenant, key string, value []byte, ttl time.Duration) error {
	if err := d.enter(ctx); err != nil {
		return err
	}
	defer d.leave()
	if ttl <= 0 {
		return nil
	}
	if len(value) > maxValue {
		return fmt.Errorf("writing to the cache: value of %d bytes, the most is %d", len(value), maxValue)
	}
	t := d.tenant(tenant)
	t.erase.RLock()
	defer t.erase.RUnlock()

	expiry := d.now().Add(ttl).UnixMilli()
	e := d.reclaim(kv.NewEntry(cacheKey(tenant, key), stamped(expiry, value)), expiry)
	if err := d.commit(func(txn *kv.Txn) error { return txn.SetEntry(e) }); err != nil {
		return fmt.Errorf("writing to the cache: %w", err)
	}
	return nil
}
