package chatsession

import (
	"net/http"
	"strconv"
	"time"

	"github.com/go-json-experiment/json/jsontext"
	"go.uber.org/zap"

	"github.com/caddy-chat/caddy-chat/modules/chat"
	"github.com/caddy-chat/caddy-chat/modules/sse"
	"github.com/caddy-chat/caddy-chat/modules/store"
)

// The kinds of a turn's events. A text event keeps the text alone, the others
// their JSON.
const (
	eventText  = 't'
	eventError = 'e'
	eventDone  = 'd'
)

// eventStream writes a turn's events to one client as server-sent events. It
// begins the answer with the first event, or with a comment when there is
// none for too long.
type eventStream struct {
	x      *exchange
	turn   string
	beats  *sse.Heartbeat
	header map[string]string // what else goes into the answer's header
	closed func()            // ends the count of open streams; nil before the answer has begun
	buf    []byte
	prefix []byte // of a text event's data, up to the text
	suffix []byte
}

func (h *Handler) newEventStream(x *exchange, turn string) *eventStream {
	s := &eventStream{x: x, turn: turn, header: make(map[string]string)}
	s.prefix = append(s.prefix, `{"sessionId":`...)
	s.prefix = appendString(s.prefix, x.rec.Session)
	s.prefix = append(s.prefix, `,"role":"assistant","content":`...)
	s.suffix = append(s.suffix, `,"tenantId":`...)
	s.suffix = appendString(s.suffix, x.rec.Tenant.ID)
	s.suffix = append(s.suffix, `,"traceId":`...)
	s.suffix = append(appendString(s.suffix, x.rec.TraceID), '}')
	s.beats = sse.NewHeartbeat(time.Duration(h.KeepAlive), func() error {
		s.start(h)
		return s.flush(sse.AppendComment(nil, "keep-alive"))
	})
	return s
}

// setHeader sets a header of an answer that has not begun.
func (s *eventStream) setHeader(name, value string) {
	_ = s.beats.Do(func() error {
		if value != "" {
			s.header[name] = value
		}
		return nil
	})
}

// start begins the answer. It runs under the heartbeat.
func (s *eventStream) start(h *Handler) {
	if s.closed != nil {
		return
	}
	s.closed = h.app.OpenStream(s.x.rec.Tenant.ID)
	header := s.x.w.Header()
	for name, value := range s.header {
		header.Set(name, value)
	}
	header.Set("Content-Type", "text/event-stream")
	header.Set("Cache-Control", "no-cache")
	header.Set("X-Accel-Buffering", "no")
	header.Del("Content-Length")
	s.x.w.WriteHeader(http.StatusOK)
}

func (s *eventStream) flush(p []byte) error {
	if _, err := s.x.w.Write(p); err != nil {
		return err
	}
	return http.NewResponseController(s.x.w).Flush()
}

// send writes one event. A client that has gone away misses it; that is no
// failure, because the turn may go on without it.
func (s *eventStream) send(h *Handler, ev store.Event) {
	_ = s.beats.Do(func() error {
		s.start(h)
		if s.x.r.Context().Err() != nil {
			return nil
		}
		s.buf = s.appendEvent(s.buf[:0], ev)
		return s.flush(s.buf)
	})
}

func (s *eventStream) appendEvent(dst []byte, ev store.Event) []byte {
	id := s.turn + ":" + strconv.Itoa(ev.N)
	switch ev.Kind {
	case eventError:
		return sse.AppendEvent(dst, id, "error", ev.Data)
	case eventDone:
		return sse.AppendEvent(dst, id, "done", ev.Data)
	}
	data := append([]byte(nil), s.prefix...)
	data = appendString(data, string(ev.Data))
	return sse.AppendEvent(dst, id, "", append(data, s.suffix...))
}

// stop ends the keep-alives and says whether the answer has begun. Nothing
// begins it afterwards but send.
func (s *eventStream) stop() (started bool) {
	s.beats.Stop()
	return s.closed != nil
}

// close ends the count of open streams.
func (s *eventStream) close() {
	s.beats.Stop()
	if s.closed != nil {
		s.closed()
	}
}

// appendString appends s as JSON; what is no UTF-8 is replaced.
func appendString(dst []byte, s string) []byte {
	dst, _ = jsontext.AppendQuote(dst, s)
	return dst
}

// output numbers a turn's events, keeps them for those who come back, and
// sends them to the client that waits for a stream.
type output struct {
	t      *turn
	stream *eventStream // nil where the client wants one document
	unhook func()
	n      int
	ttft   time.Duration
}

func (t *turn) newOutput(streamed bool) *output {
	o := &output{t: t}
	if streamed {
		o.unhook = chat.CutShort(t.ctx, t.x.w, t.x.r)
		o.stream = t.h.newEventStream(t.x, t.id)
		o.stream.setHeader("X-Tokens-In", strconv.FormatInt(t.tokensIn, 10))
		o.stream.setHeader("X-Model-Id", t.model)
	}
	return o
}

// begins is called when the next handler begins its answer, with the name it
// gives the model, if any.
func (o *output) begins(model string) {
	if o.stream != nil && model != "" {
		o.stream.setHeader("X-Model-Id", model)
	}
}

// text passes on a piece of the answer.
func (o *output) text(s string) {
	if o.n == 0 {
		o.ttft = time.Since(o.t.begun)
	}
	o.send(eventText, []byte(s))
}

func (o *output) send(kind byte, data []byte) {
	ev := o.publish(kind, data)
	if o.stream != nil {
		o.stream.send(o.t.h, ev)
	}
}

// number makes the turn's next event.
func (o *output) number(kind byte, data []byte) store.Event {
	o.n++
	return store.Event{N: o.n, Kind: kind, Data: data}
}

func (o *output) publish(kind byte, data []byte) store.Event {
	ev := o.number(kind, data)
	ctx, cancel := o.t.settleContext()
	defer cancel()
	if err := o.t.x.store.Publish(ctx, o.t.tenant, o.t.session, o.t.id, ev); err != nil {
		o.t.h.log.Debug("keeping an event for those who come back", zap.String("turn", o.t.id), zap.Error(err))
	}
	return ev
}

// stop ends what belongs to the stream.
func (o *output) stop() {
	if o.stream != nil {
		o.unhook()
		o.stream.close()
	}
}
