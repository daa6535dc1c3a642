package badger

import (
	"context"
	"errors"

	"github.com/caddy-chat/caddy-chat/modules/store"
)

// ClaimKey implements store.Turns.
func (d *db) ClaimKey(ctx context.Context, tenant string, c store.KeyClaim, over bool, takes []store.Take) (value []byte, cancelled <-chan struct{}, err error) {
	value, cancelled, err = d.claimKey(ctx, tenant, c, over)
	if err != nil || cancelled == nil {
		return value, nil, err
	}
	if err := d.takeSlots(ctx, tenant, takes); err != nil {
		return nil, nil, errors.Join(err, d.freeKey(ctx, tenant, c))
	}
	return value, cancelled, nil
}

func (d *db) claimKey(ctx context.Context, tenant string, c store.KeyClaim, over bool) (value []byte, cancelled <-chan struct{}, err error) {
	if value, err = d.cached(ctx, tenant, c.Key); err != nil || value != nil && !over {
		return value, nil, err
	}
	if cancelled, err = d.Claim(ctx, tenant, c.Session, c.Turn, c.Lease); err != nil {
		return nil, nil, err
	}
	// the last turn may have put it there since
	if value, err = d.cached(ctx, tenant, c.Key); err == nil && (value == nil || over) {
		if err = d.Publish(ctx, tenant, c.Session, c.Turn, c.First); err == nil {
			return value, cancelled, nil
		}
	}
	return value, nil, errors.Join(err, d.freeKey(ctx, tenant, c))
}

// freeKey gives up the claim of a key.
func (d *db) freeKey(ctx context.Context, tenant string, c store.KeyClaim) error {
	return d.FinishTurn(context.WithoutCancel(ctx), tenant, c.Session, c.Turn, 0)
}

// cached returns a value, or nil if there is none.
func (d *db) cached(ctx context.Context, tenant, key string) ([]byte, error) {
	value, err := d.CacheGet(ctx, tenant, key)
	if errors.Is(err, store.ErrNotFound) {
		return nil, nil
	}
	return value, err
}

// Begin implements store.Turns.
func (d *db) Begin(ctx context.Context, tenant string, s store.SessionKey, b store.Beginning, msgs ...*store.Message) (begun store.Begun, err error) {
	if b.Key == nil {
		return d.begin(ctx, tenant, s, b, msgs)
	}
	value, left, err := d.claimKey(ctx, tenant, *b.Key, false)
	if value != nil || errors.Is(err, store.ErrBusy) {
		err = store.ErrKeyTaken
	}
	if err != nil {
		return begun, err
	}
	if begun, err = d.begin(ctx, tenant, s, b, msgs); err != nil {
		return begun, errors.Join(err, d.freeKey(ctx, tenant, *b.Key))
	}
	begun.KeyLeft = left
	return begun, nil
}

// begin is Begin without a key. Nothing else changes the messages of a session while it
// is claimed.
func (d *db) begin(ctx context.Context, tenant string, s store.SessionKey, b store.Beginning, msgs []*store.Message) (begun store.Begun, err error) {
	if err = d.endsAfter(ctx, tenant, s, b.After); err != nil {
		return begun, err
	}
	if begun.Cancelled, err = d.claimWith(ctx, tenant, s, b); err != nil {
		return begun, err
	}
	err = d.endsAfter(ctx, tenant, s, b.After) // another turn may have gone on since
	if err == nil {
		err = d.goOn(ctx, tenant, s, b, msgs, &begun)
	}
	if err != nil {
		ctx := context.WithoutCancel(ctx)
		return store.Begun{}, errors.Join(err, d.FinishTurn(ctx, tenant, s, b.Turn, 0), d.Release(ctx, tenant, b.Takes))
	}
	return begun, nil
}

// endsAfter returns why a session does not end with the message of this number, or an
// earlier one; nothing for 0.
func (d *db) endsAfter(ctx context.Context, tenant string, s store.SessionKey, seq uint64) error {
	if seq == 0 {
		return nil
	}
	newest, _, err := d.History(ctx, tenant, s, store.Range{Limit: 1})
	if err == nil && newest[0].Seq > seq {
		return store.ErrGoneOn
	}
	return err
}

// goOn reads a session's messages, and appends others.
func (d *db) goOn(ctx context.Context, tenant string, s store.SessionKey, b store.Beginning, msgs []*store.Message, begun *store.Begun) (err error) {
	begun.Past, begun.More, err = d.History(ctx, tenant, s, b.Past)
	if errors.Is(err, store.ErrNotFound) {
		err = nil
	}
	if err == nil && len(msgs) > 0 && (len(begun.Past) > 0 || !b.Further) {
		b.Create = true
		err = d.Append(ctx, tenant, s, b.AppendOptions, msgs...)
	}
	return err
}

// claimWith takes the slots of a turn and claims its session.
func (d *db) claimWith(ctx context.Context, tenant string, s store.SessionKey, b store.Beginning) (<-chan struct{}, error) {
	if err := d.takeSlots(ctx, tenant, b.Takes); err != nil {
		return nil, err
	}
	cancelled, err := d.Claim(ctx, tenant, s, b.Turn, b.Lease)
	if err != nil {
		return nil, errors.Join(err, d.Release(context.WithoutCancel(ctx), tenant, b.Takes))
	}
	return cancelled, nil
}

// takeSlots takes all of them, or answers store.ErrNoSlot.
func (d *db) takeSlots(ctx context.Context, tenant string, takes []store.Take) error {
	_, granted, err := d.Take(ctx, tenant, takes)
	if err == nil && !granted {
		return store.ErrNoSlot
	}
	return err
}
