package aigateway

import (
	"context"
	"errors"
	"net/http"
	"strconv"
	"time"

	"github.com/caddy-chat/caddy-chat/modules/chat"
	"github.com/caddy-chat/caddy-chat/modules/chatctx"
	"github.com/caddy-chat/caddy-chat/modules/chaterr"
	"github.com/caddy-chat/caddy-chat/modules/provider"
	"github.com/caddy-chat/caddy-chat/modules/route"
)

// errSilent ends a call whose provider says nothing for too long.
var errSilent = errors.New("the provider stays silent")

// errClientGone ends a call whose answer nobody reads.
var errClientGone = errors.New("the client is gone")

// call is one model call on behalf of one request.
type call struct {
	h      *Handler
	x      *exchange
	req    *request
	choice route.Choice
	info   chatctx.Call // what the record is told
	begun  time.Time

	ctx    context.Context
	cancel context.CancelCauseFunc
	watch  *time.Timer // ends the call when it fires

	underway    bool // the answer has begun, and well
	told        bool // the client has been told of the failure, in the stream
	outputBytes int
	usage       *provider.Usage // the provider's, nil until it told
}

// chat serves POST /v1/chat/completions.
func (h *Handler) chat(x *exchange) error {
	req, err := h.readRequest(x)
	if err != nil {
		return err
	}
	choice, err := h.choose(x, req)
	if err != nil {
		return err
	}
	c := h.newCall(x, req, choice)
	defer c.end()
	if req.stream {
		err = c.stream()
	} else {
		err = c.complete()
	}
	c.settle(err)
	if c.told {
		return nil
	}
	return err
}

func (h *Handler) newCall(x *exchange, req *request, choice route.Choice) *call {
	c := &call{h: h, x: x, req: req, choice: choice, begun: time.Now()}
	c.ctx, c.cancel = chat.CallContext(x.r.Context(), req.stream)
	c.watch = time.AfterFunc(time.Duration(h.ResponseTimeout), func() { c.cancel(errSilent) })
	c.info = chatctx.Call{Model: choice.Name, Provider: choice.Target.Provider}
	x.rec.SetCall(c.info)
	// by the record, since a keep-alive may begin the answer before the model does
	x.rec.SetHeader(x.w, "X-Model-Id", choice.Name)
	return c
}

func (c *call) end() {
	c.watch.Stop()
	c.cancel(nil)
}

// providerRequest counts an attempt and returns what to ask the provider.
func (c *call) providerRequest() (provider.Provider, *provider.Request) {
	c.info.Attempts++
	c.x.rec.SetCall(c.info)
	preq := &provider.Request{
		Model:   c.choice.Target.Model,
		Body:    c.req.body,
		TraceID: c.x.rec.TraceID,
	}
	if t := c.x.rec.Tenant; t != nil {
		preq.APIKey = t.Credentials[c.choice.Target.Provider]
	}
	return c.h.providers[c.choice.Target.Provider], preq
}

// complete makes a call whose answer is one document.
func (c *call) complete() error {
	p, preq := c.providerRequest()
	answer, err := p.Complete(c.ctx, preq)
	if err != nil {
		return c.failed(err)
	}
	c.watch.Stop()
	c.outputBytes, c.usage = answer.OutputBytes, answer.Usage
	c.info.TTFT = time.Since(c.begun)
	body := c.withUsage(answer.Body)
	c.setHeaders()
	h := c.x.w.Header()
	h.Set("Content-Type", "application/json")
	h.Set("Content-Length", strconv.Itoa(len(body)))
	c.x.w.WriteHeader(http.StatusOK)
	// a client that has gone is no failure of the call
	_, _ = c.x.w.Write(body)
	return nil
}

// setHeaders says who answers, as the answer begins.
func (c *call) setHeaders() {
	c.underway = true
	h := c.x.w.Header()
	h.Set("X-Ai-Provider", c.choice.Target.Provider)
	h.Set("X-Ai-Attempts", strconv.Itoa(c.info.Attempts))
}

// failed turns the error of a call into one to answer. What ended the call
// from here weighs more than what the provider made of it.
func (c *call) failed(err error) error {
	cause := context.Cause(c.ctx)
	switch {
	case errors.Is(cause, errSilent):
		return chaterr.AITimeout().Because(err)
	case errors.Is(cause, chat.ErrShuttingDown):
		return chaterr.ShuttingDown().Because(err)
	case cause != nil:
		return context.Canceled
	}
	pe, ok := errors.AsType[*provider.Error](err)
	if ok && pe.Reason == provider.ReasonModel && c.choice.Label == route.Passthrough {
		return chaterr.ModelUnknown().Because(err)
	}
	return chaterr.FromProvider(err)
}

// used is what the provider counted, or else an estimate.
func (c *call) used() provider.Usage {
	if c.usage != nil {
		return *c.usage
	}
	return provider.Usage{
		Input:     c.req.inputTokens,
		Output:    provider.EstimateTokens(c.outputBytes),
		Estimated: true,
	}
}

// settle notes what the call used, and counts it.
func (c *call) settle(err error) {
	rec := c.x.rec
	if c.usage != nil || err == nil || c.outputBytes > 0 {
		c.info.Usage = c.used()
	}
	c.info.CostUSD = c.choice.Price.Cost(c.info.Usage.Input, c.info.Usage.Output)
	rec.SetCall(c.info)

	status, result := http.StatusOK, chat.AttemptOK
	if err != nil {
		e := chaterr.From(err)
		result = chat.AttemptError
		if !c.underway {
			status = e.Status
		}
		switch {
		case errors.Is(context.Cause(c.ctx), errSilent):
			result = chat.AttemptTimeout
		case c.ctx.Err() != nil:
			result = chat.AttemptAborted
		}
	}
	c.h.app.Attempted(c.choice.Target.Provider, c.choice.Label, result)
	c.h.app.Called(rec.TenantID(), c.choice.Label, strconv.Itoa(status), c.info, time.Since(c.begun))
}
