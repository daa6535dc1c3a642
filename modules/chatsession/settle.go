package chatsession

import (
	"context"
	"errors"
	"net/http"
	"strconv"
	"time"

	"github.com/caddy-chat/caddy-chat/modules/apierror"
	"github.com/caddy-chat/caddy-chat/modules/chat"
	"github.com/caddy-chat/caddy-chat/modules/price"
	"github.com/caddy-chat/caddy-chat/modules/provider"
	"github.com/caddy-chat/caddy-chat/modules/store"
)

// Finish reasons that this handler sets itself.
const (
	finishStop      = "stop"
	finishError     = "error"
	finishCancelled = "cancelled"
	finishBudget    = "budget"
)

// usage is what an answer cost, as the client sees it.
type usage struct {
	ModelID     string        `json:"modelId"`
	TokensIn    int64         `json:"tokensIn"`
	TokensOut   int64         `json:"tokensOut"`
	TotalTokens int64         `json:"totalTokens"`
	LatencyMs   int64         `json:"latencyMs"`
	TTFTMs      int64         `json:"ttftMs"`
	CostUSD     price.Dollars `json:"costUsd"`
	Estimated   bool          `json:"estimated"`
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
	failure *apierror.Error // nil on success
	usage   usage
	message *store.Message // the stored answer; nil if none was stored
	last    *store.Message // the last stored message of the turn; nil without one

	// unstored says that there is an answer but the store failed to keep it.
	unstored bool
}

// settle stores the answer and frees the session before it sends the end. So a
// client that has seen the end finds the answer in the history and can send its
// next message at once.
func (t *turn) settle(a *answer, o *output) error {
	e := t.conclude(a, o)
	started := o.stream != nil && o.stream.Stop()
	last := t.lastEvents(o, e)
	t.keepAnswer(a, e, started)
	t.holdEnd()
	t.free(o.published(last, e.usage)...)
	switch {
	case e.failure != nil && !started:
		return e.failure
	case o.stream == nil:
		return sendDocument(t.x, a.text.String(), e.finish, e.usage)
	default:
		t.endStream(o, e, last)
		return nil
	}
}

// conclude stores the answer, or deletes the question if it was refused.
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
	e.last = e.message
	if e.failure != nil && e.failure.Status < http.StatusInternalServerError && a.empty() && apierror.Ended(t.ctx) == nil {
		t.retract()
	} else if e.last == nil && len(t.stored) > 0 {
		e.last = t.stored[len(t.stored)-1]
	}
	if t.kept != nil {
		t.kept.ended(e)
	}
	return e
}

// outcome returns the finish reason of the turn, and its failure if any. If the
// turn was cancelled, the cause takes precedence over the next handler's error.
func (t *turn) outcome(a *answer) (finish string, failure *apierror.Error) {
	switch {
	case a.failure == nil && t.x.Rec.Call.BudgetSpent:
		return finishBudget, nil
	case a.failure == nil && a.finish != "":
		return a.finish, nil
	case a.failure == nil:
		return finishStop, nil
	case apierror.Ended(t.ctx) != nil:
		return finishError, apierror.Ended(t.ctx)
	case t.ctx.Err() != nil:
		return finishCancelled, nil
	default:
		return finishError, a.failure
	}
}

// usage returns what the answer cost: by ai_gateway's count if it answered, else
// by the answer's own usage, else by estimate.
func (t *turn) usage(a *answer, o *output) usage {
	call := t.x.Rec.Call
	if call.Provider == "" {
		call.Model = a.modelID(t.asked)
		call.Attempts = a.attempts()
		call.TTFT = o.ttft
		call.Usage = provider.Usage{Input: t.tokensIn, Output: provider.EstimateTokens(a.bytes), Estimated: true}
		if a.usage != nil {
			call.Usage, _ = a.usage.Checked(provider.Spent{
				RequestBytes: t.sent, Input: t.tokensIn, OutputBytes: a.bytes,
			})
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
		CostUSD:     price.Dollars(call.CostUSD),
		Estimated:   call.Usage.Estimated,
	}
}

// stands reports whether the answer is final, so that a repeated Idempotency-Key
// gets it again. It is not if it failed before any text, or if it ended because
// the client left, the process shut down or the tenant is gone.
func (t *turn) stands(a *answer, e ending, started bool) bool {
	switch {
	case e.failure != nil:
		return started && !a.empty() && apierror.Ended(t.ctx) == nil
	case e.finish == finishCancelled:
		return errors.Is(context.Cause(t.ctx), errCancelled)
	default:
		return true
	}
}

// endStream logs a failure and sends the last events.
func (t *turn) endStream(o *output, e ending, last []store.Event) {
	if e.failure != nil {
		t.x.Rec.ErrorCode = e.failure.Code
		apierror.Log(t.h.log, t.x.Rec, e.failure)
	}
	o.stream.send(last...)
}

// lastEvents returns the events that end a turn.
func (t *turn) lastEvents(o *output, e ending) []store.Event {
	var last []store.Event
	if e.failure != nil {
		last = append(last, o.number(eventError, provider.Encode(errorEvent{e.failure.Code, e.failure.Message, t.x.Rec.TraceID})))
	}
	return append(last, o.number(eventDone, provider.Encode(doneEvent{true, e.finish, e.usage})))
}

// sendDocument answers with one JSON document.
func sendDocument(x *chat.Exchange, text, finish string, u usage) error {
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
