package chatsession

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"strconv"
	"time"

	"github.com/caddy-chat/caddy-chat/modules/apierror"
	"github.com/caddy-chat/caddy-chat/modules/chat"
	"github.com/caddy-chat/caddy-chat/modules/provider"
	"github.com/caddy-chat/caddy-chat/modules/store"
)

// The finish reasons that are ours and not a model's.
const (
	finishStop      = "stop"
	finishError     = "error"
	finishCancelled = "cancelled"
	finishBudget    = "budget"
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

type document struct {
	Status       string `json:"status"`
	SessionID    string `json:"sessionId"`
	Stream       bool   `json:"stream"`
	Message      string `json:"message"`
	FinishReason string `json:"finishReason"`
	Usage        usage  `json:"usage"`
}

// ending is how a turn ended.
type ending struct {
	finish  string
	failure *apierror.Error // nil where all went well
	usage   usage
	message *store.Message // the stored answer; nil where there is none

	// unstored says that the failure is the store's: the answer is there, and
	// is not kept.
	unstored bool
}

// settle stores what the model answered, frees the session, and only then
// tells the client: one that has seen the end finds the answer in the
// history, and may go on at once.
func (t *turn) settle(a *answer, o *output) error {
	e := t.conclude(a, o)
	started := o.stream != nil && o.stream.Stop()
	last := t.lastEvents(o, e)
	t.keepAnswer(a, e, started)
	t.x.holdEnd()
	t.free(last...)
	switch {
	case e.failure != nil && !started:
		return e.failure
	case o.stream == nil:
		return t.x.document(a.text.String(), e.finish, e.usage)
	default:
		t.endStream(o, e, last)
		return nil
	}
}

// conclude stores what the model answered, or takes the question back.
func (t *turn) conclude(a *answer, o *output) ending {
	var e ending
	e.finish, e.failure = t.outcome(a)
	e.usage = t.usage(a, o)

	status := store.StatusComplete
	if e.failure != nil || e.finish == finishCancelled || e.finish == finishBudget {
		status = store.StatusPartial
	}
	if status == store.StatusComplete || !a.empty() {
		var err error
		if e.message, err = t.storeAnswer(a, status, e.usage); err != nil {
			e.finish, e.failure, e.unstored = finishError, apierror.From(err), true
		}
	}
	if e.failure != nil && e.failure.Status < http.StatusInternalServerError && a.empty() {
		t.retract()
	}
	return e
}

// outcome says how the turn ended: with which finish reason, and with which
// failure if any. Why the turn was ended weighs more than what the next
// handler made of it.
func (t *turn) outcome(a *answer) (finish string, failure *apierror.Error) {
	cause := context.Cause(t.ctx)
	switch {
	case a.failure == nil && t.x.Rec.Call.BudgetSpent:
		return finishBudget, nil
	case a.failure == nil && a.finish != "":
		return a.finish, nil
	case a.failure == nil:
		return finishStop, nil
	case errors.Is(cause, chat.ErrShuttingDown):
		return finishError, apierror.ShuttingDown()
	case cause != nil:
		return finishCancelled, nil
	default:
		return finishError, a.failure
	}
}

// usage gathers what the answer cost, from the gateway where it took part,
// else from the answer itself, else by estimate.
func (t *turn) usage(a *answer, o *output) usage {
	call := t.x.Rec.Call
	if call.Provider == "" {
		call.Model = a.modelID(t.asked)
		call.Attempts = a.attempts()
		call.TTFT = o.ttft
		call.Usage = provider.Usage{Input: t.tokensIn, Output: provider.EstimateTokens(a.bytes), Estimated: true}
		if a.usage != nil {
			call.Usage = *a.usage
		}
		t.x.Rec.SetCall(call)
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

// stands says whether an answer is the one for good: a client that comes back
// for it gets it again. One that failed before any text is not, nor one that
// ended for a reason that has nothing to do with the question.
func (t *turn) stands(a *answer, e ending, started bool) bool {
	cause := context.Cause(t.ctx)
	switch {
	case e.failure != nil:
		return started && !a.empty() && !errors.Is(cause, chat.ErrShuttingDown)
	case e.finish == finishCancelled:
		return errors.Is(cause, errCancelled)
	default:
		return true
	}
}

// endStream sends the last events.
func (t *turn) endStream(o *output, e ending, last []store.Event) {
	if e.failure != nil {
		t.x.Rec.ErrorCode = e.failure.Code
		apierror.Log(t.h.log, t.x.Rec, e.failure)
	}
	o.stream.send(last...)
}

// lastEvents makes the events that end a turn.
func (t *turn) lastEvents(o *output, e ending) []store.Event {
	var last []store.Event
	if e.failure != nil {
		last = append(last, o.number(eventError, encode(errorEvent{e.failure.Code, e.failure.Message, t.x.Rec.TraceID})))
	}
	return append(last, o.number(eventDone, encode(doneEvent{true, e.finish, e.usage})))
}

// document answers with a whole answer.
func (x *exchange) document(text, finish string, u usage) error {
	h := x.W.Header()
	for name, n := range map[string]int64{
		"X-Tokens-In":     u.TokensIn,
		"X-Tokens-Out":    u.TokensOut,
		"X-Tokens-Total":  u.TotalTokens,
		"X-Ai-Latency-Ms": u.LatencyMs,
	} {
		h.Set(name, strconv.FormatInt(n, 10))
	}
	h.Set("X-Model-Id", u.ModelID)
	return x.OK(document{
		Status:       "accepted",
		SessionID:    x.Rec.Session,
		Message:      text,
		FinishReason: finish,
		Usage:        u,
	})
}

// encode renders one of our own types, which cannot fail.
func encode(v any) []byte {
	b, _ := json.Marshal(v)
	return b
}
