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
	if err := d.run(ctx, cachePutScript, tenant, cached(key), rueidis.BinaryString(value), micros(ttl)).Error(); err != nil {
		return fmt.Errorf("caching a value: %w", err)
	}
	return nil
}
