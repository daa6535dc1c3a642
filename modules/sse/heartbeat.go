package sse

import "time"

// Heartbeat calls a function whenever a stream has been silent for an
// interval, such as one that writes a comment, so that nobody between here
// and the client takes the connection for dead. It has one timer and no
// goroutine of its own: the timer's runs only while it beats.
type Heartbeat struct {
	// busy is full while somebody writes, so that no beat cuts an event. It
	// is a channel and not a mutex for the sake of testing/synctest, where
	// time stands still while somebody waits for a mutex.
	busy chan struct{}

	interval time.Duration
	beat     func() error
	timer    *time.Timer // nil where there is no heartbeat
	last     time.Time   // of the last write
	stopped  bool
	err      error // of the beat that failed
}

// NewHeartbeat starts a heartbeat: beat is called when nothing was written
// for interval, counted from now. An interval of 0 or less means none; Do
// works all the same. Whoever starts one must Stop it before the stream's
// writer is gone.
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

// Do runs a write; no beat runs meanwhile, and the next one is due an
// interval after it. Once a beat has failed the stream is broken: Do returns
// that error and does not run write. Write must not call Do or Stop.
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

// Stop ends the heartbeat. When it returns no beat is running, and none will.
// It may be called twice, but not by write or beat.
func (h *Heartbeat) Stop() {
	h.lock()
	defer h.unlock()

	h.stopped = true
	if h.timer != nil {
		h.timer.Stop()
	}
}

// tick beats if the stream has been silent. Writes do not touch the timer,
// which would cost each of them more than looking again here costs once an
// interval.
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
