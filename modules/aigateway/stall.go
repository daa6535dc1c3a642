package aigateway

import (
	"context"
	"sync/atomic"
	"time"
)

// stallWatch cancels an attempt that falls silent. It counts only the time spent
// waiting for the provider, not the time that the client takes to read. The
// timer is not reset for each chunk, which would cost more than reading one: it
// checks when it fires. A nil stallWatch never cancels.
type stallWatch struct {
	cancel   context.CancelCauseFunc
	timeout  time.Duration
	deadline time.Time // of a rescue, for the silence until and after its first chunk; zero for none
	begun    time.Time
	timer    *time.Timer
	started  bool // the first chunk has arrived
	stopped  atomic.Bool
	since    atomic.Int64 // start of the current wait, in nanoseconds after begun; 0 between waits

	// first is when the first chunk arrived, after begun, and credit how much
	// silence was allowed then.
	first, credit time.Duration
}

func newStallWatch(cancel context.CancelCauseFunc, timeout time.Duration, deadline time.Time) *stallWatch {
	w := &stallWatch{cancel: cancel, timeout: timeout, deadline: deadline, begun: time.Now()}
	w.timer = time.AfterFunc(timeout, w.look)
	w.timer.Stop()
	return w
}

// waiting starts a wait for the provider, unless one is running: only a chunk
// ends it, and not a read without one.
func (w *stallWatch) waiting() {
	if w != nil && w.started && w.since.Load() == 0 {
		w.since.Store(max(1, int64(time.Since(w.begun))))
	}
}

// heard ends the wait because a chunk has arrived. The first one starts the
// watch.
func (w *stallWatch) heard() {
	if w == nil {
		return
	}
	w.since.Store(0)
	if w.started {
		return
	}
	w.started = true
	w.first, w.credit = time.Since(w.begun), w.timeout
	if !w.deadline.IsZero() {
		w.credit = max(0, min(w.timeout, time.Until(w.deadline)))
	}
	w.timer.Reset(w.credit)
}

// allowed returns how much silence is allowed at a time after begun. A rescue
// begins with what its deadline leaves, and earns more while it answers.
func (w *stallWatch) allowed(at time.Duration) time.Duration {
	return min(w.timeout, w.credit+at-w.first)
}

// left returns how much silence is allowed still.
func (w *stallWatch) left() time.Duration {
	now := time.Since(w.begun)
	if !w.started {
		return time.Until(w.deadline)
	}
	if since := time.Duration(w.since.Load()); since > 0 {
		return w.allowed(since) - (now - since)
	}
	return w.allowed(now)
}

func (w *stallWatch) look() {
	left := w.left()
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
	if w == nil {
		return
	}
	w.stopped.Store(true)
	w.timer.Stop()
}
