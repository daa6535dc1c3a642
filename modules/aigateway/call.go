package aigateway

import (
	"context"
	"errors"
	"net/http"
	"slices"
	"strconv"
	"time"

	"github.com/caddy-chat/caddy-chat/modules/apierror"
	"github.com/caddy-chat/caddy-chat/modules/chat"
	"github.com/caddy-chat/caddy-chat/modules/door"
	"github.com/caddy-chat/caddy-chat/modules/provider"
	"github.com/caddy-chat/caddy-chat/modules/record"
	"github.com/caddy-chat/caddy-chat/modules/route"
)

// errClientGone cancels a call when its answer can no longer be written.
var errClientGone = errors.New("the client is gone")

// errPanicked ends a call that a panic has broken off.
var errPanicked = errors.New("the call was broken off by a panic")

// call is one model call for one request. It may take several attempts.
type call struct {
	h        *Handler
	x        *chat.Exchange
	req      *request
	choice   route.Choice
	order    []route.Hop
	line     []route.Hop // those to try after the current one
	given    Timeouts    // the model's, else the handler's
	info     record.Call // as last set in the record
	begun    time.Time
	deadline time.Time // for the answer to begin

	ctx    context.Context
	cancel context.CancelCauseFunc

	meter     meter
	out       *chunkWriter // of a stream; nil before it begins
	answering *attempt     // whose answer the client gets; nil before one begins
	latest    *attempt     // the last one that was made; nil before the first
	stage     stage
	settled   bool
	rescued   map[rescueWay]bool
	refusals  map[route.Target][]refusal
	rescuedBy time.Time // when a rescue has to answer; zero before one

	// otherwise says that an attempt has failed for another reason than too much work
	// of its provider. Only without one does the client hear of that.
	otherwise bool
}

// stage is the progress of the answer to the client.
type stage int

const (
	stageWaiting stage = iota // nothing has been sent
	stageBegun                // the header was written
	stageFailed               // the failure was reported within the stream
	stageTorn                 // the answer ends without its end
)

// call answers a request with one model call.
func (h *Handler) call(x *chat.Exchange, req *request, choice route.Choice) error {
	c := h.newCall(x, req, choice)
	defer c.end()

	if err := c.reserve(); err != nil {
		return err
	}
	if before := x.Rec.BeforeCall; before != nil {
		if err := before(); err != nil {
			c.settle(err)
			return err
		}
	}
	var err error
	switch {
	case req.relayTo != "":
		err = c.relay()
	case req.stream:
		err = c.stream()
	default:
		err = c.document()
	}
	c.settle(err)
	return c.answered(err)
}

func (h *Handler) newCall(x *chat.Exchange, req *request, choice route.Choice) *call {
	c := &call{h: h, x: x, req: req, choice: choice, begun: time.Now()}
	c.order = choice.Order(c.begun)
	c.given = h.Timeouts
	if m := h.alias(choice); m != nil {
		c.given = m.or(h.Timeouts)
	}
	c.deadline = c.begun.Add(c.tryDuration())
	c.ctx, c.cancel = chat.CallContext(x.R.Context(), req.stream)
	c.meter.used = provider.Usage{Input: req.inputTokens, Estimated: true}
	c.info = record.Call{Model: choice.Name, Provider: c.order[0].Target.Provider}
	x.Rec.SetCall(c.info)
	return c
}

// end lets go of what the call holds. A call that has not been settled was
// broken off by a panic, of a provider for instance.
func (c *call) end() {
	if c.latest != nil && !c.settled {
		c.latest.over(errPanicked)
		c.settle(errPanicked)
	}
	c.cancel(nil)
	c.meter.close()
}

// answered returns the error that is still to be answered after a call ended
// with err; nil if the answer is complete or reported the failure itself.
func (c *call) answered(err error) error {
	if err == nil || c.stage == stageFailed {
		return nil
	}
	if c.stage == stageTorn {
		return http.ErrAbortHandler
	}
	c.x.SetHeader("X-Ai-Attempts", strconv.Itoa(c.info.Attempts))
	return err
}

// providerRequest returns the request to a target.
func (c *call) providerRequest(target route.Target) *provider.Request {
	rec := c.x.Rec
	preq := &provider.Request{
		Model:      target.Model,
		Body:       c.req.body,
		Form:       c.req.form,
		TraceID:    rec.TraceID,
		Translated: rec.Translated || c.req.translated,
		Dropped:    slices.Clone(c.req.dropped),
		Labels: provider.Labels{
			TenantID:  rec.TenantID(),
			SessionID: rec.Session,
			Route:     c.choice.Name,
		},
	}
	if c.req.unnamed {
		preq.Model = ""
	}
	c.throughDoor(preq, target)
	c.askFor(preq, target)
	if rec.User != record.Anonymous {
		preq.Labels.UserID = rec.User
	}
	if t := rec.Tenant; t != nil {
		preq.APIKey = t.Credentials[target.Provider]
	}
	return preq
}

// answers makes a the attempt whose answer the client gets.
func (c *call) answers(a *attempt) {
	c.answering = a
	if r, ok := c.req.door.(door.Repeater); ok {
		r.Without(c.dropped(a.preq))
	}
	c.info.Provider = a.hop.Target.Provider
	if c.info.TTFT == 0 {
		c.info.TTFT = time.Since(c.begun)
	}
	c.x.Rec.SetCall(c.info)
}

// begin sets the answer's headers, for the caller to write.
func (c *call) begin() {
	c.stage = stageBegun
	c.answering.header()(c.x.W.Header())
}

// failed turns the error of a call into the one to answer. If the call was
// cancelled, the cause takes precedence over the provider's error, which only
// follows from it.
func (c *call) failed(err error) error {
	if e := apierror.Ended(c.ctx); e != nil {
		return e.Because(err)
	}
	switch {
	case c.ctx.Err() != nil:
		return context.Canceled
	case errors.Is(err, errSilent), errors.Is(err, errOutOfTime):
		return apierror.AITimeout().Because(err)
	}
	if isOurs(err) {
		return err
	}
	if e, ok := errors.AsType[*circuitError](err); ok {
		return apierror.AIUnavailable(e.wait)
	}
	if reasonOf(err) == provider.ReasonModel && c.choice.Label == route.Passthrough {
		return apierror.ModelUnknown().Because(err)
	}
	if isOverloaded(err) && c.otherwise {
		return apierror.AIError().Because(err)
	}
	return apierror.FromProvider(err)
}

// used returns the tokens that the answer used; zero without an answer.
func (c *call) used() provider.Usage {
	switch {
	case c.answering == nil:
		return provider.Usage{}
	case c.meter.ended:
		return c.meter.used
	}
	return c.answering.used()
}

// settle records what the call used, and charges it to the budgets.
func (c *call) settle(err error) {
	c.settled = true
	if c.answering != nil {
		c.answering.over(err)
		c.info.Usage = c.used()
		c.cost(c.info.Usage)
	}
	c.x.Rec.SetCall(c.info)
	c.account()

	status := http.StatusOK
	if err != nil && c.stage == stageWaiting {
		status = apierror.From(err).Status
	}
	c.h.app.Called(c.x.Rec.TenantID(), c.choice.Label, strconv.Itoa(status), c.info, time.Since(c.begun))
}
