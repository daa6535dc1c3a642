package redis

import (
	"context"
	"crypto/rand"
	"errors"
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
	mu     sync.RWMutex  // held for reading by every call
	closed bool

	failure atomic.Pointer[failure]
	owned   owned
	feeds   feeds
	slots   slots
	later   later
	workers sync.WaitGroup
}

// failure is the last error of the connection.
type failure struct{ err error }

// open opens the store. A test may set a clock.
func (r *Redis) open(log *zap.Logger, now func() time.Time) (*db, error) {
	opt := r.option
	opt.ClientName = "caddy-chat"
	opt.DisableCache = true
	opt.Dialer.Timeout = dialTimeout
	opt.ConnWriteTimeout = dialTimeout
	client, err := rueidis.NewClient(opt)
	if err != nil {
		return nil, fmt.Errorf("connecting to redis at %s: %w", opt.InitAddress, err)
	}
	d := &db{client: client, keys: keyspace(r.Prefix), log: log, now: now, node: rand.Text(), limit: callTimeout, done: make(chan struct{})}
	d.owned.init()
	d.feeds.init()
	d.slots.init()
	d.later.init()
	ctx, cancel := context.WithTimeout(context.Background(), dialTimeout)
	defer cancel()
	if err := d.checkVersion(ctx); err != nil {
		client.Close()
		return nil, err
	}
	d.workers.Go(d.hearCancels)
	d.workers.Go(d.renewSlots)
	d.workers.Go(d.writeLater)
	d.workers.Go(d.recover)
	return d, nil
}

// checkVersion refuses servers that cannot run the scripts.
func (d *db) checkVersion(ctx context.Context) error {
	// sharded channels came with Redis 7
	err := d.client.Do(ctx, d.client.B().Arbitrary("PUBSUB", "SHARDNUMSUB").Build()).Error()
	if e, ok := rueidis.IsRedisErr(err); ok {
		if strings.HasPrefix(e.Error(), "NOPERM") {
			return nil // the user may not ask, and is not known to need it
		}
		return errors.New("the server is too old: want Redis 7 or later, or Valkey")
	}
	if err != nil {
		return fmt.Errorf("asking redis for its version: %w", err)
	}
	return nil
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

// run runs a script of a tenant. Its only key is what all keys of the tenant begin
// with, by which a cluster finds the node.
func (d *db) run(parent context.Context, s *rueidis.Lua, tenant string, args ...string) rueidis.RedisResult {
	size := 0
	for _, a := range args {
		size += len(a)
	}
	ctx, cancel := context.WithTimeout(parent, d.limit*time.Duration(1+size>>20))
	defer cancel()
	res := s.Exec(ctx, d.client, []string{d.keys.tenant(tenant)}, append([]string{d.clock()}, args...))
	if parent.Err() == nil {
		d.note(res.Error())
	}
	return res
}

// note remembers whether the server can be reached.
func (d *db) note(err error) {
	if _, ok := rueidis.IsRedisErr(err); err == nil || ok {
		if d.failure.Load() != nil {
			d.failure.Store(nil)
		}
		return
	}
	if !errors.Is(err, context.Canceled) {
		d.failure.Store(&failure{err})
	}
}

// recover asks a server that did not answer whether it does again, so that a node
// without requests notices, too.
func (d *db) recover() {
	ticker := time.NewTicker(retryTime)
	defer ticker.Stop()
	for {
		select {
		case <-d.done:
			return
		case <-ticker.C:
		}
		if d.failure.Load() == nil {
			continue
		}
		ctx, cancel := context.WithTimeout(context.Background(), d.limit)
		d.note(d.client.Do(ctx, d.client.B().Ping().Build()).Error())
		cancel()
	}
}

// Health implements store.Store.
func (d *db) Health() error {
	if f := d.failure.Load(); f != nil {
		return fmt.Errorf("redis: %w", f.err)
	}
	if n := d.later.len(); n > 0 {
		return fmt.Errorf("redis: %d writes wait for it", n)
	}
	return nil
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
