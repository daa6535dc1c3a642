package chatsession

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/caddy-chat/caddy-chat/modules/apierror"
	"github.com/caddy-chat/caddy-chat/modules/chat"
	"github.com/caddy-chat/caddy-chat/modules/provider"
	"github.com/caddy-chat/caddy-chat/modules/record"
	"github.com/caddy-chat/caddy-chat/modules/sharedanswer"
	"github.com/caddy-chat/caddy-chat/modules/sse"
	"github.com/caddy-chat/caddy-chat/modules/store"
)

// answered is the note of a recorded answer: the message that it is in the
// history, or the response in the background that has begun. The answer is replayed
// only while that exists.
type answered struct {
	Seq      uint64 `json:"seq,omitempty"`
	ID       string `json:"id,omitempty"`
	Response string `json:"response,omitempty"`

	// Session is empty in notes of earlier versions.
	Session string `json:"session,omitempty"`
}

// once answers a request with an Idempotency-Key. Only the first one with a key
// takes a turn, which claims the key as it begins.
func (h *Handler) once(x *chat.Exchange, k *sharedanswer.KeyedRequest, gates record.Gates, turn sharedanswer.Answer) error {
	k.Exchange, k.Gates, k.Begins = x, gates, true
	k.Continue = k.Continue || h.OnDisconnect == disconnectContinue
	k.Stands = func(ctx context.Context, note []byte) (bool, error) { return h.stands(ctx, x, note) }
	k.Failure = failureOf
	return h.keys.Serve(k, turn)
}

// stands reports whether what a note names still exists.
func (h *Handler) stands(ctx context.Context, x *chat.Exchange, note []byte) (bool, error) {
	var a answered
	if err := json.Unmarshal(note, &a); err != nil {
		return false, fmt.Errorf("reading the note of a recorded answer: %w", err)
	}
	if a.Session != "" {
		x.Rec.Session = a.Session
	}
	if a.Response != "" {
		_, err := h.keptByID(x, a.Response)
		if errors.Is(err, store.ErrNotFound) {
			return false, nil
		}
		return err == nil, err
	}
	m, err := messageOf(ctx, x, a.Seq, a.ID)
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
	recorder := sharedanswer.RecorderOf(t.x.W)
	if recorder != nil && e.message != nil && t.stands(a, e, started) {
		recorder.Note(provider.Encode(answered{Seq: e.message.Seq, ID: e.message.ID, Session: t.session.ID}))
	}
}

// holdEnd holds the end of the answer back until it is stored under its
// Idempotency-Key.
func (t *turn) holdEnd() {
	if recorder := sharedanswer.RecorderOf(t.x.W); recorder != nil {
		recorder.Hold()
	}
}

// failureFrame returns the events that end a stream of /chat when the answer that
// it follows fails.
func failureFrame(e *apierror.Error, traceID string) []byte {
	frame := sse.AppendEvent(nil, "", "error", provider.Encode(errorEvent{e.Code, e.Message, traceID}))
	return sse.AppendEvent(frame, "", "done", provider.Encode(doneEvent{Done: true, FinishReason: finishError}))
}
