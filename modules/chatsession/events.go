package chatsession

import (
	"context"
	"strconv"
	"time"

	"github.com/go-json-experiment/json/jsontext"

	"github.com/caddy-chat/caddy-chat/modules/chat"
	"github.com/caddy-chat/caddy-chat/modules/sse"
	"github.com/caddy-chat/caddy-chat/modules/store"
)

// The kinds of a turn's events. The data of a text event is the bare text, that
// of the others JSON.
const (
	eventText  = 't'
	eventError = 'e'
	eventDone  = 'd'
)

// eventStream writes a turn's events to one client as server-sent events. The
// answer begins with the first send or keep-alive.
type eventStream struct {
	*chat.Stream
	x      *chat.Exchange
	id     []byte // the turn's id and a colon
	events []byte // scratch
	data   []byte // scratch
	prefix []byte // of a text event's data, up to the text
	suffix []byte
}

func (h *Handler) newEventStream(ctx context.Context, x *chat.Exchange, turn string) *eventStream {
	s := &eventStream{x: x}
	s.of(turn)
	s.prefix = append(s.prefix, `{"sessionId":`...)
	s.prefix = appendString(s.prefix, x.Rec.Session)
	s.prefix = append(s.prefix, `,"role":"assistant","content":`...)
	s.suffix = append(s.suffix, `,"tenantId":`...)
	s.suffix = appendString(s.suffix, x.Rec.Tenant.ID)
	s.suffix = append(s.suffix, `,"traceId":`...)
	s.suffix = append(appendString(s.suffix, x.Rec.TraceID), '}')
	s.Stream = x.NewStream(ctx, chat.KeepAlive{Interval: time.Duration(h.KeepAlive), Begins: true})
	return s
}

// of sets the turn whose events follow.
func (s *eventStream) of(turn string) { s.id = append(append(s.id[:0], turn...), ':') }

// send writes events with one write and one flush. It ignores errors, because
// the turn may continue without its client.
func (s *eventStream) send(events ...store.Event) {
	s.Begin()
	if s.x.ClientGone() {
		return
	}
	s.events = sse.Reuse(s.events)
	for _, ev := range events {
		s.events = s.append(s.events, ev)
	}
	_ = s.Send(s.events)
}

func (s *eventStream) append(dst []byte, ev store.Event) []byte {
	name := ""
	data := ev.Data
	switch ev.Kind {
	case eventError:
		name = "error"
	case eventDone:
		name = "done"
	default:
		s.data = append(sse.Reuse(s.data), s.prefix...)
		s.data, _ = jsontext.AppendQuote(s.data, ev.Data) // invalid UTF-8 is replaced
		s.data = append(s.data, s.suffix...)
		data = s.data
	}
	dst = append(append(dst, "id: "...), s.id...)
	dst = append(strconv.AppendInt(dst, int64(ev.N), 10), '\n')
	return sse.AppendEvent(dst, "", name, data)
}

// appendString appends s as a JSON string, with invalid UTF-8 replaced.
func appendString(dst []byte, s string) []byte {
	dst, _ = jsontext.AppendQuote(dst, s)
	return dst
}

type doneEvent struct {
	Done         bool   `json:"done"`
	FinishReason string `json:"finishReason"`
	Usage        usage  `json:"usage"`
}

type errorEvent struct {
	Code    string `json:"code"`
	Message string `json:"message"`
	TraceID string `json:"traceId"`
}
