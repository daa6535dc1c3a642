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

// answered says which message of the history an answer under an Idempotency-Key
// is. It is given again as long as that is there.
type answered struct {
	Seq uint64 `json:"seq"`
	ID  string `json:"id"`
}

// once answers a request under its key: only the first one with a key takes a
// turn.
func (h *Handler) once(x *exchange, k *sharedanswer.KeyedRequest, turn func(*exchange) error) error {
	k.Exchange, k.Store = x.Exchange, x.store
	k.Continue = h.OnDisconnect == disconnectContinue
	k.Stands = x.stands
	k.Failure = failureOf
	return h.keys.Serve(k, func(made *chat.Exchange, w *sharedanswer.Recorder) error {
		return turn(&exchange{Exchange: made, store: x.store, recorder: w})
	})
}

// stands says whether the answer that a note is about is still in the history.
func (x *exchange) stands(ctx context.Context, note []byte) (bool, error) {
	var a answered
	if err := json.Unmarshal(note, &a); err != nil {
		return false, fmt.Errorf("reading which message an answer is: %w", err)
	}
	m, err := x.message(ctx, a.Seq, a.ID)
	return m != nil, err
}

// failureOf is what an error is to requests that follow the one that got it.
func failureOf(err error) *apierror.Error {
	if next, ok := errors.AsType[nextError](err); ok {
		return fromNext(next.error)
	}
	return apierror.From(err)
}

// keepAnswer has the answer of a turn stored under its key.
func (t *turn) keepAnswer(a *answer, e ending, started bool) {
	if t.x.recorder != nil && e.message != nil && t.stands(a, e, started) {
		t.x.recorder.Note(encode(answered{e.message.Seq, e.message.ID}))
	}
}

// holdEnd has the end of the answer wait until it is stored under its key.
func (x *exchange) holdEnd() {
	if x.recorder != nil {
		x.recorder.Hold()
	}
}

// failureFrame ends a stream of /chat that another request's answer was to fill.
func (x *exchange) failureFrame(e *apierror.Error) []byte {
	frame := sse.AppendEvent(nil, "", "error", encode(errorEvent{e.Code, e.Message, x.Rec.TraceID}))
	return sse.AppendEvent(frame, "", "done", encode(doneEvent{Done: true, FinishReason: finishError}))
}
