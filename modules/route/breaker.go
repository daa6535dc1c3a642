package route

import (
	"sync"
	"time"
)

// CircuitState is the state of a circuit breaker.
type CircuitState string

// The states of a circuit.
const (
	Closed   CircuitState = "closed"    // everything
	Open     CircuitState = "open"      // nothing
	HalfOpen CircuitState = "half_open" // a single probe
)

// worse returns the state that lets fewer calls through.
func worse(a, b CircuitState) CircuitState {
	if a == Open || b == Closed {
		return a
	}
	return b
}

// Breaker is a circuit breaker: it opens after a number of failures in a row,
// lets one probe through after its pause, and closes when the probe succeeds.
// It is safe for concurrent use.
type Breaker struct {
	failures int // in a row; 0 never opens
	pause    time.Duration

	mu      sync.Mutex
	row     int       // failures so far
	until   time.Time // when it lets a probe through; zero while closed
	probing bool
}

// newBreaker makes a closed breaker.
func newBreaker(failures int, pause time.Duration) *Breaker {
	return &Breaker{failures: failures, pause: pause}
}

// Pass is a call that a breaker let through. It must end with one of its
// methods; Ended may follow any of them.
type Pass struct {
	b     *Breaker
	probe bool
	over  bool
}

// Enter lets a call through, or returns nil and how long until it would let one
// through. The wait is zero while a probe is running.
func (b *Breaker) Enter(now time.Time) (p *Pass, wait time.Duration) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.until.IsZero() {
		return &Pass{b: b}, 0
	}
	if wait := b.until.Sub(now); wait > 0 {
		return nil, wait
	}
	if b.probing {
		return nil, 0
	}
	b.probing = true
	return &Pass{b: b, probe: true}, 0
}

// State returns the state of the circuit.
func (b *Breaker) State(now time.Time) CircuitState {
	b.mu.Lock()
	defer b.mu.Unlock()
	switch {
	case b.until.IsZero():
		return Closed
	case now.Before(b.until):
		return Open
	default:
		return HalfOpen
	}
}

// Answering says that the call has begun to answer. For a probe that is enough:
// other calls need not wait for the end of a long answer. closed says that this
// closed the circuit.
func (p *Pass) Answering() (closed bool) {
	p.b.mu.Lock()
	defer p.b.mu.Unlock()
	if !p.probe {
		return false
	}
	p.b.close()
	p.probe = false
	return true
}

// Succeeded says that the call ended well.
func (p *Pass) Succeeded() {
	p.b.mu.Lock()
	defer p.b.mu.Unlock()
	p.over = true
	switch {
	case p.probe:
		p.b.close()
	case p.b.until.IsZero():
		p.b.row = 0
	}
}

// Failed says that the call failed for a reason that would hit other calls too.
// opened says that this opened the circuit.
func (p *Pass) Failed(now time.Time) (opened bool) {
	p.b.mu.Lock()
	defer p.b.mu.Unlock()
	p.over = true
	if p.probe {
		p.b.probing = false
		p.b.until = now.Add(p.b.pause)
		return true
	}
	// Calls from before the circuit opened say nothing about the present.
	if !p.b.until.IsZero() {
		return false
	}
	p.b.row++
	if p.b.failures == 0 || p.b.row < p.b.failures {
		return false
	}
	p.b.until = now.Add(p.b.pause)
	return true
}

// Ended says that the call ended without showing anything about the target. It
// does nothing after Succeeded or Failed.
func (p *Pass) Ended() {
	p.b.mu.Lock()
	defer p.b.mu.Unlock()
	if p.probe && !p.over {
		p.b.probing = false
	}
	p.over = true
}

// idle reports whether the breaker is closed and has seen no failure since.
func (b *Breaker) idle() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.row == 0 && b.until.IsZero()
}

func (b *Breaker) close() {
	b.row, b.until, b.probing = 0, time.Time{}, false
}
