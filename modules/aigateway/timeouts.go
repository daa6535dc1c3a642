package aigateway

import (
	"context"
	"errors"
	"sync/atomic"
	"time"
)

var (
	// errSilent cancels an attempt whose target sends nothing for too long.
	errSilent = errors.New("the provider sent nothing for too long")

	// errOutOfTime cancels an attempt when try_duration is over.
	errOutOfTime = errors.New("no answer began within try_duration")
)

// beginWatch cancels an attempt whose answer does not begin in time.
type beginWatch struct{ timer *time.Timer }

func watchBegin(cancel context.CancelCauseFunc, wait time.Duration, deadline time.Time) beginWatch {
	return beginWatch{time.AfterFunc(wait, func() {
		if time.Until(deadline) <= 0 {
			cancel(errOutOfTime)
			return
		}
		cancel(errSilent)
	})}
}

// extend restarts the wait.
func (w beginWatch) extend(wait time.Duration) { w.timer.Reset(wait) }

func (w beginWatch) stop() { w.timer.Stop() }

// stallWatch cancels an attempt that falls silent. It counts only the time spent
// waiting for the provider, not the time that the client takes to read. The
// timer is not reset for each chunk, which would cost more than reading one: it
// checks when it fires.
type stallWatch struct {
	cancel  context.CancelCauseFunc
	timeout time.Duration
	begun   time.Time
	timer   *time.Timer
	started bool // the first chunk has arrived
	stopped atomic.Bool
	since   atomic.Int64 // start of the current wait, in nanoseconds after begun; 0 between waits
}

func newStallWatch(cancel context.CancelCauseFunc, timeout time.Duration) *stallWatch {
	w := &stallWatch{cancel: cancel, timeout: timeout, begun: time.Now()}
	w.timer = time.AfterFunc(timeout, w.look)
	w.timer.Stop()
	return w
}

// waiting starts a wait for the provider, unless one is running: only a chunk
// ends it, and not a read without one.
func (w *stallWatch) waiting() {
	if w.started && w.since.Load() == 0 {
		w.since.Store(max(1, int64(time.Since(w.begun))))
	}
}

// heard ends the wait because a chunk has arrived. The first one starts the
// watch.
func (w *stallWatch) heard() {
	w.since.Store(0)
	if !w.started {
		w.started = true
		w.timer.Reset(w.timeout)
	}
}

func (w *stallWatch) look() {
	left := w.timeout
	if since := w.since.Load(); since > 0 {
		left -= time.Since(w.begun) - time.Duration(since)
	}
	if left <= 0 {
		w.cancel(errSilent)
		return
	}
	w.timer.Reset(left)
	if w.stopped.Load() {
		w.timer.Stop() // stop came in between
	}
}

func (w *stallWatch) stop() {
	w.stopped.Store(true)
	w.timer.Stop()
}
