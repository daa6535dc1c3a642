package sharedanswer

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"mime"
	"net/http"
	"runtime/debug"
	"slices"
	"sync"

	"github.com/caddy-chat/caddy-chat/modules/apierror"
	"github.com/caddy-chat/caddy-chat/modules/record"
)

// maxFlight is how long an answer may grow, in bytes: all of it is held for
// those who come later. What is written at once is in memory anyway.
const maxFlight = 32 << 20

var (
	errTooLong      = errors.New("the answer is too long to be held for others")
	errOtherRequest = errors.New("the answer is to another request")
	errGone         = errors.New("the client is gone")
	errBrokenOff    = errors.New("whoever made the answer broke it off")
)

// Flight is an answer on its way to all who asked for it. It is written like
// an answer to a client, and never waits for any of them.
type Flight struct {
	header http.Header // as it is being made

	// Note is what the call wants to know of the answer when it is found
	// again. See Recall.Holds.
	Note []byte

	mu       sync.Mutex
	changed  chan struct{} // closed at the next change
	landed   chan struct{} // closed when it has ended
	riders   int
	keeps    bool                    // it goes on without riders
	outdated bool                    // somebody has asked for a fresh one
	cancel   context.CancelCauseFunc // nil until there is something to cancel
	rec      *record.Record          // of the call that makes it; nil where there is none

	known bool     // the sum is
	sum   [32]byte // of the body of the request that is answered

	status  int
	begun   http.Header // as it was sent; nil until the answer has begun
	body    []byte
	done    bool
	err     error           // why there is no answer
	failure *apierror.Error // why the answer ends early
}

func newFlight() *Flight {
	return &Flight{header: make(http.Header), changed: make(chan struct{}), landed: make(chan struct{})}
}

// flights are the answers of this process that are on their way, by key. They
// outlive a reload, as the requests do.
var flights = struct {
	mu    sync.Mutex
	byKey map[string]*Flight
}{byKey: make(map[string]*Flight)}

// board finds the flight of a key, or makes it: then the caller leads, and
// has to see to it that it lands. A fresh one takes the place of another.
func board(key string, fresh bool) (f *Flight, leads bool) {
	flights.mu.Lock()
	defer flights.mu.Unlock()
	if f := flights.byKey[key]; f != nil && f.enter(fresh) {
		return f, false
	}
	f = newFlight()
	f.riders = 1
	flights.byKey[key] = f
	return f, true
}

// land ends a flight, with the error for which there is no answer if any.
func (f *Flight) land(key string, err error) {
	flights.mu.Lock()
	if flights.byKey[key] == f {
		delete(flights.byKey, key)
	}
	flights.mu.Unlock()
	f.change(func() { f.done, f.err = true, err })
	close(f.landed)
}

// enter adds a rider, unless the flight was given up or will not do.
func (f *Flight) enter(fresh bool) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	if fresh {
		f.outdated = true
		return false
	}
	if f.riders == 0 && !f.keeps {
		return false
	}
	f.riders++
	return true
}

// leave takes a rider off, and says whether it was the last. Without any,
// nobody needs the answer.
func (f *Flight) leave() (last bool) {
	f.mu.Lock()
	f.riders--
	last = f.riders == 0
	needed, cancel := f.keeps || f.done, f.cancel
	f.mu.Unlock()
	if last && !needed && cancel != nil {
		cancel(errGone)
	}
	return last
}

// carry says which request is answered, by which call, how to end that, and
// whether it goes on when nobody rides.
func (f *Flight) carry(sum [32]byte, rec *record.Record, cancel context.CancelCauseFunc, keeps bool) {
	f.change(func() {
		f.known, f.sum = true, sum
		f.rec, f.cancel, f.keeps = rec, cancel, keeps
	})
}

// fill makes a flight of an answer that is there already.
func (f *Flight) fill(a *recording) {
	f.change(func() {
		f.known, f.sum = true, a.sum
		f.status, f.begun, f.body, f.failure = http.StatusOK, a.header, a.body, a.failure
	})
}

// make has the answer written by call. It runs apart from any request, where a
// panic would end the process.
func (f *Flight) make(call func() error) (err error) {
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

func (f *Flight) change(do func()) {
	f.mu.Lock()
	defer f.mu.Unlock()
	do()
	close(f.changed)
	f.changed = make(chan struct{})
}

// Header implements http.ResponseWriter.
func (f *Flight) Header() http.Header { return f.header }

// WriteHeader implements http.ResponseWriter.
func (f *Flight) WriteHeader(status int) {
	if status < http.StatusOK {
		return // what comes before an answer is nobody's later
	}
	f.change(func() {
		if f.begun == nil {
			f.status, f.begun = status, f.header.Clone()
		}
	})
}

// Write implements http.ResponseWriter. It fails once the answer has.
func (f *Flight) Write(p []byte) (n int, err error) {
	f.change(func() {
		if f.failure == nil && len(f.body) > 0 && len(f.body)+len(p) > maxFlight {
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

// Flush implements http.Flusher: whoever rides flushes.
func (f *Flight) Flush() {}

// TakeFailure implements apierror.Taker: each rider is told in its own way. The
// first failure counts: others follow from it.
func (f *Flight) TakeFailure(e *apierror.Error) {
	f.change(func() {
		if f.failure == nil {
			f.failure = e
		}
	})
}

// view is what a rider sees of a flight.
type view struct {
	other   bool // it answers another request than the rider's
	status  int
	header  http.Header // nil until the answer has begun
	more    []byte      // beyond what the rider has
	done    bool
	err     error // why there is no answer, or not all of it
	changed <-chan struct{}
}

func (f *Flight) view(sum [32]byte, have int) view {
	f.mu.Lock()
	defer f.mu.Unlock()
	v := view{
		other:   f.known && f.sum != sum,
		status:  f.status,
		header:  f.begun,
		more:    f.body[have:len(f.body):len(f.body)], // what was appended once is never changed
		done:    f.done,
		err:     f.err,
		changed: f.changed,
	}
	if f.failure != nil {
		v.err = f.failure
	}
	return v
}

// call is what is known of the call that makes the answer. landed says that
// nothing more will be.
func (f *Flight) call() (c record.Call, landed bool) {
	f.mu.Lock()
	rec, done := f.rec, f.done
	f.mu.Unlock()
	if rec == nil {
		return c, done
	}
	return rec.CallSoFar(), done
}

// isPartial says whether a budget has ended the answer before the model did.
func (f *Flight) isPartial() bool {
	c, _ := f.call()
	return c.BudgetSpent
}

// rider is a request that a flight answers.
type rider struct {
	w      http.ResponseWriter
	sum    [32]byte    // of its body
	begin  func()      // called before the header goes out
	header http.Header // of the answer; nil until it has begun
}

// ride writes a flight to one client, until it has ended or ctx has. It
// returns why there is no answer, or not all of it. The last one to leave waits
// for the call to end, so that the process does not end before.
func (f *Flight) ride(ctx context.Context, r *rider) error {
	for have := 0; ; {
		v := f.view(r.sum, have)
		if v.other {
			f.leave()
			return errOtherRequest
		}
		if v.header != nil && r.header == nil {
			r.start(v.status, v.header)
		}
		if len(v.more) > 0 {
			if err := r.write(v.more); err != nil {
				f.forsake()
				return errGone
			}
			have += len(v.more)
			continue
		}
		if v.done {
			f.leave()
			return v.err
		}
		select {
		case <-v.changed:
		case <-ctx.Done():
			f.forsake()
			return errGone
		}
	}
}

// forsake leaves a flight before it has landed.
func (f *Flight) forsake() {
	if f.leave() {
		<-f.landed
	}
}

// start begins the rider's answer. The values are its own: whatever else
// handles the answer may change them.
func (r *rider) start(status int, header http.Header) {
	r.header = header
	for name, values := range header {
		r.w.Header()[name] = slices.Clone(values)
	}
	r.begin()
	r.w.WriteHeader(status)
}

func (r *rider) write(p []byte) error {
	if _, err := r.w.Write(p); err != nil {
		return err
	}
	if !isStream(r.header) {
		return nil
	}
	return http.NewResponseController(r.w).Flush()
}

func isStream(header http.Header) bool {
	mediaType, _, _ := mime.ParseMediaType(header.Get("Content-Type"))
	return mediaType == "text/event-stream"
}

// keepAliveComment stands in a stream, and a replay does without. Within a line
// of data it cannot stand: a line break there is escaped.
var keepAliveComment = []byte(": keep-alive\n\n")

// recording is the flight's answer once it is made, to keep; nil where there
// is none worth it. That is one that failed, with err if not on the way, unless
// it has a note.
func (f *Flight) recording(err error) *recording {
	f.mu.Lock()
	defer f.mu.Unlock()
	a := &recording{sum: f.sum, header: f.begun, body: f.body, note: f.Note, failure: f.failure}
	if a.failure == nil && err != nil {
		a.failure = apierror.From(err)
	}
	if f.begun == nil || f.status != http.StatusOK || f.outdated || a.failure != nil && a.note == nil {
		return nil
	}
	if isStream(f.begun) {
		a.body = bytes.ReplaceAll(f.body, keepAliveComment, nil)
	}
	return a
}

// Interface guards
var (
	_ http.ResponseWriter = (*Flight)(nil)
	_ http.Flusher        = (*Flight)(nil)
	_ apierror.Taker      = (*Flight)(nil)
)
