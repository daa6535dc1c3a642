package aigateway

import (
	"context"
	"errors"
	"sync/atomic"
	"time"
)

var (
	// errSilent ends an attempt whose target says nothing for too long.
	errSilent = errors.New("the provider stays silent")

	// errOutOfTime ends an attempt when the time for trying is over.
	errOutOfTime = errors.New("the time for trying is over")
)

// beginWatch ends an attempt whose answer does not begin in time.
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

// extend starts the wait anew.
func (w beginWatch) extend(wait time.Duration) { w.timer.Reset(wait) }

func (w beginWatch) stop() { w.timer.Stop() }

// stallWatch ends an attempt that falls silent. Only the time that its reader
// waits for the provider counts, and not the time that the client takes to
// read. Its timer looks once in a while: setting one for each chunk would cost
// more than reading it.
type stallWatch struct {
	cancel  context.CancelCauseFunc
	timeout time.Duration
	begun   time.Time
	timer   *time.Timer
	started bool         // the first chunk has come
	since   atomic.Int64 // when the wait began, in nanoseconds after begun; 0 while the reader does not wait
}

func newStallWatch(cancel context.CancelCauseFunc, timeout time.Duration) *stallWatch {
	w := &stallWatch{cancel: cancel, timeout: timeout, begun: time.Now()}
	w.timer = time.AfterFunc(timeout, w.look)
	w.timer.Stop()
	return w
}

// waiting says that the reader waits for the provider from now on, unless it
// did so already.
func (w *stallWatch) waiting() {
	if w.started && w.since.Load() == 0 {
		w.since.Store(max(1, int64(time.Since(w.begun))))
	}
}

// heard says that a chunk has come, and starts the watch with the first one.
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
}

func (w *stallWatch) stop() { w.timer.Stop() }
