package chatsession

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"strconv"
	"time"

	"github.com/caddy-chat/caddy-chat/modules/chat"
	"github.com/caddy-chat/caddy-chat/modules/chaterr"
	"github.com/caddy-chat/caddy-chat/modules/provider"
	"github.com/caddy-chat/caddy-chat/modules/store"
)

// The finish reasons that are ours and not a model's.
const (
	finishStop      = "stop"
	finishError     = "error"
	finishCancelled = "cancelled"
)

// usage is what an answer tells of its cost.
type usage struct {
	ModelID     string  `json:"modelId"`
	TokensIn    int64   `json:"tokensIn"`
	TokensOut   int64   `json:"tokensOut"`
	TotalTokens int64   `json:"totalTokens"`
	LatencyMs   int64   `json:"latencyMs"`
	TTFTMs      int64   `json:"ttftMs"`
	CostUSD     float64 `json:"costUsd"`
	Estimated   bool    `json:"estimated"`
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

type document struct {
	Status       string `json:"status"`
	SessionID    string `json:"sessionId"`
	Stream       bool   `json:"stream"`
	Message      string `json:"message"`
	FinishReason string `json:"finishReason"`
	Usage        usage  `json:"usage"`
}

// settle stores what the model answered, frees the session, and only then
// tells the client: one that has seen the end finds the answer in the
// history, and may go on at once.
func (t *turn) settle(a *answer, o *output) error {
	finish, failure := t.outcome(a)
	u := t.usage(a, o)

	status := store.StatusComplete
	if failure != nil || finish == finishCancelled {
		status = store.StatusPartial
	}
	if status == store.StatusComplete || a.text.Len() > 0 {
		if err := t.storeAnswer(a.text.String(), status, u); err != nil {
			finish, failure = finishError, chaterr.From(err)
		}
	}
	if failure != nil && failure.Status < http.StatusInternalServerError && a.text.Len() == 0 {
		t.retract()
	}
	if o.stream == nil {
		return t.answerDocument(a, o, finish, failure, u)
	}
	return t.endStream(o, finish, failure, u)
}

// outcome says how the turn ended: with which finish reason, and with which
// failure if any. Why the turn was ended weighs more than what the next
// handler made of it.
func (t *turn) outcome(a *answer) (finish string, failure *chaterr.Error) {
	cause := context.Cause(t.ctx)
	switch {
	case a.failure == nil && a.finish != "":
		return a.finish, nil
	case a.failure == nil:
		return finishStop, nil
	case errors.Is(cause, chat.ErrShuttingDown):
		return finishError, chaterr.ShuttingDown()
	case cause != nil:
		return finishCancelled, nil
	default:
		return finishError, a.failure
	}
}

// usage gathers what the answer cost, from the gateway where it took part,
// else from the answer itself, else by estimate.
func (t *turn) usage(a *answer, o *output) usage {
	call := t.x.rec.Call
	if call.Provider == "" {
		call.Model = a.modelID(t.x.rec.Turn.Model)
		call.Attempts = a.attempts()
		call.TTFT = o.ttft
		call.Usage = provider.Usage{Input: t.tokensIn, Output: provider.EstimateTokens(a.bytes), Estimated: true}
		if a.usage != nil {
			call.Usage = *a.usage
		}
		t.x.rec.SetCall(call)
	}
	return usage{
		ModelID:     call.Model,
		TokensIn:    call.Usage.Input,
		TokensOut:   call.Usage.Output,
		TotalTokens: call.Usage.Total(),
		LatencyMs:   time.Since(t.begun).Milliseconds(),
		TTFTMs:      o.ttft.Milliseconds(),
		CostUSD:     call.CostUSD,
		Estimated:   call.Usage.Estimated,
	}
}

// endStream sends the last events, or returns a failure that comes before
// the first byte.
func (t *turn) endStream(o *output, finish string, failure *chaterr.Error, u usage) error {
	started := o.stream.stop()
	last := t.lastEvents(o, finish, failure, u)
	t.free(last...)
	if failure != nil && !started {
		return failure
	}
	if failure != nil {
		t.x.rec.ErrorCode = failure.Code
		chaterr.Log(t.h.log, t.x.rec, failure)
	}
	for _, ev := range last {
		o.stream.send(t.h, ev)
	}
	return nil
}

// lastEvents makes the events that end a turn.
func (t *turn) lastEvents(o *output, finish string, failure *chaterr.Error, u usage) []store.Event {
	var last []store.Event
	if failure != nil {
		last = append(last, o.number(eventError, encode(errorEvent{failure.Code, failure.Message, t.x.rec.TraceID})))
	}
	return append(last, o.number(eventDone, encode(doneEvent{true, finish, u})))
}

func (t *turn) answerDocument(a *answer, o *output, finish string, failure *chaterr.Error, u usage) error {
	t.free(t.lastEvents(o, finish, failure, u)...)
	if failure != nil {
		return failure
	}
	h := t.x.w.Header()
	for name, n := range map[string]int64{
		"X-Tokens-In":     u.TokensIn,
		"X-Tokens-Out":    u.TokensOut,
		"X-Tokens-Total":  u.TotalTokens,
		"X-Ai-Latency-Ms": u.LatencyMs,
	} {
		h.Set(name, strconv.FormatInt(n, 10))
	}
	h.Set("X-Model-Id", u.ModelID)
	return t.x.ok(document{
		Status:       "accepted",
		SessionID:    t.x.rec.Session,
		Message:      a.text.String(),
		FinishReason: finish,
		Usage:        u,
	})
}

// encode renders one of our own types, which cannot fail.
func encode(v any) []byte {
	b, _ := json.Marshal(v)
	return b
}
