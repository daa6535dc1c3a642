package redis

import (
	"context"
	"crypto/rand"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/redis/rueidis"
	"go.uber.org/zap"

	"github.com/caddy-chat/caddy-chat/modules/store"
)

const (
	// callTimeout is how long an operation may take, and as much again for each
	// MiB that it sends. A request that needs the store is refused then.
	callTimeout = 900 * time.Millisecond

	// dialTimeout bounds the first connection, at the start.
	dialTimeout = 5 * time.Second
)

// db is an open store.
type db struct {
	client rueidis.Client
	keys   keyspace
	log    *zap.Logger
	now    func() time.Time // nil for the server's clock
	node   string           // names this open store among the others on the server
	limit  time.Duration    // of a call: callTimeout

	done   chan struct{} // closed by Close
	hears  chan struct{} // closed once the node hears of cancelled turns
	mu     sync.RWMutex  // held for reading by every call
	closed bool

	failure  atomic.Pointer[failure]
	away     atomic.Pointer[away]
	answered atomic.Int64 // since when it answers again, in nanoseconds
	owned    owned
	feeds    feeds
	slots    slots
	later    later
	workers  sync.WaitGroup
}

// open opens the store. A test may set a clock.
func (r *Redis) open(log *zap.Logger, now func() time.Time) (*db, error) {
	client, err := rueidis.NewClient(r.option)
	if err != nil {
		return nil, fmt.Errorf("connecting to redis at %s: %w", strings.Join(r.place.addrs, ", "), r.place.explain(err))
	}
	d := &db{client: client, keys: keyspace(r.Prefix), log: log, now: now, node: rand.Text(), limit: callTimeout, done: make(chan struct{}), hears: make(chan struct{})}
	d.owned.init()
	d.feeds.init()
	d.slots.init()
	d.later.init()
	if err := d.checkAtStart(); err != nil {
		client.Close()
		return nil, err
	}
	d.workers.Go(d.hearCancels)
	d.workers.Go(d.renewSlots)
	d.workers.Go(d.writeLater)
	d.workers.Go(d.recover)
	return d, nil
}

// enter begins a call, which ends with leave unless an error is returned.
func (d *db) enter(ctx context.Context) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	d.mu.RLock()
	if d.closed {
		d.mu.RUnlock()
		return store.ErrClosed
	}
	return nil
}

func (d *db) leave() { d.mu.RUnlock() }

// clock is the first argument of every script: microseconds, or 0 for the server's
// own time.
func (d *db) clock() string {
	if d.now == nil {
		return "0"
	}
	return strconv.FormatInt(d.now().UnixMicro(), 10)
}

// run runs a script of a tenant. A cluster finds the node by the keys that it declares.
func (d *db) run(parent context.Context, s *rueidis.Lua, tenant string, args ...string) rueidis.RedisResult {
	if err := d.isAway(tenant); err != nil {
		return rueidis.NewErrorResult(err)
	}
	size := 0
	for _, a := range args {
		size += len(a)
	}
	ctx, cancel := context.WithTimeout(parent, d.limit*time.Duration(1+size>>20))
	defer cancel()
	res := s.Exec(ctx, d.client, d.keys.declared(tenant), append([]string{d.clock()}, args...))
	if parent.Err() == nil {
		d.note(tenant, res.Error())
	}
	return res
}

// Size implements store.Store. The server does not know it for a prefix.
func (d *db) Size() int64 { return 0 }

// Close implements store.Store. It waits for running calls, and wakes those that
// wait for events.
func (d *db) Close() error {
	d.mu.Lock()
	if d.closed {
		d.mu.Unlock()
		return nil
	}
	d.closed = true
	close(d.done)
	d.mu.Unlock()
	d.owned.flushAll(d)
	for _, k := range d.later.sessions() {
		d.writeSession(context.Background(), k)
	}
	if n := d.later.len(); n > 0 {
		d.log.Error("lost because redis did not answer before the end", zap.Int("writes", n))
	}
	d.feeds.stop()
	d.client.Close()
	d.workers.Wait()
	return nil
}

// micros writes a duration, rounded up, so that nothing ends early.
func micros(t time.Duration) string {
	return strconv.FormatInt(int64((t+time.Microsecond-1)/time.Microsecond), 10)
}

func number[T ~int | ~int64](n T) string { return strconv.FormatInt(int64(n), 10) }

// seqNumber writes the number of a message as the scripts can count: more than they
// can is beyond any message.
func seqNumber(n uint64) string { return strconv.FormatUint(min(n, 1<<53-2), 10) }
