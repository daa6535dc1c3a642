package redis

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/redis/rueidis"
	"go.uber.org/zap"

	"github.com/caddy-chat/caddy-chat/modules/store"
)

const (
	// maxLater is how many bytes may wait for the server, and laterFor for how
	// long. What does not fit is lost, and logged.
	maxLater = 64 << 20
	laterFor = 10 * time.Minute
)

// later are the ends of turns that wait until the server answers again: their last
// messages and events. Those of one session stay in order.
type later struct {
	mu     sync.Mutex
	queues map[turnKey][]*write
	bytes  int
	wake   chan struct{} // has room for one
}

// write is one operation that waits.
type write struct {
	what  string
	bytes int
	since time.Time
	do    func(ctx context.Context) error
}

func (l *later) init() {
	l.queues, l.wake = make(map[turnKey][]*write), make(chan struct{}, 1)
}

// put adds an operation of a session, unless too much waits.
func (l *later) put(k turnKey, w *write) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.bytes+w.bytes > maxLater {
		return errors.New("too much waits for redis to answer")
	}
	w.since = time.Now()
	l.bytes += w.bytes
	l.queues[k] = append(l.queues[k], w)
	select {
	case l.wake <- struct{}{}:
	default:
	}
	return nil
}

// has reports whether something of a session waits.
func (l *later) has(k turnKey) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.queues[k]) > 0
}

// first returns the oldest operation of a session.
func (l *later) first(k turnKey) *write {
	l.mu.Lock()
	defer l.mu.Unlock()
	if q := l.queues[k]; len(q) > 0 {
		return q[0]
	}
	return nil
}

// drop removes the oldest operation of a session, if it is still this one.
func (l *later) drop(k turnKey, w *write) {
	l.mu.Lock()
	defer l.mu.Unlock()
	q := l.queues[k]
	if len(q) == 0 || q[0] != w {
		return
	}
	l.bytes -= w.bytes
	if len(q) == 1 {
		delete(l.queues, k)
		return
	}
	l.queues[k] = q[1:]
}

func (l *later) sessions() []turnKey {
	l.mu.Lock()
	defer l.mu.Unlock()
	list := make([]turnKey, 0, len(l.queues))
	for k := range l.queues {
		list = append(list, k)
	}
	return list
}

func (l *later) len() (n int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, q := range l.queues {
		n += len(q)
	}
	return n
}

// unreachable reports whether an operation may succeed later: the server did not
// answer, or it is about to start or to hand over to another one.
func unreachable(err error) bool {
	for _, answer := range []error{context.Canceled, store.ErrClosed, store.ErrNotFound, store.ErrBusy, store.ErrLost} {
		if errors.Is(err, answer) {
			return false
		}
	}
	var e *rueidis.RedisError
	return err != nil && !errors.As(err, &e) || refusedForNow(err)
}

// refusedForNow reports whether the server answered that it does not do the operation at
// the moment, and so has done nothing of it.
func refusedForNow(err error) bool {
	var e *rueidis.RedisError
	if !errors.As(err, &e) {
		return false
	}
	for _, state := range []string{"LOADING", "CLUSTERDOWN", "MASTERDOWN", "TRYAGAIN", "READONLY", "BUSY", "OOM", "MISCONF", "NOREPLICAS"} {
		if strings.HasPrefix(e.Error(), state) {
			return true
		}
	}
	return false
}

// orLater does an operation, or has it done when the server answers again.
func (d *db) orLater(ctx context.Context, k turnKey, w *write) error {
	if !d.later.has(k) {
		err := w.do(ctx)
		if !unreachable(err) {
			return err
		}
		d.log.Warn("redis does not answer, trying again", zap.String("what", w.what), zap.String("tenant", k.tenant), zap.Error(err))
	}
	if err := d.later.put(k, w); err != nil {
		return fmt.Errorf("%s: %w", w.what, err)
	}
	return nil
}

// writeLater does what waits, until the store is closed.
func (d *db) writeLater() {
	for {
		select {
		case <-d.done:
			return
		case <-d.later.wake:
		}
		for waiting := d.later.sessions(); len(waiting) > 0; waiting = d.later.sessions() {
			d.pause(retryTime)
			for _, k := range waiting {
				d.writeSession(context.Background(), k)
			}
			if d.isClosing() {
				return
			}
		}
	}
}

// writeSession does what waits of a session, in order.
func (d *db) writeSession(ctx context.Context, k turnKey) {
	for w := d.later.first(k); w != nil; w = d.later.first(k) {
		err := w.do(ctx)
		switch {
		case err == nil:
			d.log.Info("redis answers again, done", zap.String("what", w.what), zap.String("tenant", k.tenant), zap.Duration("after", time.Since(w.since)))
		case unreachable(err) && time.Since(w.since) < laterFor:
			return
		case !errors.Is(err, store.ErrNotFound):
			d.log.Error("lost because redis did not answer", zap.String("what", w.what), zap.String("tenant", k.tenant), zap.String("session", k.s.ID), zap.Error(err))
		}
		d.later.drop(k, w)
	}
}

// writeBefore does what waits of a session, or returns that it still does: what comes next
// would not know of it.
func (d *db) writeBefore(ctx context.Context, k turnKey) error {
	d.writeSession(ctx, k)
	if d.later.has(k) {
		return errors.New("redis does not answer, and earlier writes wait for it")
	}
	return nil
}

// Waiting implements store.Store.
func (d *db) Waiting() int { return d.later.len() }

func (d *db) isClosing() bool {
	select {
	case <-d.done:
		return true
	default:
		return false
	}
}
