package chatsession

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/caddy-chat/caddy-chat/modules/apierror"
	"github.com/caddy-chat/caddy-chat/modules/chat"
	"github.com/caddy-chat/caddy-chat/modules/sharedanswer"
	"github.com/caddy-chat/caddy-chat/modules/sse"
)

// answered is the note of a recorded answer: the message that it is in the
// history. The answer is replayed only while that message exists.
type answered struct {
	Seq uint64 `json:"seq"`
	ID  string `json:"id"`
}

// once answers a request with an Idempotency-Key. Only the first one with a key
// takes a turn.
func (h *Handler) once(x *exchange, k *sharedanswer.KeyedRequest, turn func(*exchange) error) error {
	k.Exchange, k.Store = x.Exchange, x.store
	k.Continue = h.OnDisconnect == disconnectContinue
	k.Stands = x.stands
	k.Failure = failureOf
	return h.keys.Serve(k, func(made *chat.Exchange, w *sharedanswer.Recorder) error {
		return turn(&exchange{Exchange: made, store: x.store, recorder: w})
	})
}

// stands reports whether the message of a note is still in the history.
func (x *exchange) stands(ctx context.Context, note []byte) (bool, error) {
	var a answered
	if err := json.Unmarshal(note, &a); err != nil {
		return false, fmt.Errorf("reading the note of a recorded answer: %w", err)
	}
	m, err := x.message(ctx, a.Seq, a.ID)
	return m != nil, err
}

// failureOf returns the failure that followers are answered when their leader
// got err.
func failureOf(err error) *apierror.Error {
	if next, ok := errors.AsType[nextError](err); ok {
		return fromNext(next.error)
	}
	return apierror.From(err)
}

// keepAnswer marks the turn's answer to be stored under its Idempotency-Key, if
// it has one.
func (t *turn) keepAnswer(a *answer, e ending, started bool) {
	if t.x.recorder != nil && e.message != nil && t.stands(a, e, started) {
		t.x.recorder.Note(encode(answered{e.message.Seq, e.message.ID}))
	}
}

// holdEnd holds the end of the answer back until it is stored under its
// Idempotency-Key.
func (x *exchange) holdEnd() {
	if x.recorder != nil {
		x.recorder.Hold()
	}
}

// failureFrame returns the events that end a stream of /chat when the answer that
// it follows fails.
func (x *exchange) failureFrame(e *apierror.Error) []byte {
	frame := sse.AppendEvent(nil, "", "error", encode(errorEvent{e.Code, e.Message, x.Rec.TraceID}))
	return sse.AppendEvent(frame, "", "done", encode(doneEvent{Done: true, FinishReason: finishError}))
}
