package chatsession

import (
	"bytes"
	"context"
	"strconv"
	"time"

	"github.com/go-json-experiment/json/jsontext"

	"github.com/caddy-chat/caddy-chat/modules/chat"
	"github.com/caddy-chat/caddy-chat/modules/provider"
	"github.com/caddy-chat/caddy-chat/modules/sse"
	"github.com/caddy-chat/caddy-chat/modules/store"
)

// The kinds of a turn's events. The data of a text event is the bare text, that
// of an error and of the end JSON.
const (
	eventText  = 't'
	eventRaw   = 'r' // of a stream under /v1: as its client gets it, without the id
	eventError = 'e'
	eventDone  = 'd'
)

// eventStream writes a turn's events to one client as server-sent events. The
// answer begins with the first send or keep-alive.
type eventStream struct {
	*chat.Stream
	x      *chat.Exchange
	v1     bool // the client gets the events of /v1, and of one turn alone
	chunks chunkReader
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
	s.events = sse.Reuse(s.events)
	for _, ev := range events {
		s.events = s.append(s.events, ev)
	}
	if s.v1 && len(s.events) == 0 {
		return
	}
	s.Begin()
	if s.x.ClientGone() {
		return
	}
	_ = s.Send(s.events)
}

func (s *eventStream) append(dst []byte, ev store.Event) []byte {
	if s.v1 {
		if ev.Kind != eventRaw {
			return dst
		}
		return append(appendID(dst, s.id, ev.N), ev.Data...)
	}
	name := ""
	data := ev.Data
	switch ev.Kind {
	case eventError:
		name = "error"
	case eventDone:
		name = "done"
	case eventRaw:
		text := s.chunks.text(ev.Data)
		if text == "" {
			return dst
		}
		data = s.piece([]byte(text))
	default:
		data = s.piece(ev.Data)
	}
	return sse.AppendEvent(appendID(dst, s.id, ev.N), "", name, data)
}

// piece returns the data of a piece of text. It is valid until the next call.
func (s *eventStream) piece(text []byte) []byte {
	s.data = append(sse.Reuse(s.data), s.prefix...)
	s.data, _ = jsontext.AppendQuote(s.data, text) // invalid UTF-8 is replaced
	s.data = append(s.data, s.suffix...)
	return s.data
}

// appendID appends the line with an event's id. of is the turn's id and a colon.
func appendID(dst, of []byte, n int) []byte {
	dst = append(append(dst, "id: "...), of...)
	return append(strconv.AppendInt(dst, int64(n), 10), '\n')
}

// chunkReader reads the text in the events of a stream under /v1.
type chunkReader struct {
	scan   provider.Scanner
	halves provider.Halves
}

func (r *chunkReader) text(event []byte) string {
	data := dataOf(event)
	if !r.halves.Open() {
		if c, ok := r.scan.Scan(data); ok {
			return c.Text
		}
	}
	f, _ := provider.ParseChunk(r.halves.Join(data))
	return f.Text
}

// dataOf returns the data of one event.
func dataOf(event []byte) []byte {
	const end = "\n\n"
	data, ok := bytes.CutPrefix(event, []byte("data: "))
	if i := bytes.IndexByte(data, '\n'); ok && i == len(data)-len(end) {
		return data[:i]
	}
	p := sse.NewParser(0)
	p.Feed(event)
	ev, _, _ := p.Next()
	return ev.Data
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
