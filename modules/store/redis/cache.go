package redis

import (
	"context"
	"fmt"
	"time"

	"github.com/redis/rueidis"

	"github.com/caddy-chat/caddy-chat/modules/store"
)

// CacheGet implements store.Cache.
func (d *db) CacheGet(ctx context.Context, tenant, key string) ([]byte, error) {
	if err := d.enter(ctx); err != nil {
		return nil, err
	}
	defer d.leave()
	value, err := d.run(ctx, cacheGetScript, tenant, cached(key)).AsBytes()
	if rueidis.IsRedisNil(err) {
		return nil, store.ErrNotFound
	}
	if err != nil {
		return nil, fmt.Errorf("reading a cached value: %w", err)
	}
	return value, nil
}

// CachePut implements store.Cache.
func (d *db) CachePut(ctx context.Context, tenant, key string, value []byte, ttl time.Duration) error {
	if err := d.enter(ctx); err != nil {
		return err
	}
	defer d.leave()
	if err := d.put(ctx, cachePutScript, tenant, key, value, ttl); err != nil {
		return fmt.Errorf("caching a value: %w", err)
	}
	return nil
}

// CacheKeep implements store.Cache.
func (d *db) CacheKeep(ctx context.Context, tenant string, s store.SessionKey, key string, value []byte, ttl time.Duration) error {
	if err := d.enter(ctx); err != nil {
		return err
	}
	defer d.leave()
	w := &write{what: "keeping a value", bytes: eventCost + len(value)}
	w.do = func(ctx context.Context) error { return d.put(ctx, cacheKeepScript, tenant, key, value, ttl) }
	if err := d.orLater(ctx, turnKey{tenant, s}, w); err != nil {
		return fmt.Errorf("keeping a value: %w", err)
	}
	return nil
}

func (d *db) put(ctx context.Context, script *rueidis.Lua, tenant, key string, value []byte, ttl time.Duration) error {
	return d.run(ctx, script, tenant, cached(key), rueidis.BinaryString(value), micros(ttl)).Error()
}
