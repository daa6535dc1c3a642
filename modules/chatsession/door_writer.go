package chatsession

import (
	"bytes"
	"context"
	"errors"
	"net/http"
	"strconv"
	"time"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"github.com/tidwall/sjson"

	"github.com/caddy-chat/caddy-chat/modules/apierror"
	"github.com/caddy-chat/caddy-chat/modules/chat"
	"github.com/caddy-chat/caddy-chat/modules/door"
	"github.com/caddy-chat/caddy-chat/modules/provider"
	"github.com/caddy-chat/caddy-chat/modules/sse"
)

// doorWriter is the ResponseWriter of a chat completion whose client uses another
// API. It turns the answer into that API's.
type doorWriter struct {
	*caddyhttp.ResponseWriterWrapper
	h      *Handler
	x      *chat.Exchange
	call   door.Call
	sent   []byte // the client's request
	out    door.Stream
	stream *chat.Stream

	status int
	parser *sse.Parser // of a stream
	scan   provider.Scanner
	doc    bytes.Buffer // of anything else
	usage  *provider.Usage
	buf    []byte // events to be sent
	size   int    // of the chunks
	over   bool   // the end, or a failure, was sent

	cancel context.CancelCauseFunc // ends an answer that no turn ends; else nil

	kept   *keptResponse // nil unless the answer is a response that is kept
	free   func()        // frees the session once it is kept; nil for nothing
	called func() error  // as of talk
	barred error         // what is still to be answered in place of what is written
}

func newDoorWriter(h *Handler, x *chat.Exchange, call door.Call, sent []byte) *doorWriter {
	k := chat.KeepAlive{Interval: time.Duration(h.KeepAlive), Event: call.Ping()}
	return &doorWriter{
		ResponseWriterWrapper: &caddyhttp.ResponseWriterWrapper{ResponseWriter: x.W},
		h:                     h,
		x:                     x,
		call:                  call,
		sent:                  sent,
		out:                   call.Stream(),
		stream:                x.NewStream(x.R.Context(), k),
	}
}

// WriteHeader sends the header of a stream. That of a document is sent with the
// document.
func (w *doorWriter) WriteHeader(status int) {
	if w.status != 0 || status < http.StatusOK {
		return
	}
	w.status = status
	if b := w.x.Rec.Beside; b != nil && b.Refused != nil && !b.Taken {
		w.barred = apierror.FromProvider(b.Refused) // the next handler has no words for it
		return
	}
	if status == http.StatusOK && w.called != nil {
		if w.barred = w.called(); w.barred != nil {
			return
		}
	}
	chat.NameDropped(w.Header(), func(names []string) []string { return door.Named(w.call.API(), w.sent, names) })
	if r, ok := w.call.(door.Repeater); ok {
		r.Without(chat.Dropped(w.Header()))
	}
	if status == http.StatusOK && sse.IsStream(w.Header()) {
		w.parser = sse.NewParser(0)
		w.nameDropped()
		w.keepBegun()
		w.stream.Begin()
	}
}

// keepBegun keeps the response as one that runs, before its client knows its id. One in the
// background is kept since its model was called.
func (w *doorWriter) keepBegun() {
	if w.keepsStream() {
		w.h.keepBegun(w.x, w.kept)
	}
}

// keepsStream reports whether the answer is a stream that is kept from its first event on.
func (w *doorWriter) keepsStream() bool { return w.parser != nil && w.kept != nil && w.called == nil }

// nameDropped names what the door has left out of the request, unless ai_gateway knows
// whether its provider was given that.
func (w *doorWriter) nameDropped() {
	if b := w.x.Rec.Beside; b == nil || !b.Taken {
		chat.AddDropped(w.Header(), w.call.Dropped())
	}
}

func (w *doorWriter) Write(p []byte) (int, error) {
	w.WriteHeader(http.StatusOK)
	if w.barred != nil {
		return 0, w.barred
	}
	if w.parser == nil {
		if w.doc.Len()+len(p) > maxDocument {
			return 0, provider.TooLong("the answer", maxDocument)
		}
		return w.doc.Write(p)
	}
	w.parser.Feed(p)
	if err := w.read(w.parser.Next); err != nil {
		return 0, err
	}
	return len(p), nil
}

// FlushError does nothing: Write flushes what it was given.
func (w *doorWriter) FlushError() error { return nil }

// read sends what the next events become.
func (w *doorWriter) read(next func() (sse.Event, bool, error)) error {
	for !w.over {
		ev, ok, err := next()
		if err != nil {
			return provider.TooLong("an event of the answer", sse.MaxEvent)
		}
		if !ok {
			break
		}
		w.event(bytes.TrimSpace(ev.Data))
	}
	return w.send()
}

func (w *doorWriter) send() error {
	if len(w.buf) == 0 {
		return nil
	}
	err := w.stream.Send(w.buf)
	w.buf = sse.Reuse(w.buf)
	if w.kept != nil && w.h.OnDisconnect == disconnectContinue {
		return nil // it can be asked for later
	}
	return err
}

func (w *doorWriter) event(data []byte) {
	if string(data) == provider.EndMark {
		w.over = true
		from := len(w.buf)
		w.buf = w.out.End(w.buf, lastUsage(w.x, w.usage))
		w.keep(w.buf[from:])
		return
	}
	chunk := provider.Chunk{Raw: data}
	if c, ok := w.scan.Scan(data); ok {
		chunk.Facts, chunk.Regular, chunk.Plain = c.Facts, c.FinishReason == "", c.Plain
	} else if chunk.Facts, ok = provider.ParseChunk(data); !ok {
		return // chat_session has judged it
	}
	if chunk.Usage != nil {
		w.usage = chunk.Usage
	}
	w.chunk(&chunk)
}

// chunk adds what a chunk becomes. Doors gather what they have written.
func (w *doorWriter) chunk(c *provider.Chunk) {
	if w.size += len(c.Raw); w.size > maxEvents && w.cancel != nil {
		w.cancel(apierror.FromProvider(provider.TooLong("the answer", maxEvents)))
	}
	if w.x.Rec.Beside != nil {
		c.Native = door.EventOf(c)
	}
	w.buf = w.out.Chunk(w.buf, c)
}

// TakesChunks implements chat.ChunkTaker.
func (w *doorWriter) TakesChunks() bool { return w.parser != nil && w.barred == nil }

// TakeChunk implements chat.ChunkTaker.
func (w *doorWriter) TakeChunk(c *provider.Chunk) error {
	if w.over {
		return nil
	}
	taken := *c
	if c.Usage != nil && c.Choices == 0 { // that of other chunks is not in their JSON
		w.usage = c.Usage
	}
	w.chunk(&taken)
	return nil
}

// FlushChunks implements chat.ChunkTaker.
func (w *doorWriter) FlushChunks() error { return w.send() }

// TakeFailure implements apierror.Taker. A failure in place of a stream is still to be
// answered, by end. A recorder in front has a frame of its own for each client, except for a
// response, whose events are numbered.
func (w *doorWriter) TakeFailure(e *apierror.Error) {
	if w.parser == nil {
		w.barred = e
		return
	}
	if w.over {
		return
	}
	w.over = true
	last := w.failed(e)
	if w.call.API() == provider.APIResponses {
		e = e.ReportedBy(last)
	}
	if !apierror.HandOver(w.x.W, e) {
		apierror.Log(w.h.log, w.x.Rec, e)
		w.buf = append(w.buf, last...)
		_ = w.send() // the client may have gone
	}
	w.stream.Stop()
}

// failed returns the events that end the answer, after a response is kept.
func (w *doorWriter) failed(e *apierror.Error) []byte {
	if w.kept != nil && w.kept.cancelled {
		events := cancelledEvents(w.out, lastUsage(w.x, w.usage))
		w.keep(events)
		return events
	}
	events := w.out.Fail(nil, apierror.FailureFor(w.call.API(), e, w.x.Rec.TraceID))
	w.keep(events)
	return events
}

// keep keeps the response that the last events hold, before they are sent: a client
// that has seen the end can ask for it. It frees the session.
func (w *doorWriter) keep(events []byte) {
	if w.kept == nil {
		return
	}
	var doc []byte
	doc, w.kept.Events = endOf(events)
	w.h.keepEnd(w.x, w.kept, doc)
	if w.free != nil {
		w.free()
	}
}

// close ends the stream, and a response whose turn has ended without saying how.
func (w *doorWriter) close() {
	w.stream.Close()
	if w.keepsStream() && len(w.kept.Response) == 0 {
		w.h.keepEnd(w.x, w.kept, w.kept.unanswered(apierror.AIError()))
	}
}

// serve lets an answer be written. One that breaks off ends with a failure: what was sent
// of it has a place for one.
func (w *doorWriter) serve(answer func() error) error {
	next := caddyhttp.HandlerFunc(func(http.ResponseWriter, *http.Request) error { return answer() })
	err := serveNext(next, w, nil)
	if !errors.Is(err, errAborted) {
		return err
	}
	failure := apierror.AIError().Because(err)
	if w.parser == nil {
		return failure
	}
	w.TakeFailure(failure)
	return nil
}

// end completes the answer after the turn has returned err. It returns the error that
// is still to be answered.
func (w *doorWriter) end(err error) error {
	if err == nil {
		err = w.barred
	}
	if err != nil || w.status == 0 {
		return err
	}
	if w.parser != nil {
		if err := w.read(w.parser.Flush); err == nil && !w.over {
			w.TakeFailure(apierror.AIError().Because(provider.ErrCut))
		}
		return nil
	}
	if w.status != http.StatusOK {
		return apierror.FromProvider(provider.NewError(w.status, w.doc.Bytes()))
	}
	body := w.call.Document(w.counted())
	if w.kept != nil {
		w.kept.Events = 1 // its stream is the end alone
		w.h.keepEnd(w.x, w.kept, body)
	}
	w.nameDropped()
	h := w.Header()
	h.Set("Content-Type", "application/json")
	h.Set("Content-Length", strconv.Itoa(len(body)))
	w.ResponseWriter.WriteHeader(http.StatusOK)
	_, _ = w.ResponseWriter.Write(body) //nolint:gosec // G705: JSON, and the turn has succeeded even if the client is gone
	return nil
}

// counted returns the chat completion, with the turn's estimate where the next handler has
// counted no tokens, or none that make sense.
func (w *doorWriter) counted() []byte {
	u := w.x.Rec.CallSoFar().Usage
	if !u.Estimated {
		return w.doc.Bytes()
	}
	with, err := sjson.SetRawBytes(w.doc.Bytes(), "usage", u.Member())
	if err != nil {
		return w.doc.Bytes()
	}
	return with
}

// Interface guards
var (
	_ http.ResponseWriter = (*doorWriter)(nil)
	_ apierror.Taker      = (*doorWriter)(nil)
	_ chat.ChunkTaker     = (*doorWriter)(nil)
)
