package badger

import (
	"context"
	"errors"

	"github.com/caddy-chat/caddy-chat/modules/store"
)

// ClaimKey implements store.Turns.
func (d *db) ClaimKey(ctx context.Context, tenant string, s store.SessionKey, c store.KeyClaim) (value []byte, cancelled <-chan struct{}, err error) {
	if value, err = d.cached(ctx, tenant, c.Key); err != nil || value != nil && !c.Over {
		return value, nil, err
	}
	if cancelled, err = d.Claim(ctx, tenant, s, c.Turn, c.Lease); err != nil {
		return nil, nil, err
	}
	// the last turn may have put it there since
	if value, err = d.cached(ctx, tenant, c.Key); err == nil && (value == nil || c.Over) {
		if err = d.Publish(ctx, tenant, s, c.Turn, c.First); err == nil {
			return value, cancelled, nil
		}
	}
	return value, nil, errors.Join(err, d.FinishTurn(context.WithoutCancel(ctx), tenant, s, c.Turn, 0))
}

// cached returns a value, or nil if there is none.
func (d *db) cached(ctx context.Context, tenant, key string) ([]byte, error) {
	value, err := d.CacheGet(ctx, tenant, key)
	if errors.Is(err, store.ErrNotFound) {
		return nil, nil
	}
	return value, err
}
