package aigateway

import (
	"context"
	"errors"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/caddyserver/caddy/v2"

	"github.com/caddy-chat/caddy-chat/modules/apierror"
	"github.com/caddy-chat/caddy-chat/modules/budget"
	"github.com/caddy-chat/caddy-chat/modules/chat"
	"github.com/caddy-chat/caddy-chat/modules/provider"
	"github.com/caddy-chat/caddy-chat/modules/record"
	"github.com/caddy-chat/caddy-chat/modules/route"
)

// errClientGone ends a call whose answer nobody reads.
var errClientGone = errors.New("the client is gone")

// call is one model call on behalf of one request. It may take several
// attempts.
type call struct {
	h        *Handler
	x        *exchange
	req      *request
	choice   route.Choice
	order    []route.Hop
	info     record.Call // what the record is told
	begun    time.Time
	deadline time.Time // for an answer to have begun

	ctx    context.Context
	cancel context.CancelCauseFunc

	hold    *budget.Hold   // of the tenant's budgets; nil where nothing counts
	metered provider.Usage // as far as the budgets let the answer go
	release func()         // lets go of the store that keeps it; nil where it was not needed

	uncounted bool     // the answer has been ended because nobody can count more of it
	answering *attempt // whose answer the client gets; nil until there is one
	underway  bool     // the answer has begun, and well
	told      bool     // the client has been told of the failure, in the stream
	rescued   map[rescueWay]bool
}

// chat serves POST /v1/chat/completions.
func (h *Handler) chat(x *exchange) error {
	req, err := h.readRequest(x)
	if err != nil {
		return err
	}
	if req.stream {
		return h.call(x, req, (*call).stream)
	}
	return h.call(x, req, (*call).complete)
}

// call has a request answered, by a call of its model where nobody has made
// that before.
func (h *Handler) call(x *exchange, req *request, answer func(*call) error) error {
	choice, err := h.choose(x, req)
	if err != nil {
		return err
	}
	x.rec.SetCall(record.Call{Model: choice.Name})
	// by the record, since a keep-alive may begin the answer before the model does
	x.rec.SetHeader(x.w, "X-Model-Id", choice.Name)
	return h.answer(x, req, choice, func(x *exchange) error {
		c := h.newCall(x, req, choice)
		defer c.end()
		if err := c.reserve(); err != nil {
			return err
		}
		err := answer(c)
		c.settle(err)
		if c.told {
			return nil
		}
		if err != nil {
			x.rec.SetHeader(x.w, "X-Ai-Attempts", strconv.Itoa(c.info.Attempts))
		}
		return err
	})
}

func (h *Handler) newCall(x *exchange, req *request, choice route.Choice) *call {
	c := &call{h: h, x: x, req: req, choice: choice, begun: time.Now()}
	c.order = choice.Order(c.begun)
	c.deadline = c.begun.Add(time.Duration(h.TryDuration))
	c.ctx, c.cancel = chat.CallContext(x.r.Context(), req.stream)
	c.metered = provider.Usage{Input: req.inputTokens, Estimated: true}
	c.info = record.Call{Model: choice.Name, Provider: c.order[0].Target.Provider}
	x.rec.SetCall(c.info)
	return c
}

func (c *call) end() {
	c.cancel(nil)
	if c.release != nil {
		c.release()
	}
}

// patience is how long to wait for something before the answer has begun.
func (c *call) patience(timeout caddy.Duration) time.Duration {
	return min(time.Duration(timeout), time.Until(c.deadline))
}

// providerRequest is what to ask a target.
func (c *call) providerRequest(target route.Target) *provider.Request {
	rec := c.x.rec
	preq := &provider.Request{
		Model:   target.Model,
		Body:    c.req.body,
		TraceID: rec.TraceID,
		Labels: provider.Labels{
			TenantID:  rec.TenantID(),
			SessionID: rec.Session,
			Route:     c.choice.Name,
		},
	}
	if rec.User != record.Anonymous {
		preq.Labels.UserID = rec.User
	}
	if t := rec.Tenant; t != nil {
		preq.APIKey = t.Credentials[target.Provider]
	}
	return preq
}

// complete makes a call whose answer is one document.
func (c *call) complete() error {
	return c.document(func(a *attempt) (*provider.Completion, error) {
		if !c.hold.Bounded() {
			return a.assemble()
		}
		return a.complete(func(ctx context.Context, p provider.Provider) (*provider.Completion, error) {
			return p.Complete(ctx, a.preq)
		})
	}, c.withUsage)
}

// document makes a call by do, and answers with the document that it returns
// once finish has seen to it.
func (c *call) document(do func(*attempt) (*provider.Completion, error), finish func([]byte) []byte) error {
	var answer *provider.Completion
	a, err := c.try(func(a *attempt) (err error) {
		answer, err = do(a)
		return err
	})
	if err != nil {
		return err
	}
	a.over(nil)
	c.answers(a)
	body := finish(answer.Body)
	c.setHeaders()
	h := c.x.w.Header()
	h.Set("Content-Type", "application/json")
	h.Set("Content-Length", strconv.Itoa(len(body)))
	c.x.w.WriteHeader(http.StatusOK)
	// a client that has gone is no failure of the call
	_, _ = c.x.w.Write(body)
	return nil
}

// answers says whose answer the client gets from now on.
func (c *call) answers(a *attempt) {
	c.answering = a
	c.info.Provider = a.hop.Target.Provider
	if c.info.TTFT == 0 {
		c.info.TTFT = time.Since(c.begun)
	}
	c.x.rec.SetCall(c.info)
}

// setHeaders says who answers, as the answer begins.
func (c *call) setHeaders() {
	c.underway = true
	h := c.x.w.Header()
	h.Set("X-Ai-Provider", c.info.Provider)
	h.Set("X-Ai-Attempts", strconv.Itoa(c.info.Attempts))
	if c.answering.place > 0 {
		h.Set("X-Ai-Fallback", "true")
	}
	if dropped := c.answering.preq.Dropped; len(dropped) > 0 {
		h.Set("X-Ai-Dropped", strings.Join(dropped, ", "))
	}
}

// failed turns the error of a call into one to answer. What ended the call
// from here weighs more than what the provider made of it.
func (c *call) failed(err error) error {
	cause := context.Cause(c.ctx)
	switch {
	case errors.Is(cause, chat.ErrShuttingDown):
		return apierror.ShuttingDown().Because(err)
	case cause != nil:
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
	return apierror.FromProvider(err)
}

// used is what was used for the answer.
func (c *call) used() provider.Usage {
	switch {
	case c.answering == nil:
		return provider.Usage{}
	case c.info.BudgetSpent, c.uncounted:
		return c.metered
	}
	return c.answering.used()
}

// settle notes what the call used, and counts it.
func (c *call) settle(err error) {
	rec := c.x.rec
	if c.answering != nil {
		c.answering.over(err)
		c.info.Usage = c.used()
		c.cost(c.info.Usage)
	}
	rec.SetCall(c.info)
	c.account()

	status := http.StatusOK
	if err != nil && !c.underway {
		status = apierror.From(err).Status
	}
	c.h.app.Called(rec.TenantID(), c.choice.Label, strconv.Itoa(status), c.info, time.Since(c.begun))
}
