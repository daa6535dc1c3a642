package chatsession

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"strconv"
	"time"

	"github.com/tidwall/gjson"

	"github.com/caddy-chat/caddy-chat/modules/apierror"
	"github.com/caddy-chat/caddy-chat/modules/chat"
	"github.com/caddy-chat/caddy-chat/modules/door"
	"github.com/caddy-chat/caddy-chat/modules/provider"
	"github.com/caddy-chat/caddy-chat/modules/sharedanswer"
	"github.com/caddy-chat/caddy-chat/modules/sse"
	"github.com/caddy-chat/caddy-chat/modules/store"
)

// followKept serves GET /v1/responses/{id}?stream=true&starting_after=N: the events of
// a response, made once more of its turn's chunks. Those of a turn that is too old are
// gone, but for the last.
func (h *Handler) followKept(x *chat.Exchange, k *keptResponse) error {
	after := -1
	if s := x.R.URL.Query().Get("starting_after"); s != "" {
		n, err := strconv.Atoi(s)
		if err != nil || n < 0 {
			return apierror.InvalidRequest("starting_after", "want the sequence_number of an event")
		}
		after = n
	}
	f, err := h.newKeptFollower(x, k, after)
	if err != nil {
		return err
	}
	f.stream = x.NewStream(x.R.Context(), chat.KeepAlive{Interval: time.Duration(h.KeepAlive), Begins: true})
	defer f.stream.Close()
	return f.follow()
}

// keptFollower sends one client the events of a response.
type keptFollower struct {
	h      *Handler
	x      *chat.Exchange
	k      *keptResponse
	after  int // the last event that the client has seen
	out    door.Stream
	stream *chat.Stream
	sent   bool // something was sent
	read   bool // the turn's events are there
}

func (h *Handler) newKeptFollower(x *chat.Exchange, k *keptResponse, after int) (*keptFollower, error) {
	call, err := k.reopened()
	if err != nil {
		return nil, err
	}
	return &keptFollower{h: h, x: x, k: k, after: after, out: call.Stream()}, nil
}

func (f *keptFollower) follow() error {
	n := 0
	if f.x.R.Method == http.MethodHead {
		f.stream.Begin()
		return nil
	}
	for {
		turn, events, err := f.next(n)
		if errors.Is(err, store.ErrLost) {
			if err = f.h.endLost(f.x, sessionKey(f.x)); err == nil {
				continue
			}
		}
		switch {
		case errors.Is(err, store.ErrNotFound), errors.Is(err, errUnended), err == nil && (turn != f.k.Turn || len(events) == 0):
			return f.last()
		case err != nil && !f.sent:
			return f.h.storeError("follow", err)
		case err != nil:
			f.fail(apierror.From(f.h.storeError("follow", err)))
			return nil
		}
		var b []byte
		over := false
		for _, ev := range events {
			n = ev.N
			switch ev.Kind {
			case eventRaw:
				b = f.chunks(b, ev.Data)
			case eventDone:
				over = true
			}
		}
		if len(b) > 0 {
			f.sent = true
			if err := f.stream.Send(b); err != nil {
				return nil //nolint:nilerr // the client has gone
			}
		}
		if over {
			return f.last()
		}
	}
}

// errUnended says that a response has ended whose turn has not.
var errUnended = errors.New("the turn of the response has not ended")

// next returns the turn's events after number n, for which it waits.
func (f *keptFollower) next(n int) (turn string, events []store.Event, err error) {
	ctx := f.x.R.Context()
	if len(f.k.Response) == 0 {
		return f.x.Store.Follow(ctx, f.x.Rec.Tenant.ID, sessionKey(f.x), f.k.Turn, n)
	}
	turn, events, err = f.published(ctx, n)
	if errors.Is(err, context.DeadlineExceeded) && ctx.Err() == nil {
		err = errUnended
	}
	return turn, events, err
}

// chunks appends what a raw event of the turn becomes, as far as the client has not
// seen it. The end comes from what is kept.
func (f *keptFollower) chunks(b, raw []byte) []byte {
	p := sse.NewParser(0)
	p.Feed(raw)
	var made []byte
	for {
		ev, ok, err := p.Next()
		if !ok || err != nil {
			break
		}
		facts, ok := provider.ParseChunk(ev.Data)
		if !ok {
			continue
		}
		c := &provider.Chunk{Raw: ev.Data, Facts: facts}
		c.Native = door.EventOf(c)
		made = f.out.Chunk(made, c)
	}
	f.read = f.read || len(made) > 0
	return f.unseen(b, made)
}

// unseen appends those events that come after the last one seen.
func (f *keptFollower) unseen(b, events []byte) []byte {
	for ev := range bytes.SplitSeq(events, []byte("\n\n")) {
		if n := gjson.GetBytes(eventData(ev), "sequence_number"); n.Exists() && int(n.Int()) > f.after {
			f.after = int(n.Int())
			b = append(append(b, ev...), "\n\n"...)
		}
	}
	return b
}

// last sends the event that ends the response, unless the client has seen it.
func (f *keptFollower) last() error {
	k, err := f.h.keptEnd(f.x, f.k.id(), settleTimeout)
	if err != nil || len(k.Response) == 0 {
		f.fail(apierror.AIError().Because(err))
		return nil
	}
	var b []byte
	n := cmp.Or(k.Events, f.after+2) - 1
	if f.read {
		before, last := cutLast(f.ending(gjson.ParseBytes(k.Response)))
		b = f.unseen(nil, before)
		n = int(gjson.GetBytes(eventData(last), "sequence_number").Int())
	}
	if n <= f.after {
		f.stream.Begin()
		return nil
	}
	name := "response." + gjson.GetBytes(k.Response, "status").Str
	b = sse.AppendEvent(b, "", name, provider.Encode(lastEvent{name, n, k.Response}))
	_ = f.stream.Send(b)
	return nil
}

// fail ends the stream with a failure, which is not that of the response: it can be asked
// for again.
func (f *keptFollower) fail(e *apierror.Error) {
	if recorder := sharedanswer.RecorderOf(f.x.W); recorder != nil {
		recorder.Note(nil) // nor is it to be repeated
	}
	events := f.out.Fail(nil, apierror.FailureFor(provider.APIResponses, e, f.x.Rec.TraceID))
	if apierror.HandOver(f.x.W, e.ReportedBy(events)) {
		return
	}
	apierror.Log(f.h.log, f.x.Rec, e)
	_ = f.stream.Send(events) // the client may have gone
}

// ending returns the events that end the turn's own. A failed answer ends in the middle of
// an item.
func (f *keptFollower) ending(response gjson.Result) []byte {
	switch response.Get("status").Str {
	case statusCancelled:
		return cancelledEvents(f.out, provider.Usage{})
	case "failed":
	default:
		return f.out.End(nil, provider.Usage{})
	}
	e := response.Get("error")
	return f.out.Fail(nil, f.failure(e.Get("code").Str, e.Get("message").Str))
}

// brokenOff is the last chunk of an answer that is cancelled.
var brokenOff = []byte(`{"choices":[{"index":0,"delta":{},"finish_reason":"length"}]}`)

// breakOff returns the events that end an answer which is not complete.
func breakOff(out door.Stream, u provider.Usage) []byte {
	facts, _ := provider.ParseChunk(brokenOff)
	return out.End(out.Chunk(nil, &provider.Chunk{Raw: brokenOff, Facts: facts}), u)
}

// cancelledEvents returns the events that end a response which was cancelled.
func cancelledEvents(out door.Stream, u provider.Usage) []byte {
	events := breakOff(out, u)
	before, _ := cutLast(events)
	doc, count := endOf(events)
	const name = "response." + statusCancelled
	return sse.AppendEvent(before, "", name, provider.Encode(lastEvent{name, count - 1, json.RawMessage(cancelledResponse(doc))}))
}

// failure returns how a stream reports that its answer failed after it had begun.
func (f *keptFollower) failure(code, message string) door.Failure {
	return door.Failure{Type: "server_error", Code: code, Message: message, TraceID: f.x.Rec.TraceID}
}

// lastEvent is the event that ends a response.
type lastEvent struct {
	Type     string `json:"type"`
	Number   int    `json:"sequence_number"`
	Response any    `json:"response"`
}

// cutLast cuts the last of several events off.
func cutLast(events []byte) (before, last []byte) {
	i := bytes.LastIndex(bytes.TrimSuffix(events, []byte("\n\n")), []byte("\n\n"))
	if i = max(0, i); i > 0 {
		i += len("\n\n")
	}
	return events[:i], events[i:]
}

// endOf returns the response in the last of several events, and how many its stream has.
func endOf(events []byte) (doc []byte, count int) {
	_, last := cutLast(events)
	v := gjson.ParseBytes(eventData(last))
	return []byte(v.Get("response").Raw), int(v.Get("sequence_number").Int()) + 1
}

// eventData returns the data of an event of ours, which is one line.
func eventData(event []byte) []byte {
	_, data, _ := bytes.Cut(event, []byte("data: "))
	return data
}
