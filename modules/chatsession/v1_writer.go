package chatsession

import (
	"errors"
	"io"
	"net/http"
	"time"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	"github.com/caddy-chat/caddy-chat/modules/apierror"
	"github.com/caddy-chat/caddy-chat/modules/chat"
	"github.com/caddy-chat/caddy-chat/modules/provider"
	"github.com/caddy-chat/caddy-chat/modules/sse"
)

// v1Writer is the ResponseWriter of a completion that is remembered: what the
// next handler writes goes to the client as it is, and is read on the way.
// Its end is held back until the answer is stored and the session free, so
// that a client that has seen it may go on at once.
type v1Writer struct {
	*caddyhttp.ResponseWriterWrapper
	t      *turn
	a      *answer      // what it is read into
	o      *output      // for those who follow the turn
	stream *chat.Stream // to the client, of a gateway's events

	events  []byte // chunks that have not been passed on
	held    []byte // the end of the answer, as far as it is known
	begun   bool   // the header is out
	settled bool
	taken   bool // the next handler has handed over its failure
	told    bool // the client has been told of a failure
	lost    bool // nobody reads the answer any more, and it goes on
}

func newV1Writer(t *turn, o *output) *v1Writer {
	a := newAnswer(o)
	a.header = t.x.W.Header()
	return &v1Writer{
		ResponseWriterWrapper: &caddyhttp.ResponseWriterWrapper{ResponseWriter: t.x.W},
		t:                     t,
		a:                     a,
		o:                     o,
		stream:                t.x.NewStream(t.ctx, chat.KeepAlive{Interval: time.Duration(t.h.KeepAlive)}),
	}
}

var errUnstored = errors.New("the answer could not be stored")

// WriteHeader begins a stream. A document begins with its first piece.
func (p *v1Writer) WriteHeader(status int) {
	if status < http.StatusOK {
		p.ResponseWriterWrapper.WriteHeader(status)
		return
	}
	if p.a.status != 0 {
		return
	}
	p.a.WriteHeader(status)
	if p.a.events != nil {
		p.begin()
	}
}

func (p *v1Writer) Write(b []byte) (int, error) {
	p.WriteHeader(http.StatusOK)
	_, _ = p.a.Write(b) // what is made of it does not concern the writer
	switch {
	case p.told:
		return 0, errUnstored
	case p.a.events == nil:
		return p.hold(b)
	case p.settled, !p.a.done && !p.a.broken:
		return p.forward(b)
	case p.isGateway():
		// what was used is known once it has returned
		p.held = append(p.held, b...)
		return len(b), nil
	}
	if e := p.settle(); e.unstored {
		p.tell(e.failure)
		return 0, errUnstored
	}
	return p.forward(b)
}

// ReadFrom implements io.ReaderFrom.
func (p *v1Writer) ReadFrom(r io.Reader) (int64, error) {
	return io.Copy(struct{ io.Writer }{p}, r)
}

// FlushError implements what http.ResponseController looks for.
func (p *v1Writer) FlushError() error {
	if !p.begun || p.isLost() {
		return nil
	}
	return p.tolerate(http.NewResponseController(p.ResponseWriter).Flush())
}

// begin sends the header.
func (p *v1Writer) begin() {
	if p.begun {
		return
	}
	p.begun = true
	switch {
	case p.isLost():
	case p.isGateway() && p.a.events != nil:
		p.stream.Begin()
	default:
		p.ResponseWriterWrapper.WriteHeader(p.a.status)
	}
}

// isGateway says whether ai_gateway answers, which writes whole events and is
// about to return when it has written the end.
func (p *v1Writer) isGateway() bool { return p.t.x.Rec.Call.Provider != "" }

// TakesChunks implements chat.ChunkTaker.
func (p *v1Writer) TakesChunks() bool { return p.begun && p.a.events != nil }

// TakeChunk implements chat.ChunkTaker.
func (p *v1Writer) TakeChunk(c *provider.Chunk) error {
	if p.told {
		return errUnstored
	}
	_ = p.a.TakeChunk(c) // what is made of it does not concern the writer
	p.events = sse.AppendEvent(p.events, "", "", c.Raw)
	return nil
}

// FlushChunks implements chat.ChunkTaker.
func (p *v1Writer) FlushChunks() error {
	p.o.flush()
	_, err := p.forward(p.events)
	p.events = p.events[:0]
	return err
}

// hold keeps a piece of a document until the next one comes.
func (p *v1Writer) hold(b []byte) (int, error) {
	if len(b) == 0 {
		return 0, nil
	}
	if err := p.release(); err != nil {
		return 0, err
	}
	p.held = append(p.held, b...)
	return len(b), nil
}

// release sends the piece that was held back.
func (p *v1Writer) release() error {
	if len(p.held) == 0 {
		return nil
	}
	_, err := p.forward(p.held)
	p.held = p.held[:0]
	return err
}

// forward sends b to the client. Where the client is gone and the answer goes
// on without it, nothing fails, unless there is nothing left to keep of it.
func (p *v1Writer) forward(b []byte) (int, error) {
	p.begin()
	if !p.isLost() {
		if err := p.tolerate(p.write(b)); err != nil {
			return 0, err
		}
	}
	if p.lost && p.a.failure != nil {
		return 0, p.a.failure
	}
	return len(b), nil
}

func (p *v1Writer) write(b []byte) error {
	if p.isGateway() && p.a.events != nil {
		return p.stream.Send(b)
	}
	_, err := p.ResponseWriter.Write(b)
	return err
}

// isLost says whether the client has gone and the answer goes on.
func (p *v1Writer) isLost() bool {
	if p.t.h.OnDisconnect == disconnectContinue && p.t.x.R.Context().Err() != nil {
		p.lost = true
	}
	return p.lost
}

// tolerate is what a write that ended with err ends with for the next handler.
func (p *v1Writer) tolerate(err error) error {
	if err != nil && p.t.h.OnDisconnect == disconnectContinue && p.t.ctx.Err() == nil {
		p.lost = true
		return nil
	}
	return err
}

// settle stores the answer and frees the session.
func (p *v1Writer) settle() ending {
	p.settled = true
	e := p.t.conclude(p.a, p.o)
	p.t.keepAnswer(p.a, e, true)
	p.t.free(p.t.lastEvents(p.o, e)...)
	if rec := p.t.x.Rec; e.failure != nil && rec.ErrorCode == "" {
		rec.ErrorCode = e.failure.Code
		if !p.taken { // else it is logged where it is told
			apierror.Log(p.t.h.log, rec, e.failure)
		}
	}
	return e
}

// TakeFailure implements apierror.Taker: the answer is stored, and the session
// free, before anybody is told.
func (p *v1Writer) TakeFailure(e *apierror.Error) {
	p.taken = !p.settled
	p.a.TakeFailure(e)
}

// tell ends a stream with an error, in place of what would make it look whole.
// A recorder tells all who wait for it.
func (p *v1Writer) tell(failure *apierror.Error) {
	p.told = true
	if apierror.HandOver(p.ResponseWriter, failure) {
		return
	}
	if p.taken {
		apierror.Log(p.t.h.log, p.t.x.Rec, failure)
	}
	_, _ = p.forward(apierror.OpenAIFrame(failure, p.t.x.Rec.TraceID))
	_ = p.FlushError()
}

// end is called when the next handler has returned, with its error, and
// returns what there is still to answer.
func (p *v1Writer) end(err error) error {
	if !p.settled {
		p.a.end(err)
		p.keepStatus(err)
		p.t.x.holdEnd()
		if e := p.settle(); e.unstored {
			return p.fail(e.failure)
		}
	}
	if p.taken {
		return p.fail(p.a.failure)
	}
	switch {
	case p.a.status == 0 && err == nil:
		return p.a.failure // nobody has answered
	case p.a.status != 0:
		p.begin()
		_ = p.release() // the client may have gone
	}
	if errors.Is(err, errAborted) {
		panic(http.ErrAbortHandler)
	}
	if err != nil {
		return nextError{err}
	}
	return nil
}

// keepStatus gives a failure the status that the client is answered.
func (p *v1Writer) keepStatus(err error) {
	status := p.a.status
	if he, ok := errors.AsType[caddyhttp.HandlerError](err); ok && status == 0 {
		status = he.StatusCode
	}
	if p.a.failure != nil && status >= http.StatusBadRequest {
		f := *p.a.failure
		f.Status = status
		p.a.failure = &f
	}
}

// fail answers in place of an answer that could not be stored or that the next
// handler has not brought to its end.
func (p *v1Writer) fail(failure *apierror.Error) error {
	switch {
	case !p.begun:
		return failure
	case p.a.events != nil:
		p.tell(failure)
		return nil
	default:
		panic(http.ErrAbortHandler) // a part of it is out
	}
}

// Interface guards
var (
	_ http.ResponseWriter = (*v1Writer)(nil)
	_ apierror.Taker      = (*v1Writer)(nil)
	_ chat.ChunkTaker     = (*v1Writer)(nil)
	_ io.ReaderFrom       = (*v1Writer)(nil)
)
