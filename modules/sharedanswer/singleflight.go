package sharedanswer

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"runtime/debug"
	"sync"

	"github.com/caddy-chat/caddy-chat/modules/apierror"
	"github.com/caddy-chat/caddy-chat/modules/record"
)

// maxShared is the largest shared answer, in bytes. All of it is kept for
// requests that join late.
const maxShared = 32 << 20

var (
	errTooLong   = errors.New("the answer is too long to be shared")
	errGone      = errors.New("the client is gone")
	errBrokenOff = errors.New("the answer was broken off")
)

// flight is a running call whose answer several requests share. It buffers what
// the call writes, so that a slow client does not delay the call.
type flight struct {
	header http.Header // as it is being made

	mu       sync.Mutex
	changed  chan struct{} // closed at the next change
	finished chan struct{} // closed at the end
	waiters  int
	outdated bool                    // a later request wants a fresh answer
	cancel   context.CancelCauseFunc // cancels the call; nil before it begins
	rec      *record.Record          // of the call; nil before it begins

	status  int
	begun   http.Header // as it was sent; nil before the answer begins
	body    []byte
	done    bool
	err     error           // why there is no answer
	failure *apierror.Error // why the answer is not complete
}

func newFlight() *flight {
	return &flight{header: make(http.Header), changed: make(chan struct{}), finished: make(chan struct{})}
}

// flights holds the running flights of this process, by key. They outlive a
// reload, as requests do.
var flights = struct {
	mu    sync.Mutex
	byKey map[string]*flight
}{byKey: make(map[string]*flight)}

// join adds a waiter to the flight of a key. If there is none, or if fresh is
// set, it starts a new flight: the caller leads and must finish it.
func join(key string, fresh bool) (f *flight, leads bool) {
	flights.mu.Lock()
	defer flights.mu.Unlock()
	if f := flights.byKey[key]; f != nil && f.admit(fresh) {
		return f, false
	}
	f = newFlight()
	f.waiters = 1
	flights.byKey[key] = f
	return f, true
}

// admit adds a waiter, and reports whether it did. A request for a fresh answer
// and a flight that all waiters have left are not admitted.
func (f *flight) admit(fresh bool) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	if fresh {
		f.outdated = true
		return false
	}
	if f.waiters == 0 {
		return false
	}
	f.waiters++
	return true
}

// finish ends a flight. err is why there is no answer, or nil.
func (f *flight) finish(key string, err error) {
	flights.mu.Lock()
	if flights.byKey[key] == f {
		delete(flights.byKey, key)
	}
	flights.mu.Unlock()
	f.change(func() { f.done, f.err = true, err })
	close(f.finished)
}

// leave removes a waiter. The last one cancels the call and waits for its end, so
// that the process does not exit before.
func (f *flight) leave() {
	f.mu.Lock()
	f.waiters--
	last, done, cancel := f.waiters == 0, f.done, f.cancel
	f.mu.Unlock()
	if !last || done {
		return
	}
	if cancel != nil {
		cancel(errGone)
	}
	<-f.finished
}

// call sets the record of the flight's call and what cancels it.
func (f *flight) call(rec *record.Record, cancel context.CancelCauseFunc) {
	f.change(func() { f.rec, f.cancel = rec, cancel })
}

// fill answers with a recording.
func (f *flight) fill(a *recording) {
	f.change(func() { f.status, f.begun, f.body = a.Status, a.Header, a.replay() })
}

// run calls call and turns a panic into an error. It runs outside of any request,
// where a panic would end the process.
func (f *flight) run(call func() error) (err error) {
	defer func() {
		switch p := recover(); p {
		case nil:
		case http.ErrAbortHandler:
			err = apierror.AIError().Because(errBrokenOff)
		default:
			err = fmt.Errorf("panic: %v\n%s", p, debug.Stack())
		}
	}()
	return call()
}

func (f *flight) change(do func()) {
	f.mu.Lock()
	defer f.mu.Unlock()
	do()
	close(f.changed)
	f.changed = make(chan struct{})
}

// Header implements http.ResponseWriter.
func (f *flight) Header() http.Header { return f.header }

// WriteHeader implements http.ResponseWriter. Informational responses are
// dropped.
func (f *flight) WriteHeader(status int) {
	if status < http.StatusOK {
		return
	}
	f.change(func() { f.begin(status) })
}

func (f *flight) begin(status int) {
	if f.begun == nil {
		f.status, f.begun = status, f.header.Clone()
	}
}

// Write implements http.ResponseWriter. It fails once the answer has failed.
func (f *flight) Write(p []byte) (n int, err error) {
	f.change(func() {
		f.begin(http.StatusOK)
		if f.failure == nil && len(f.body) > 0 && len(f.body)+len(p) > maxShared {
			f.failure = apierror.AIError().Because(errTooLong)
		}
		if f.failure != nil {
			err = f.failure
			return
		}
		f.body = append(f.body, p...)
		n = len(p)
	})
	return n, err
}

// Flush implements http.Flusher. It does nothing: each waiter flushes.
func (f *flight) Flush() {}

// TakeFailure implements apierror.Taker, because each waiter reports the failure
// to its own client. It keeps the first failure, since later ones follow from
// it.
func (f *flight) TakeFailure(e *apierror.Error) {
	f.change(func() {
		if f.failure == nil {
			f.failure = e
		}
	})
}

// view is what a waiter sees of a flight.
type view struct {
	status  int
	header  http.Header // nil before the answer begins
	more    []byte      // the body after what the waiter has
	done    bool
	err     error // why the answer is missing or not complete
	changed <-chan struct{}
}

func (f *flight) view(have int) view {
	f.mu.Lock()
	defer f.mu.Unlock()
	v := view{
		status:  f.status,
		header:  f.begun,
		more:    f.body[have:len(f.body):len(f.body)], // the body is only appended to
		done:    f.done,
		err:     f.err,
		changed: f.changed,
	}
	if f.failure != nil {
		v.err = f.failure
	}
	return v
}

// callSoFar returns the record of the call. over says that the call has ended.
func (f *flight) callSoFar() (c record.Call, over bool) {
	f.mu.Lock()
	rec, done := f.rec, f.done
	f.mu.Unlock()
	if rec == nil {
		return c, done
	}
	return rec.CallSoFar(), done
}

// wait writes a flight to one client, until the flight or ctx ends. It returns
// why the answer is missing or not complete.
func (f *flight) wait(ctx context.Context, c *client) error {
	defer f.leave()
	for have := 0; ; {
		v := f.view(have)
		if v.header != nil && c.header == nil {
			c.begin(v.status, v.header)
			if len(v.more) == 0 {
				_ = c.flush() // the header need not wait for the first event
			}
		}
		if len(v.more) > 0 {
			if err := c.write(v.more); err != nil {
				return errGone
			}
			have += len(v.more)
			continue
		}
		if v.done {
			return v.err
		}
		select {
		case <-v.changed:
		case <-ctx.Done():
			return errGone
		}
	}
}

// recording returns the answer to cache, or nil if it is not complete, such as
// one that a budget ended. err is the error of the call.
func (f *flight) recording(err error) *recording {
	call, _ := f.callSoFar()
	f.mu.Lock()
	defer f.mu.Unlock()
	if err != nil || f.failure != nil || f.status != http.StatusOK || f.outdated || call.BudgetSpent {
		return nil
	}
	return &recording{head: head{Status: f.status, Header: f.begun}, body: f.body}
}

// Interface guards
var (
	_ http.ResponseWriter = (*flight)(nil)
	_ http.Flusher        = (*flight)(nil)
	_ apierror.Taker      = (*flight)(nil)
)
