package sse

import "time"

// Heartbeat calls a function, such as one that writes a comment, whenever a
// stream has been silent for an interval. That keeps proxies from closing the
// connection as idle. It has one timer and no goroutine of its own: the timer's
// runs only during a beat.
type Heartbeat struct {
	// busy is full during a write, so that a beat does not cut an event in two.
	// It is a channel and not a mutex for the sake of testing/synctest, whose
	// clock stands still while a goroutine waits for a mutex.
	busy chan struct{}

	interval time.Duration
	beat     func() error
	timer    *time.Timer // nil without a heartbeat
	last     time.Time   // of the last write
	stopped  bool
	err      error // of the beat that failed
}

// NewHeartbeat starts a heartbeat that calls beat when nothing was written for
// interval, counted from now. Without an interval, 0 or less, nothing beats and
// Do still works. Stop the heartbeat before the stream's writer goes away.
func NewHeartbeat(interval time.Duration, beat func() error) *Heartbeat {
	h := &Heartbeat{
		busy:     make(chan struct{}, 1),
		interval: interval,
		beat:     beat,
		last:     time.Now(),
	}
	if interval <= 0 {
		return h
	}
	// The timer may fire before it is assigned.
	h.lock()
	defer h.unlock()
	h.timer = time.AfterFunc(interval, h.tick)
	return h
}

// Do runs write. No beat runs meanwhile, and the next one is due an interval
// later. Once a beat has failed the stream is broken: Do returns that error
// without running write. Write must not call Do or Stop.
func (h *Heartbeat) Do(write func() error) error {
	h.lock()
	defer h.unlock()

	if h.err != nil {
		return h.err
	}
	err := write()
	if h.timer != nil {
		h.last = time.Now()
	}
	return err
}

// Stop ends the heartbeat. When it returns, no beat is running or will run. It
// may be called twice, but not by write or beat.
func (h *Heartbeat) Stop() {
	h.lock()
	defer h.unlock()

	h.stopped = true
	if h.timer != nil {
		h.timer.Stop()
	}
}

// tick beats if the stream has been silent. Writes do not reset the timer: that
// would cost more per write than checking here costs per interval.
func (h *Heartbeat) tick() {
	h.lock()
	defer h.unlock()

	if h.stopped {
		return
	}
	if silent := time.Since(h.last); silent < h.interval {
		h.timer.Reset(h.interval - silent)
		return
	}
	if h.err = h.beat(); h.err != nil {
		return
	}
	h.last = time.Now()
	h.timer.Reset(h.interval)
}

func (h *Heartbeat) lock()   { h.busy <- struct{}{} }
func (h *Heartbeat) unlock() { <-h.busy }
