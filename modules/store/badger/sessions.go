package badger

import (
	"context"
	"errors"
	"fmt"
	"hash/maphash"
	"slices"
	"sync"

	kv "github.com/dgraph-io/badger/v4"
	"github.com/google/uuid"
	"go.uber.org/zap"

	"github.com/caddy-chat/caddy-chat/modules/store"
)

// What one transaction takes of an Append. At 16 KiB a message, above which
// only a pointer counts, and a small entry a deletion, both together stay
// below Badger's limit of 1.2 MiB.
const (
	messagesAtOnce  = 32
	deletionsAtOnce = 1024
)

// meta is what is kept of a session beside its messages. The messages are
// those from First up to but without Next; whatever else is on disk under
// the incarnation does not count.
type meta struct {
	Incarnation []byte `json:"i"`
	Title       string `json:"t,omitempty"`
	Created     int64  `json:"c"` // milliseconds, as all times here
	Updated     int64  `json:"u"`
	First       uint64 `json:"f"`
	Next        uint64 `json:"n"`

	// No message expires before Soonest, and all have by Latest: between
	// these two, messages have to be looked at to be counted.
	Soonest int64 `json:"s"`
	Latest  int64 `json:"l"`

	// Mixed says that some message expires before an older one, as after a
	// change of the retention: then they have to be looked at one by one.
	Mixed bool `json:"x,omitempty"`
}

var stripeSeed = maphash.MakeSeed()

// lock serialises the changes of one session.
func (d *db) lock(key []byte) *sync.Mutex {
	mu := &d.stripes[maphash.Bytes(stripeSeed, key)%uint64(len(d.stripes))]
	mu.Lock()
	return mu
}

// loadMeta returns ErrNotFound for an unknown session. What it returns may
// have expired.
func loadMeta(txn *kv.Txn, key []byte) (*meta, error) {
	item, err := txn.Get(key)
	if errors.Is(err, kv.ErrKeyNotFound) {
		return nil, store.ErrNotFound
	}
	if err != nil {
		return nil, err
	}
	var m *meta
	err = item.Value(func(v []byte) error {
		m, err = decodeMeta(v)
		return err
	})
	return m, err
}

// saveMeta writes the session and its place in the list.
func (d *db) saveMeta(txn *kv.Txn, tenant string, s store.SessionKey, m *meta) error {
	if err := txn.SetEntry(d.reclaim(kv.NewEntry(sessionKey(tenant, s), encodeMeta(m)), m.Latest)); err != nil {
		return err
	}
	return txn.SetEntry(d.reclaim(kv.NewEntry(recentKey(tenant, s, m.Updated), nil), m.Latest))
}

// Append implements store.Sessions.
func (d *db) Append(ctx context.Context, tenant string, s store.SessionKey, opts store.AppendOptions, msgs ...*store.Message) error {
	if err := d.enter(ctx); err != nil {
		return err
	}
	defer d.leave()
	if len(msgs) == 0 {
		return nil
	}

	a, err := encode(opts, msgs)
	if err != nil {
		return fmt.Errorf("encoding a message: %w", err)
	}

	t := d.tenant(tenant)
	t.erase.RLock()
	defer t.erase.RUnlock()
	defer d.lock(sessionKey(tenant, s)).Unlock()

	var after *meta
	var pruned [][]byte // that did not fit the transaction
	err = d.commit(func(txn *kv.Txn) error {
		before, m, err := d.grow(txn, tenant, s, opts, msgs, a)
		if err != nil {
			return err
		}
		after = m
		pruned, err = d.writeAppend(txn, tenant, s, before, after, a)
		return err
	})
	if errors.Is(err, store.ErrNotFound) {
		return err
	}
	if err != nil {
		return fmt.Errorf("appending to a session: %w", err)
	}
	if err := d.deleteAll(pruned); err != nil {
		// They are out of reach already, only their space is not free.
		d.log.Warn("pruning a session", zap.Error(err))
	}

	first := after.Next - uint64(len(msgs))
	for i, m := range msgs {
		m.Seq = first + uint64(i)
	}
	return nil
}

// grow works out how a session looks once the messages are appended and
// pruned. before is what is on disk, expired or not, or nil.
func (d *db) grow(txn *kv.Txn, tenant string, s store.SessionKey, opts store.AppendOptions, msgs []*store.Message, a *appending) (before, after *meta, err error) {
	before, err = loadMeta(txn, sessionKey(tenant, s))
	if err != nil && !errors.Is(err, store.ErrNotFound) {
		return nil, nil, err
	}

	m := new(meta)
	if before != nil {
		*m = *before
		alive, err := d.count(txn, tenant, m)
		if err != nil {
			return nil, nil, err
		}
		// What has expired before it needs no pruning: Badger drops it.
		before.First = alive.first
		m.First, m.Soonest = alive.first, alive.soonest
		if alive.n == 0 {
			m = new(meta) // another session begins
		}
	}
	if m.Next == 0 {
		if !opts.Create {
			return nil, nil, store.ErrNotFound
		}
		incarnation := uuid.New()
		m.Incarnation, m.Title = incarnation[:], opts.Title
		m.Created = msgs[0].Time.UnixMilli()
		m.First, m.Next, m.Soonest = 1, 1, never
	}

	for _, expiry := range a.expiries {
		m.Mixed = m.Mixed || expiry < m.Latest
		m.Soonest = min(m.Soonest, expiry)
		m.Latest = max(m.Latest, expiry)
	}
	m.Next += uint64(len(msgs))
	m.Updated = a.updated
	if keep := uint64(opts.MaxMessages); keep > 0 && m.Next-m.First > keep {
		m.First = m.Next - keep
	}
	return before, m, nil
}

// writeAppend writes the messages and the meta. Many messages go before the
// transaction, and pruned ones that it returns are to be deleted after it:
// messages beyond the meta's Next are not there yet, and those before its First
// are not there any more, so that a crash anywhere in between changes nothing.
func (d *db) writeAppend(txn *kv.Txn, tenant string, s store.SessionKey, before, after *meta, a *appending) (pruned [][]byte, err error) {
	prefix := messagePrefix(tenant, after.Incarnation)
	if err := d.writeMessages(txn, prefix, after, a); err != nil {
		return nil, err
	}
	if before == nil {
		return nil, d.saveMeta(txn, tenant, s, after)
	}

	if string(before.Incarnation) == string(after.Incarnation) {
		for seq := before.First; seq < min(after.First, before.Next); seq++ {
			pruned = append(pruned, messageKey(prefix, seq))
		}
	}
	now := pruned[:min(len(pruned), deletionsAtOnce)]
	for _, key := range append(slices.Clip(now), recentKey(tenant, s, before.Updated)) {
		if err := txn.Delete(key); err != nil {
			return nil, err
		}
	}
	return pruned[len(now):], d.saveMeta(txn, tenant, s, after)
}

// writeMessages writes those of the messages that are kept.
func (d *db) writeMessages(txn *kv.Txn, prefix []byte, after *meta, a *appending) error {
	var entries []*kv.Entry
	start := after.Next - uint64(len(a.values))
	for i, value := range a.values {
		if seq := start + uint64(i); seq >= after.First {
			entries = append(entries, d.reclaim(kv.NewEntry(messageKey(prefix, seq), value), a.expiries[i]))
		}
	}
	if len(entries) > messagesAtOnce {
		return d.writeAll(entries)
	}
	for _, e := range entries {
		if err := txn.SetEntry(e); err != nil {
			return err
		}
	}
	return nil
}

func (d *db) writeAll(entries []*kv.Entry) error {
	wb := d.disk.NewWriteBatch()
	defer wb.Cancel()
	for _, e := range entries {
		if err := wb.SetEntry(e); err != nil {
			return err
		}
	}
	return wb.Flush()
}

// Retract implements store.Sessions. As in writeAppend, messages that do not fit the
// transaction are deleted after it.
func (d *db) Retract(ctx context.Context, tenant string, s store.SessionKey, first, last uint64) error {
	if err := d.enter(ctx); err != nil {
		return err
	}
	defer d.leave()

	t := d.tenant(tenant)
	t.erase.RLock()
	defer t.erase.RUnlock()
	defer d.lock(sessionKey(tenant, s)).Unlock()

	var rest [][]byte
	err := d.commitDeletion(func(txn *kv.Txn) (err error) {
		rest, err = d.retract(txn, tenant, s, first, last)
		return err
	})
	if err != nil {
		return fmt.Errorf("retracting messages: %w", err)
	}
	if err := d.deleteAll(rest); err != nil {
		d.log.Warn("retracting messages", zap.Error(err)) // they are out of reach already
	}
	return nil
}

// retract takes messages out of a session. It returns the keys of those that are still to
// be deleted.
func (d *db) retract(txn *kv.Txn, tenant string, s store.SessionKey, first, last uint64) (rest [][]byte, err error) {
	m, err := loadMeta(txn, sessionKey(tenant, s))
	if errors.Is(err, store.ErrNotFound) {
		return nil, nil
	}
	if err != nil || first > last || last != m.Next-1 || last < m.First {
		return nil, err
	}
	prefix := messagePrefix(tenant, m.Incarnation)
	m.Next = max(first, m.First)
	var keys [][]byte
	for seq := m.Next; seq <= last; seq++ {
		keys = append(keys, messageKey(prefix, seq))
	}
	now := keys[:min(len(keys), deletionsAtOnce)]
	for _, key := range append(slices.Clip(now), recentKey(tenant, s, m.Updated)) {
		if err := txn.Delete(key); err != nil {
			return nil, err
		}
	}
	rest = keys[len(now):]

	alive, err := d.count(txn, tenant, m)
	if err != nil {
		return nil, err
	}
	if alive.n == 0 {
		return rest, txn.Delete(sessionKey(tenant, s))
	}
	if m.Updated, err = d.newest(txn, tenant, m); err != nil {
		return nil, err
	}
	return rest, d.saveMeta(txn, tenant, s, m)
}

// Delete implements store.Sessions. The session is gone in one transaction,
// its messages follow; where a crash comes between, the next Open ends it.
// A turn that runs is cancelled, and keeps the session busy until it ends.
func (d *db) Delete(ctx context.Context, tenant string, s store.SessionKey) error {
	if err := d.enter(ctx); err != nil {
		return err
	}
	defer d.leave()

	t := d.tenant(tenant)
	t.erase.RLock()
	defer t.erase.RUnlock()

	prefix, err := d.unlink(tenant, s)
	if errors.Is(err, store.ErrNotFound) {
		return err
	}
	if err != nil {
		return fmt.Errorf("deleting a session: %w", err)
	}
	if err := d.discard(prefix); err != nil {
		d.log.Warn("removing the messages of a deleted session", zap.Error(err))
	}
	return nil
}

// unlink puts a session into the trash and returns what its messages begin
// with.
func (d *db) unlink(tenant string, s store.SessionKey) (prefix []byte, err error) {
	key := sessionKey(tenant, s)
	defer d.lock(key).Unlock()

	err = d.commitDeletion(func(txn *kv.Txn) error {
		m, err := loadMeta(txn, key)
		if err != nil {
			return err
		}
		alive, err := d.count(txn, tenant, m)
		if err != nil {
			return err
		}
		if alive.n == 0 {
			return store.ErrNotFound
		}

		prefix = messagePrefix(tenant, m.Incarnation)
		if err := txn.Set(trashKey(prefix), nil); err != nil {
			return err
		}
		if err := txn.Delete(recentKey(tenant, s, m.Updated)); err != nil {
			return err
		}
		return txn.Delete(key)
	})
	if err != nil {
		return nil, err
	}
	d.turns.drop(tenant, s)
	return prefix, nil
}

// EraseTenant implements store.Sessions. The tenant's other calls wait for
// its end. Once begun it is carried through, whatever becomes of ctx; where a
// crash stops it, what is left is whole sessions, and it has to be called
// again.
func (d *db) EraseTenant(ctx context.Context, tenant string) error {
	if err := d.enter(ctx); err != nil {
		return err
	}
	defer d.leave()

	t := d.tenant(tenant)
	t.erase.Lock()
	defer t.erase.Unlock()

	d.turns.dropTenant(tenant)
	d.limits.Erase(tenant)
	d.eraseLedger(&t.ledger)

	// What leads to messages goes before them.
	for _, letter := range []byte{letterSession, letterRecent, letterMessage, letterBudget, letterCache} {
		if err := d.sweep(concern(tenant, letter)); err != nil {
			return fmt.Errorf("erasing a tenant: %w", err)
		}
	}
	return nil
}
