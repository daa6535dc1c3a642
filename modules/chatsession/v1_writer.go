package chatsession

import (
	"context"
	"errors"
	"io"
	"net/http"
	"time"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	"github.com/caddy-chat/caddy-chat/modules/apierror"
	"github.com/caddy-chat/caddy-chat/modules/chat"
	"github.com/caddy-chat/caddy-chat/modules/door"
	"github.com/caddy-chat/caddy-chat/modules/provider"
)

// v1Writer is the ResponseWriter of a chat completion with a session. It passes
// the answer on to the client, a stream's events with ids, and parses it on the way. It holds the
// end back until the answer is stored and the session free, so that a client
// that has seen the end can send its next message at once.
type v1Writer struct {
	*caddyhttp.ResponseWriterWrapper
	t      *turn
	a      *answer      // parses the answer
	o      *output      // for clients that follow the turn
	stream *chat.Stream // to the client, for events of ai_gateway

	taker chat.ChunkTaker // what the events are for, if it takes chunks; else nil
	taken bool            // it has those of events

	id     []byte // the turn's id and a colon; empty if the events get no ids
	events []byte // to be flushed
	last   []byte // the event that ends the stream, as the next handler wrote it
	frame  []byte // the event that reports a failure in its place
	held   []byte // the end of the answer, or what may be its end
	stage  stage
	ending *ending // set once the answer is settled

	// handed is the failure that the next handler handed over before the
	// answer was settled.
	handed *apierror.Error

	lost bool // the client is gone and the answer continues
}

// stage is the progress of the answer to the client.
type stage int

const (
	stageWaiting stage = iota // nothing was sent
	stageBegun                // the header was sent
	stageFailed               // a failure was reported within the stream
)

func newV1Writer(t *turn, o *output) *v1Writer {
	a := newAnswer(o)
	a.header = t.x.W.Header()
	var id []byte
	if t.h.OnDisconnect == disconnectContinue {
		id = []byte(t.id + ":")
	}
	k := chat.KeepAlive{Interval: time.Duration(t.h.KeepAlive)}
	taker, _ := t.x.W.(chat.ChunkTaker)
	if taker != nil {
		k.Interval = 0 // a door has its own
	}
	return &v1Writer{
		id:                    id,
		taker:                 taker,
		ResponseWriterWrapper: &caddyhttp.ResponseWriterWrapper{ResponseWriter: t.x.W},
		t:                     t,
		a:                     a,
		o:                     o,
		stream:                t.x.NewStream(t.ctx, k),
	}
}

var errUnstored = errors.New("the answer could not be stored")

// WriteHeader sends the header of a stream. That of a document is sent when the
// first part of it is.
func (w *v1Writer) WriteHeader(status int) {
	if status < http.StatusOK {
		w.ResponseWriterWrapper.WriteHeader(status)
		return
	}
	if w.a.status != 0 {
		return
	}
	w.a.WriteHeader(status)
	if w.t.call == nil && w.t.x.Rec.Translated { // a body in the shape of Responses
		chat.NameDropped(w.Header(), func(names []string) []string { return door.Named(provider.APIResponses, nil, names) })
	}
	if w.a.events != nil {
		w.o.raws = true
		w.begin()
	}
}

func (w *v1Writer) Write(b []byte) (int, error) {
	w.WriteHeader(http.StatusOK)
	if w.a.events == nil {
		_, _ = w.a.Write(b) // a failure to parse it is no failure to write it
		return w.hold(b)
	}
	w.a.events.Feed(b)
	if err := w.takeEvents(w.a.events.Next); err != nil {
		return 0, err
	}
	return len(b), nil
}

// ReadFrom implements io.ReaderFrom.
func (w *v1Writer) ReadFrom(r io.Reader) (int64, error) {
	return io.Copy(struct{ io.Writer }{w}, r)
}

// FlushError implements what http.ResponseController looks for.
func (w *v1Writer) FlushError() error {
	if w.stage == stageWaiting || w.isLost() {
		return nil
	}
	if w.keepsAlive() {
		return w.tolerate(w.stream.Flush())
	}
	return w.tolerate(http.NewResponseController(w.ResponseWriter).Flush())
}

// begin sends the header.
func (w *v1Writer) begin() {
	if w.stage != stageWaiting {
		return
	}
	w.stage = stageBegun
	switch {
	case w.isLost():
	case w.keepsAlive():
		w.stream.Begin()
	default:
		w.ResponseWriterWrapper.WriteHeader(w.a.status)
	}
}

// isGateway reports whether ai_gateway answers. It writes whole events and
// returns soon after the end mark.
func (w *v1Writer) isGateway() bool { return w.t.x.Rec.Call.Provider != "" }

// keepsAlive reports whether keep-alives are sent between the writes, so that all of
// these go through the stream.
func (w *v1Writer) keepsAlive() bool { return w.a.events != nil }

// hold sends the part of a document that was held back, and holds b instead.
func (w *v1Writer) hold(b []byte) (int, error) {
	if len(b) == 0 {
		return 0, nil
	}
	if err := w.release(); err != nil {
		return 0, err
	}
	w.held = append(w.held, b...)
	return len(b), nil
}

// release sends what was held back.
func (w *v1Writer) release() error {
	if len(w.held) == 0 {
		return nil
	}
	err := w.forward(w.held)
	w.held = w.held[:0]
	return err
}

// forward sends b to the client. If the client is gone and the answer continues
// without it, forward fails only once the answer has failed, too.
func (w *v1Writer) forward(b []byte) error {
	w.begin()
	if !w.isLost() {
		if err := w.tolerate(w.write(b)); err != nil {
			return err
		}
	}
	if w.lost && w.a.failure != nil {
		return w.a.failure
	}
	return nil
}

func (w *v1Writer) write(b []byte) error {
	if w.taken {
		return w.taker.FlushChunks()
	}
	if w.keepsAlive() {
		return w.stream.Send(b)
	}
	_, err := w.ResponseWriter.Write(b) //nolint:gosec // the next handler's answer, with its own Content-Type
	return err
}

// keeps returns the writer that keeps the answer as a response, or nil.
func (w *v1Writer) keeps() *doorWriter {
	if d, ok := w.t.x.W.(*doorWriter); ok && d.kept != nil {
		return d
	}
	return nil
}

// isLost reports whether the client is gone and the answer continues.
func (w *v1Writer) isLost() bool {
	if w.keeps() != nil {
		return false // the response is kept, whoever reads it
	}
	if w.t.h.OnDisconnect == disconnectContinue && w.t.x.ClientGone() {
		w.lost = true
	}
	return w.lost
}

// tolerate returns the error of a write, or nil if the answer continues without
// the client.
func (w *v1Writer) tolerate(err error) error {
	if err != nil && w.t.h.OnDisconnect == disconnectContinue && w.t.ctx.Err() == nil {
		w.lost = true
		return nil
	}
	return err
}

// settle stores the answer and frees the session, or has it freed once the response is
// kept, so that those who follow the turn find the response at its end.
func (w *v1Writer) settle() ending {
	e := w.t.conclude(w.a, w.o)
	w.ending = &e
	w.t.keepAnswer(w.a, e, true)
	last := append(w.endEvents(e), w.t.lastEvents(w.o, e)...)
	free := func() { w.t.free(w.o.published(last, e.usage)...) }
	if d := w.keeps(); d != nil {
		d.free = free
	} else {
		free()
	}
	if rec := w.t.x.Rec; e.failure != nil && rec.ErrorCode == "" {
		rec.ErrorCode = e.failure.Code
		if w.handed == nil { // else tell or the caller logs it
			apierror.Log(w.t.h.log, rec, e.failure)
		}
	}
	return e
}

// TakeFailure implements apierror.Taker. The client sees the failure only after
// the answer is stored and the session free.
func (w *v1Writer) TakeFailure(e *apierror.Error) {
	if w.ending == nil {
		w.handed = e
	}
	w.a.TakeFailure(e)
}

// tell ends a stream with an error frame, so that it does not look complete. A
// recorder in front is given the failure instead, since each of its clients gets
// its own frame.
func (w *v1Writer) tell(failure *apierror.Error) {
	w.stage = stageFailed
	if apierror.HandOver(w.ResponseWriter, failure) {
		return
	}
	if w.handed != nil {
		apierror.Log(w.t.h.log, w.t.x.Rec, failure)
	}
	if w.frame == nil { // the turn has ended before
		w.frame = apierror.OpenAIFrame(failure, w.t.x.Rec.TraceID)
	}
	_ = w.forward(w.frame) // the client may have gone
}

// end completes the answer after the next handler has returned err. It returns
// the error that is still to be answered.
func (w *v1Writer) end(err error) error {
	if w.a.events != nil {
		_ = w.takeEvents(w.a.events.Flush) // the client may have gone
	}
	if w.ending == nil {
		w.a.end(err)
		w.keepStatus(err)
		w.t.holdEnd()
		if e := w.settle(); e.unstored {
			return w.fail(e.failure)
		}
	}
	if w.handed != nil {
		return w.fail(w.a.failure)
	}
	if w.a.failure != nil && apierror.Ended(w.t.ctx) != nil {
		return w.fail(w.ending.failure)
	}
	switch {
	case w.a.status == 0 && err == nil:
		return w.a.failure // the next handler did not answer
	case w.a.status != 0:
		w.begin()
		_ = w.release() // the client may have gone
	}
	if errors.Is(context.Cause(w.t.ctx), errAnswered) {
		return nil // the next handler was aborted by this one
	}
	if errors.Is(err, errAborted) {
		panic(http.ErrAbortHandler)
	}
	if err != nil {
		return nextError{err}
	}
	return nil
}

// keepStatus sets the status of a failure to the one that the client gets.
func (w *v1Writer) keepStatus(err error) {
	status := w.a.status
	if he, ok := errors.AsType[caddyhttp.HandlerError](err); ok && status == 0 {
		status = he.StatusCode
	}
	if w.a.failure != nil && status >= http.StatusBadRequest {
		f := *w.a.failure
		f.Status = status
		w.a.failure = &f
	}
}

// fail answers with a failure in place of an answer that could not be stored or
// completed. If a part of it was sent, it ends the stream or the connection.
func (w *v1Writer) fail(failure *apierror.Error) error {
	switch {
	case w.stage == stageWaiting:
		return failure
	case w.a.events != nil:
		w.tell(failure)
		return nil
	default:
		panic(http.ErrAbortHandler) // part of the document was sent
	}
}

// Interface guards
var (
	_ http.ResponseWriter = (*v1Writer)(nil)
	_ apierror.Taker      = (*v1Writer)(nil)
	_ io.ReaderFrom       = (*v1Writer)(nil)
)
