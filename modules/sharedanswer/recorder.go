package sharedanswer

import (
	"context"
	"errors"
	"net/http"
	"sync"

	"github.com/caddy-chat/caddy-chat/modules/apierror"
	"github.com/caddy-chat/caddy-chat/modules/provider"
	"github.com/caddy-chat/caddy-chat/modules/sse"
	"github.com/caddy-chat/caddy-chat/modules/store"
)

// maxRecorded is the largest answer that is stored under a key, in bytes. It fits
// every store.
const maxRecorded = 8 << 20

// Recorder is the ResponseWriter of an answer under an Idempotency-Key. It writes
// to the client, to the followers and into a recording. It does not fail because
// the client is gone.
type Recorder struct {
	k      *keyed
	feed   *feed
	claim  *Claim
	client *client

	header  http.Header // as it is being made
	numbers *numbers    // nil if the events get no ids here

	// mu guards what follows, because keep-alives come from another goroutine.
	mu    sync.Mutex
	begun head   // as it was sent; Status is 0 before
	body  []byte // nil if it is too long
	long  bool
	note  []byte

	holding bool
	held    []byte // to be sent once the answer is stored
	gone    bool   // the client cannot be written to
	failure *apierror.Error
}

// RecorderOf returns the recorder of what is written to w; nil without one.
func RecorderOf(w http.ResponseWriter) *Recorder {
	for {
		if r, ok := w.(*Recorder); ok {
			return r
		}
		u, ok := w.(interface{ Unwrap() http.ResponseWriter })
		if !ok {
			return nil
		}
		w = u.Unwrap()
	}
}

func (k *keyed) newRecorder(f *feed, c *Claim) *Recorder {
	return &Recorder{k: k, feed: f, claim: c, client: k.client(), header: make(http.Header)}
}

func (k *keyed) client() *client { return &client{x: &k.x.Request, log: k.log} }

// Retries reports whether the same was asked before under the key, and the answer was
// given up: its node or its clients have gone.
func (w *Recorder) Retries() bool { return w.k.retries }

// Note marks the answer as one to store, see KeyedRequest.Stands.
func (w *Recorder) Note(note []byte) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.note = note
}

// Hold holds back what is written from now on, the end of the answer, until the
// answer is stored. So a client that has seen the end can replay the answer.
func (w *Recorder) Hold() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.holding = true
}

// FailsAs sets the id of the event that reports the failure, if the handler has given
// the events their ids.
func (w *Recorder) FailsAs(id string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.client.failureID = id
}

// Header implements http.ResponseWriter. It has only the answer's own headers,
// without those that belong to the leader's request alone.
func (w *Recorder) Header() http.Header { return w.header }

// Unwrap makes http.ResponseController reach the client's writer.
func (w *Recorder) Unwrap() http.ResponseWriter { return w.k.x.W }

// WriteHeader implements http.ResponseWriter. Informational responses are
// dropped.
func (w *Recorder) WriteHeader(status int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.begin(status)
}

func (w *Recorder) begin(status int) {
	if status < http.StatusOK || w.begun.Status != 0 {
		return
	}
	w.begun = head{Status: status, Header: w.header.Clone()}
	if w.k.x.Numbered && sse.IsStream(w.header) {
		w.numbers = &numbers{turn: w.feed.turn}
		w.feed.keep = resumeWindow
	}
	if !w.holding {
		w.feed.head(w.begun)
		w.client.begin(w.begun.Status, w.begun.Header)
	}
}

// Write implements http.ResponseWriter. It fails once the answer has failed, or
// when the answer can reach neither the client nor another request.
func (w *Recorder) Write(p []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.begin(http.StatusOK)
	switch {
	case w.failure != nil:
		return 0, w.failure
	case w.gone && w.long && w.feed.err != nil:
		return 0, errTooLong
	}
	events := p
	if w.numbers != nil {
		events = w.numbers.add(p)
	}
	w.remember(events)
	if w.holding {
		w.held = append(w.held, events...)
		return len(p), nil
	}
	w.feed.body(events)
	w.send(events)
	return len(p), nil
}

func (w *Recorder) remember(p []byte) {
	if w.long || len(w.body)+len(p) > maxRecorded {
		w.long, w.body = true, nil
		return
	}
	w.body = append(w.body, p...)
}

func (w *Recorder) send(p []byte) {
	if w.gone {
		return
	}
	_, err := w.k.x.W.Write(p) //nolint:gosec // the answer of a handler behind, with its own Content-Type
	w.gone = err != nil
}

// FlushError implements what http.ResponseController looks for.
func (w *Recorder) FlushError() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if !w.gone && w.client.header != nil {
		w.gone = http.NewResponseController(w.k.x.W).Flush() != nil
	}
	return nil
}

// TakeFailure implements apierror.Taker, because each request reports the failure
// with its own trace id. It keeps the first failure, since later ones follow
// from it.
func (w *Recorder) TakeFailure(e *apierror.Error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.failure == nil {
		w.failure = e
	}
}

// record calls answer. If it panics, the followers get a failure.
func (w *Recorder) record(answer func() error) (err error) {
	defer func() {
		switch p := recover(); p {
		case nil:
		case http.ErrAbortHandler:
			err = apierror.AIError().Because(errBrokenOff)
		default:
			w.feed.finish(end{Failed: apierror.From(errBrokenOff)})
			panic(p)
		}
	}()
	return answer()
}

// end stores the answer and frees the key before it sends the end to the client.
// err is the error of the answer; left says that all clients have left. It
// returns the error that is still to be answered.
func (w *Recorder) end(err error, left bool) error {
	failure := w.failure
	if errors.Is(err, context.Canceled) {
		err = apierror.Cancelled(w.k.x.R.Context())
	}
	if failure == nil && err != nil {
		failure = w.k.failureOf(err)
	}
	if failure != nil && w.numbers != nil {
		w.client.failureID = w.numbers.next()
	}
	a := w.recording(failure)
	stored := a != nil && w.k.keep(a)
	if a == nil && w.k.x.Stands != nil && w.begun.Status/100 == 2 && (failure != nil || left) {
		w.k.keep(lostRecording) // what was begun may be in the history
	}
	attempts := w.k.x.Rec.CallSoFar().Attempts
	w.feed.finish(end{Failed: failure, FailureID: w.client.failureID, Attempts: attempts, Left: left && !stored}, w.lastEvents()...)
	w.release()
	switch {
	case failure == nil:
		return nil
	case w.client.header != nil:
		w.client.tell(failure)
		return nil
	case err != nil:
		return err
	default:
		return failure
	}
}

func (k *keyed) failureOf(err error) *apierror.Error {
	if k.x.Failure != nil {
		return k.x.Failure(err)
	}
	return apierror.From(err)
}

// recording returns the answer to store, or nil if it is not to be replayed.
func (w *Recorder) recording(failure *apierror.Error) *recording {
	stands := failure == nil
	if w.k.x.Stands != nil {
		stands = w.note != nil
	}
	if !stands || w.long || w.begun.Status/100 != 2 {
		return nil
	}
	a := &recording{head: w.begun, sum: w.k.sum, body: w.body}
	a.Turn, a.Note, a.Failure, a.FailureID = w.feed.turn, w.note, failure, w.client.failureID
	return a
}

// lastEvents returns what was held back as events for the followers.
func (w *Recorder) lastEvents() []store.Event {
	var last []store.Event
	if w.begun.Status != 0 && w.client.header == nil {
		last = append(last, w.feed.event(eventHead, provider.Encode(w.begun)))
	}
	if len(w.held) > 0 {
		last = append(last, w.feed.event(eventBody, w.held))
	}
	return last
}

// release sends the client what was held back.
func (w *Recorder) release() {
	if w.begun.Status != 0 && w.client.header == nil {
		w.client.begin(w.begun.Status, w.begun.Header)
	}
	if len(w.held) > 0 && !w.gone {
		w.gone = w.client.write(w.held) != nil
	}
}

// Interface guards
var (
	_ http.ResponseWriter = (*Recorder)(nil)
	_ apierror.Taker      = (*Recorder)(nil)
)
