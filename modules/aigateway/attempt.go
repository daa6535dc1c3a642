package aigateway

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strconv"
	"time"

	"go.opentelemetry.io/otel/trace"
	"go.uber.org/zap"

	"github.com/caddy-chat/caddy-chat/modules/apierror"
	"github.com/caddy-chat/caddy-chat/modules/author"
	"github.com/caddy-chat/caddy-chat/modules/budget"
	"github.com/caddy-chat/caddy-chat/modules/chat"
	"github.com/caddy-chat/caddy-chat/modules/provider"
	"github.com/caddy-chat/caddy-chat/modules/route"
)

// attempt is one call of one target.
type attempt struct {
	c     *call
	hop   route.Hop
	place int // of the target in call.order
	preq  *provider.Request
	begun time.Time

	ctx    context.Context
	cancel context.CancelCauseFunc
	alone  bool        // it is the call's first attempt, with all of the call's time
	watch  beginWatch  // until the header of a stream, or until a document is whole
	token  beginWatch  // of a stream, until its first content
	stall  *stallWatch // of a stream, after its first content; nil for none
	pass   *route.Pass
	key    *route.KeyPass
	end    func() // decrements the count of running calls
	span   trace.Span
	stream provider.Stream

	// The answer: a stream, a document, or one that passes through.
	relayed  *relayed
	source   source
	document *provider.Completion

	judge    provider.Judge
	usage    *provider.Usage
	produced int         // bytes of output
	output   int         // bytes of output since the last usage from the provider
	chunks   int         // chunks with content since the last usage
	linger   *time.Timer // from the last finish reason on; nil before
	model    string
	finish   string
	result   string // label of the metric; empty until the attempt is over

	// carried estimates the tokens at the beginning of the answer that earlier
	// attempts produced and that this one continues.
	carried int64
}

// circuitError says that a target's circuit stays open for wait.
type circuitError struct{ wait time.Duration }

func (e *circuitError) Error() string { return fmt.Sprintf("its circuit is open for %v", e.wait) }

// enter starts an attempt at a target. The error is a *circuitError if the
// target's circuit or the one of the call's key is open.
func (c *call) enter(place int, hop route.Hop) (*attempt, error) {
	now := time.Now()
	key, wait := c.h.table.EnterKey(keyFor(c.x.Rec.Tenant, hop.Target.Provider), hop.Target.Model, now)
	if key == nil {
		return nil, &circuitError{wait}
	}
	pass, wait := hop.Breaker.Enter(now)
	if pass == nil {
		key.Ended()
		return nil, &circuitError{wait}
	}
	a := &attempt{c: c, hop: hop, place: place, begun: now, pass: pass, key: key, end: hop.Begin(), alone: c.latest == nil}
	a.ctx, a.cancel = context.WithCancelCause(c.ctx)
	a.judge.Choices = c.req.choices
	a.watch = a.watchBegin(c.responseTimeout())
	c.latest = a
	c.info.Attempts++
	c.info.Provider = hop.Target.Provider
	c.x.Rec.SetCall(c.info)
	a.preq = c.providerRequest(hop.Target)
	a.preq.Omit = slices.Concat(hop.Omitted(), c.omitted(hop.Target, true))
	a.ctx, a.span = a.startSpan()
	return a, nil
}

// begin makes the call, and returns once a stream has content or a document is
// complete.
func (a *attempt) begin() error {
	if a.c.req.relayTo != "" {
		return a.beginRelay()
	}
	if !a.c.req.stream {
		return a.callDocument()
	}
	if err := a.open(); err != nil {
		return err
	}
	if a.patient() {
		a.c.out.stream.MayBegin(a.header())
	}
	var err error
	if a.source, err = begins(a, a); err != nil {
		a.c.out.stream.MayBegin(nil)
	}
	return err
}

// patient reports whether the target may be silent for minutes before its first token, so
// that a keep-alive may begin the answer in the meantime.
func (a *attempt) patient() bool { return !a.c.nextInLine() || a.c.thinks(a.hop.Target) }

// header returns what sets the headers of an answer of this attempt.
func (a *attempt) header() func(http.Header) {
	name, attempts, dropped := a.c.info.Provider, strconv.Itoa(a.c.info.Attempts), a.c.dropped(a.preq)
	return func(h http.Header) {
		h.Set("X-Ai-Provider", name)
		h.Set("X-Ai-Attempts", attempts)
		if a.place > 0 {
			h.Set("X-Ai-Fallback", "true")
		}
		chat.AddDropped(h, dropped)
	}
}

// open makes a streaming call, and returns with its response header.
func (a *attempt) open() error {
	if d := a.c.stallTimeout(); d > 0 {
		a.stall = newStallWatch(a.cancel, d, a.c.rescuedBy)
	}
	if a.preq.Refused != nil {
		return a.cause(a.preq.Refused)
	}
	a.preq.BeforeRead = a.beforeRead
	custom := a.functions()
	s, err := a.provider().Stream(a.ctx, a.preq)
	if err != nil {
		return a.cause(err)
	}
	a.stream = custom.Stream(author.Stream(s, a.preq.Model))
	if a.c.req.stream {
		a.watch.stop()
	}
	if d := a.c.firstTokenTimeout(a.hop.Target); d > 0 {
		a.token = a.watchBegin(d)
	}
	return nil
}

// provider returns the target's provider.
func (a *attempt) provider() provider.Provider { return a.c.h.providers[a.hop.Target.Provider] }

// Next returns the next chunk of the stream, and feeds the timeouts and counts
// on the way. An error after the finish reason is an io.EOF, since the answer is
// complete.
func (a *attempt) Next() (*provider.Chunk, error) {
	chunk, err := a.stream.Next()
	switch {
	case err != nil && a.judge.Complete():
		return nil, io.EOF
	case errors.Is(err, io.EOF):
		if err := a.judge.End(); err != nil {
			return nil, err
		}
		return nil, io.EOF
	case err != nil:
		return nil, a.cause(err)
	}
	if err := a.note(&chunk.Facts); err != nil {
		return nil, a.cause(err)
	}
	if a.judge.Said() {
		a.stall.heard()
	}
	return chunk, nil
}

// note updates the attempt with the facts of a chunk or a document. It returns the
// failure that they report.
func (a *attempt) note(f *provider.Facts) error {
	said := a.judge.Said()
	if err := a.judge.Hear(f); err != nil {
		return err
	}
	if !said && a.judge.Said() {
		a.token.stop()
		a.hop.FirstToken(time.Now(), time.Since(a.begun))
		a.answering()
	}
	if f.Content {
		a.chunks++
	}
	a.output += f.OutputBytes
	a.produced += f.OutputBytes
	if f.Usage != nil {
		a.noteUsage(*f.Usage)
	}
	a.model = cmp.Or(f.Model, a.model)
	a.finish = cmp.Or(f.FinishReason, a.finish)
	a.lingers()
	return nil
}

// noteUsage takes a provider's count, as far as it makes sense.
func (a *attempt) noteUsage(u provider.Usage) {
	checked, ok := u.Checked(provider.Spent{
		RequestBytes: len(a.c.req.body),
		Input:        a.c.req.inputTokens,
		OutputBytes:  a.produced,
		OutputCap:    a.c.req.outputCap,
	})
	if !ok && (a.usage == nil || !a.usage.Estimated) {
		a.c.h.log.Warn("a provider's usage makes no sense and is estimated",
			zap.String("provider", a.hop.Target.Provider), zap.String("upstream_model", a.hop.Target.Model),
			zap.Int64("input", u.Input), zap.Int64("output", u.Output), zap.Int("output_bytes", a.produced),
			zap.String("trace_id", a.c.x.Rec.TraceID))
	}
	a.usage, a.output, a.chunks = &checked, 0, 0
}

// lingers ends a finished stream that neither ends nor sends an end mark.
func (a *attempt) lingers() {
	if a.linger == nil && a.stream != nil && a.judge.Complete() {
		a.linger = time.AfterFunc(provider.LingerTimeout, func() { a.cancel(errLingers) })
	}
}

// errLingers ends an attempt whose answer is complete.
var errLingers = errors.New("the stream did not end after its finish reason")

// answering reports to the circuit breakers that the target answers, and remembers
// what it has refused before.
func (a *attempt) answering() {
	if names := a.c.omitted(a.hop.Target, false); len(names) > 0 {
		a.hop.Omit(names)
	}
	if a.pass.Answering() {
		a.logCircuit("a circuit closes: the target answers again")
	}
	if a.key.Accepted() {
		a.logCircuit("a circuit closes: the provider accepts the key again", a.owner())
	}
}

func (a *attempt) logCircuit(message string, more ...zap.Field) {
	fields := []zap.Field{zap.String("provider", a.hop.Target.Provider), zap.String("upstream_model", a.hop.Target.Model)}
	a.c.h.log.Warn(message, append(fields, more...)...)
}

// cause returns why the attempt failed with err, with the secrets removed that
// a provider may repeat. If the attempt was cancelled, the cause takes
// precedence over the error that it led to.
func (a *attempt) cause(err error) error {
	if err != a.preq.Refused { //nolint:errorlint // that is about what the client has sent
		err = a.c.inWordsOf(a.preq, err)
	}
	err = hidden(a.provider(), a.preq, err)
	if cause := context.Cause(a.ctx); cause != nil && !errors.Is(err, cause) {
		return fmt.Errorf("%w: %w", cause, err)
	}
	return err
}

// hidden returns a failure without the secrets that the provider may have repeated.
func hidden(from provider.Provider, preq *provider.Request, err error) error {
	pe, ok := errors.AsType[*provider.Error](err)
	if !ok {
		return err
	}
	if p, ok := from.(provider.Keeper); ok {
		pe.Message, pe.Param, pe.Code = p.Hide(preq, pe.Message), p.Hide(preq, pe.Param), p.Hide(preq, pe.Code)
	}
	return err
}

// over ends the attempt and reports its result. err is nil if it succeeded. Only
// the first call counts.
func (a *attempt) over(err error) {
	if a.result != "" {
		return
	}
	a.watch.stop()
	a.token.stop()
	a.stall.stop()
	if a.linger != nil {
		a.linger.Stop()
	}
	if a.stream != nil {
		a.c.h.app.SkippedChunks(a.hop.Target.Provider, a.stream.Skipped())
		_ = a.stream.Close()
	}
	if a.relayed != nil {
		_ = a.relayed.Body.Close()
	}
	a.result = a.resultOf(err)
	switch {
	case a.result == chat.AttemptOK:
		a.pass.Succeeded()
	case a.result != chat.AttemptAborted && countsAgainstTarget(err):
		a.slow()
		if a.pass.Failed(time.Now()) {
			a.logCircuit("a circuit opens: the target is not called for a while")
		}
	}
	a.keyRefused(err)
	a.pass.Ended()
	a.key.Ended()
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

// failureLatency is the minimum latency that lowest_latency counts for a failed
// call, so that a target which fails at once does not look fast.
const failureLatency = time.Second

// slow counts a failure before the first token as latency of the target.
func (a *attempt) slow() {
	if !a.judge.Said() {
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

// isOurs reports whether this server caused the failure, such as its store.
func isOurs(err error) bool {
	_, ours := errors.AsType[*apierror.Error](err)
	return ours
}

// countsAgainstTarget reports whether the circuit breaker counts a failure, as
// one that other calls would meet too. Rate limits and bad requests do not
// count, nor does a lack of time, which earlier targets have used up.
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

// used returns the tokens that the answer used up to now, as the provider
// counted them or by estimate.
func (a *attempt) used() provider.Usage {
	u, _ := a.counted()
	if a.carried > 0 {
		// this attempt got the beginning as input; the answer has it as output
		u.Input = max(u.Input-a.carried, 0)
		u.Output += a.carried
		u.Estimated = true
	}
	return u
}

// counted returns the tokens that this attempt used: what its provider counted,
// plus an estimate of the output since. ok is false if there is no sign that it
// used any.
func (a *attempt) counted() (u provider.Usage, ok bool) {
	more := a.uncounted()
	if a.usage == nil {
		return provider.Usage{Input: a.c.req.inputTokens, Output: more, Estimated: true}, a.judge.Said() || a.result == chat.AttemptOK
	}
	u = *a.usage
	u.Output += more
	u.Estimated = u.Estimated || more > 0
	return u, true
}

// uncounted estimates the output tokens since the provider's last usage, which
// some send at the beginning and some never. An estimate just above the
// request's cap is lowered to it; one far above means that the provider ignores
// the cap.
func (a *attempt) uncounted() int64 {
	n, most := provider.EstimateTokens(a.output), a.c.req.outputCap
	if n > most && n < 2*most {
		// the estimate is a little too high: the provider keeps to the cap
		n = most
	}
	return max(n, int64(a.chunks)) // a chunk is at least a token
}

// reasonOf returns the reason of a provider's failure. Any other error counts as
// an unavailable provider.
func reasonOf(err error) provider.Reason {
	if pe, ok := errors.AsType[*provider.Error](err); ok {
		return pe.Reason
	}
	return provider.ReasonUnavailable
}
