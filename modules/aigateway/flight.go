package aigateway

import (
	"bytes"
	"context"
	"maps"
	"net/http"
	"sync"

	"github.com/caddy-chat/caddy-chat/modules/chaterr"
)

// flight is an answer on its way to all who asked for it. It is written like
// an answer to a client, and never waits for any of them.
type flight struct {
	sum    [32]byte    // of the request's body
	header http.Header // as it is being made

	// partial says that it is not all that the model would have said. It is
	// the leader's to know.
	partial bool

	mu      sync.Mutex
	changed chan struct{} // closed at the next change
	riders  int
	keeps   bool                    // it goes on without riders
	cancel  context.CancelCauseFunc // nil until there is something to cancel

	begun   http.Header // as it was sent; nil until the answer has begun
	body    []byte
	done    bool
	err     error          // why there is no answer
	failure *chaterr.Error // why the answer ends early
}

func newFlight(sum [32]byte) *flight {
	return &flight{sum: sum, changed: make(chan struct{}), header: make(http.Header)}
}

// flights are the answers of this process that are on their way, by key. They
// outlive a reload, as the requests do.
var flights = struct {
	mu    sync.Mutex
	byKey map[string]*flight
}{byKey: make(map[string]*flight)}

// board finds the flight of a key, or makes it: then the caller leads, and
// has to land it. A fresh one takes the place of another.
func board(key string, sum [32]byte, fresh bool) (f *flight, leads bool) {
	flights.mu.Lock()
	defer flights.mu.Unlock()
	if f := flights.byKey[key]; f != nil && !fresh && f.enter() {
		return f, false
	}
	f = newFlight(sum)
	f.riders = 1
	flights.byKey[key] = f
	return f, true
}

// land ends a flight, with the error for which there is no answer if any.
func (f *flight) land(key string, err error) {
	flights.mu.Lock()
	if flights.byKey[key] == f {
		delete(flights.byKey, key)
	}
	flights.mu.Unlock()
	f.change(func() { f.done, f.err = true, err })
}

// enter adds a rider, unless the flight was given up.
func (f *flight) enter() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.riders == 0 && !f.keeps {
		return false
	}
	f.riders++
	return true
}

// leave takes a rider off. Without any, nobody needs the answer.
func (f *flight) leave() {
	f.mu.Lock()
	f.riders--
	last, cancel := f.riders == 0 && !f.keeps, f.cancel
	f.mu.Unlock()
	if last && cancel != nil {
		cancel(errClientGone)
	}
}

// carry says how to end the call that makes the flight's answer, and whether
// it goes on when nobody rides.
func (f *flight) carry(cancel context.CancelCauseFunc, keeps bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.cancel, f.keeps = cancel, keeps
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

// WriteHeader implements http.ResponseWriter. Only answers that went well are
// written; failures are returned.
func (f *flight) WriteHeader(int) {
	f.change(func() {
		if f.begun == nil {
			f.begun = f.header.Clone()
		}
	})
}

// Write implements http.ResponseWriter.
func (f *flight) Write(p []byte) (int, error) {
	f.change(func() { f.body = append(f.body, p...) })
	return len(p), nil
}

// Flush implements http.Flusher: whoever rides flushes.
func (f *flight) Flush() {}

// TakeFailure implements chaterr.Taker: each rider is told in its own way.
func (f *flight) TakeFailure(e *chaterr.Error) {
	f.change(func() { f.failure = e })
}

// fill makes a flight of an answer that is there already.
func (f *flight) fill(a *recording) {
	f.change(func() { f.begun, f.body = a.header, a.body })
}

// view is what a rider sees of a flight.
type view struct {
	header  http.Header
	more    []byte // beyond what it has
	done    bool
	err     error
	failure *chaterr.Error
	changed <-chan struct{}
}

func (f *flight) view(have int) view {
	f.mu.Lock()
	defer f.mu.Unlock()
	// what was appended once is never changed
	return view{f.begun, f.body[have:len(f.body):len(f.body)], f.done, f.err, f.failure, f.changed}
}

// ride writes a flight to one client, until it has ended or the client is
// gone. It returns the error for which there is no answer, or else the failure
// that has ended it early.
func (f *flight) ride(ctx context.Context, w http.ResponseWriter) (*chaterr.Error, error) {
	defer f.leave()
	have, begun := 0, false
	for {
		v := f.view(have)
		if v.header != nil && !begun {
			begun = true
			maps.Copy(w.Header(), v.header)
			w.WriteHeader(http.StatusOK)
		}
		if len(v.more) > 0 {
			have += len(v.more)
			if _, err := w.Write(v.more); err != nil {
				return nil, context.Canceled
			}
			if err := http.NewResponseController(w).Flush(); err != nil {
				return nil, context.Canceled
			}
			continue
		}
		if v.done {
			return v.failure, v.err
		}
		select {
		case <-v.changed:
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		}
	}
}

// keepAlives are the comments in a stream, which a replay does without. Within
// a line of data they cannot stand: a line break there is escaped.
var keepAliveComment = []byte(": keep-alive\n\n")

// recording is the flight's answer, to keep; nil where there is none worth it.
func (f *flight) recording() *recording {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.err != nil || f.failure != nil || f.begun == nil {
		return nil
	}
	return &recording{sum: f.sum, header: f.begun, body: bytes.ReplaceAll(f.body, keepAliveComment, nil)}
}

// Interface guards
var (
	_ http.ResponseWriter = (*flight)(nil)
	_ http.Flusher        = (*flight)(nil)
	_ chaterr.Taker       = (*flight)(nil)
)
