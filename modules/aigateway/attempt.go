package aigateway

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"go.opentelemetry.io/otel/trace"
	"go.uber.org/zap"

	"github.com/caddy-chat/caddy-chat/modules/apierror"
	"github.com/caddy-chat/caddy-chat/modules/budget"
	"github.com/caddy-chat/caddy-chat/modules/chat"
	"github.com/caddy-chat/caddy-chat/modules/provider"
	"github.com/caddy-chat/caddy-chat/modules/route"
)

// attempt is one call of one target.
type attempt struct {
	c     *call
	hop   route.Hop
	place int // of the target in the order in which they are tried
	preq  *provider.Request
	begun time.Time

	ctx    context.Context
	cancel context.CancelCauseFunc
	watch  beginWatch  // until there is content
	stall  *stallWatch // of a stream, from then on
	pass   *route.Pass
	end    func() // of the count of calls under way
	span   trace.Span
	stream provider.Stream

	// What the attempt has begun to answer with: a stream, or a document.
	source   source
	document *provider.Completion

	content bool // the model has produced something, or finished
	usage   *provider.Usage
	output  int // bytes that were produced since the provider counted
	chunks  int // chunks with content since then
	model   string
	finish  string
	result  string // as the metric has it; empty until the attempt is over

	// carried is the estimate of the answer's begin that another attempt
	// produced and that this one goes on with.
	carried int64
}

// circuitError is a target that is left alone, for this long still.
type circuitError struct{ wait time.Duration }

func (e *circuitError) Error() string { return fmt.Sprintf("its circuit is open for %v", e.wait) }

// enter makes an attempt at a target. The error is a *circuitError where its
// circuit is open.
func (c *call) enter(place int, hop route.Hop) (*attempt, error) {
	now := time.Now()
	pass, wait := hop.Breaker.Enter(now)
	if pass == nil {
		return nil, &circuitError{wait}
	}
	a := &attempt{c: c, hop: hop, place: place, begun: now, pass: pass, end: hop.Begin()}
	a.ctx, a.cancel = context.WithCancelCause(c.ctx)
	a.watch = watchBegin(a.cancel, c.patience(c.h.ResponseTimeout), c.deadline)
	c.info.Attempts++
	c.info.Provider = hop.Target.Provider
	c.x.Rec.SetCall(c.info)
	a.preq = c.providerRequest(hop.Target)
	a.ctx, a.span = a.startSpan()
	return a, nil
}

// begin makes the call, and returns once the answer has begun: a stream with
// content, a document when it is whole.
func (a *attempt) begin() error {
	if !a.c.req.stream {
		return a.callDocument()
	}
	if err := a.open(); err != nil {
		return err
	}
	var err error
	a.source, err = begins(a, a)
	return err
}

// open calls for a stream.
func (a *attempt) open() error {
	a.stall = newStallWatch(a.cancel, time.Duration(a.c.h.StallTimeout))
	a.preq.BeforeRead = a.beforeRead
	s, err := a.provider().Stream(a.ctx, a.preq)
	if err != nil {
		return a.cause(err)
	}
	a.stream = s
	a.watch.extend(a.c.patience(a.c.h.FirstTokenTimeout))
	return nil
}

// provider is the target's.
func (a *attempt) provider() provider.Provider { return a.c.h.providers[a.hop.Target.Provider] }

// Next returns the next chunk of the stream. An attempt is a stream itself,
// one that keeps watch over the target. What ends it behind its finish reason
// takes nothing away.
func (a *attempt) Next() (*provider.Chunk, error) {
	chunk, err := a.stream.Next()
	switch {
	case errors.Is(err, io.EOF), err != nil && a.finish != "" && a.c.req.choices == 1:
		return nil, io.EOF
	case err != nil:
		return nil, a.cause(err)
	}
	a.note(&chunk.Facts)
	if a.content {
		a.stall.heard()
	}
	return chunk, nil
}

// note takes in what a chunk or a document says.
func (a *attempt) note(f *provider.Facts) {
	if !a.content && (f.Content || f.FinishReason != "") {
		a.content = true
		a.watch.stop()
		a.hop.FirstToken(time.Now(), time.Since(a.begun))
		a.answering()
	}
	if f.Content {
		a.chunks++
	}
	a.output += f.OutputBytes
	if f.Usage != nil {
		a.usage, a.output, a.chunks = f.Usage, 0, 0
	}
	a.model = cmp.Or(f.Model, a.model)
	a.finish = cmp.Or(f.FinishReason, a.finish)
}

// answering tells the circuit that the target answers again.
func (a *attempt) answering() {
	if a.pass.Answering() {
		a.logCircuit("a circuit closes: the target answers again")
	}
}

func (a *attempt) logCircuit(message string) {
	a.c.h.log.Warn(message, zap.String("provider", a.hop.Target.Provider), zap.String("upstream_model", a.hop.Target.Model))
}

// cause is why the attempt failed with err, without the secrets that a
// provider may repeat: what ended it from here weighs more than what the
// provider made of it.
func (a *attempt) cause(err error) error {
	if pe, ok := errors.AsType[*provider.Error](err); ok {
		if p, ok := a.provider().(provider.Keeper); ok {
			pe.Message = p.Hide(a.preq, pe.Message)
		}
	}
	if cause := context.Cause(a.ctx); cause != nil && !errors.Is(err, cause) {
		return fmt.Errorf("%w: %w", cause, err)
	}
	return err
}

// over ends the attempt, with the error that it failed with if any.
func (a *attempt) over(err error) {
	if a.result != "" {
		return
	}
	a.watch.stop()
	if a.stall != nil {
		a.stall.stop()
	}
	if a.stream != nil {
		a.c.h.app.SkippedChunks(a.hop.Target.Provider, a.stream.Skipped())
		_ = a.stream.Close()
	}
	a.result = a.resultOf(err)
	switch {
	case a.result == chat.AttemptOK:
		a.pass.Succeeded()
	case a.result != chat.AttemptAborted && countsAgainstTarget(err):
		a.slow()
		if a.pass.Failed(time.Now()) {
			a.logCircuit("a circuit opens: the target is left alone for a while")
		}
	}
	a.pass.Ended()
	a.end()
	a.cancel(nil)
	a.endSpan(err)
	if reasonOf(err) == provider.ReasonUnsupported {
		a.c.info.Attempts-- // nothing was called
	} else {
		a.c.h.app.Attempted(a.hop.Target.Provider, a.c.choice.Label, a.result)
	}
	if err != nil && a.c.ctx.Err() == nil && !errors.Is(err, budget.ErrExhausted) {
		a.c.h.log.Warn("a model call failed",
			zap.String("provider", a.hop.Target.Provider), zap.String("upstream_model", a.hop.Target.Model),
			zap.Int("attempt", a.c.info.Attempts), zap.String("result", a.result),
			zap.String("trace_id", a.c.x.Rec.TraceID), zap.String("tenant", a.c.x.Rec.TenantID()), zap.Error(err))
	}
}

// failureLatency is the least that a failed call is taken to have lasted by
// who looks for the quickest target: one that fails at once is none.
const failureLatency = time.Second

// slow notes that the target failed before its first token.
func (a *attempt) slow() {
	if !a.content {
		a.hop.FirstToken(time.Now(), max(time.Since(a.begun), failureLatency))
	}
}

func (a *attempt) resultOf(err error) string {
	switch {
	case err == nil:
		return chat.AttemptOK
	case errors.Is(err, errSilent), errors.Is(err, errOutOfTime):
		return chat.AttemptTimeout
	case a.c.ctx.Err() != nil, errors.Is(err, errDiverged), errors.Is(err, budget.ErrExhausted), isOurs(err):
		return chat.AttemptAborted
	case reasonOf(err) == provider.ReasonRateLimited:
		return chat.AttemptRateLimited
	}
	return chat.AttemptError
}

// isOurs says whether a failure is of this server's own making, such as one of
// its store.
func isOurs(err error) bool {
	_, ours := errors.AsType[*apierror.Error](err)
	return ours
}

// countsAgainstTarget says whether a failure is the target's own, which other
// calls would meet as well. A rate limit and a bad request are not, nor is a
// lack of time that earlier targets have used up.
func countsAgainstTarget(err error) bool {
	if errors.Is(err, errOutOfTime) {
		return false
	}
	if errors.Is(err, errSilent) || errors.Is(err, provider.ErrCut) {
		return true
	}
	reason := reasonOf(err)
	return reason == provider.ReasonUnavailable || reason == provider.ReasonBadAnswer
}

// used is what the attempt used of tokens for the answer: what the provider
// counted, or else an estimate.
func (a *attempt) used() provider.Usage {
	u, _ := a.counted()
	if a.carried > 0 {
		// the begin was part of what this attempt was asked with
		u.Input = max(u.Input-a.carried, 0)
		u.Output += a.carried
		u.Estimated = true
	}
	return u
}

// counted is what this one call used of tokens: what its provider counted,
// and an estimate of what has come since. ok is false where nothing says that it
// used any.
func (a *attempt) counted() (u provider.Usage, ok bool) {
	more := a.uncounted()
	if a.usage == nil {
		return provider.Usage{Input: a.c.req.inputTokens, Output: more, Estimated: true}, a.content || a.result == chat.AttemptOK
	}
	u = *a.usage
	u.Output += more
	u.Estimated = u.Estimated || more > 0
	return u, true
}

// uncounted is an estimate of what was produced since the provider counted,
// which some do as they begin. Where it counts nothing, that is everything. A
// provider that goes on far beyond the request's cap does not know it.
func (a *attempt) uncounted() int64 {
	n, most := provider.EstimateTokens(a.output), a.c.req.outputCap
	if n > most && n < 2*most {
		// a guess that is a little too high: the provider keeps to the cap
		n = most
	}
	return max(n, int64(a.chunks)) // a chunk is at least a token
}

// reasonOf is the reason of a provider's failure. An error that is none of
// the provider's own is taken for an unavailable one.
func reasonOf(err error) provider.Reason {
	if pe, ok := errors.AsType[*provider.Error](err); ok {
		return pe.Reason
	}
	return provider.ReasonUnavailable
}
