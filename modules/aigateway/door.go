package aigateway

import (
	"errors"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/caddy-chat/caddy-chat/modules/apierror"
	"github.com/caddy-chat/caddy-chat/modules/chat"
	"github.com/caddy-chat/caddy-chat/modules/door"
	"github.com/caddy-chat/caddy-chat/modules/door/messages"
	"github.com/caddy-chat/caddy-chat/modules/door/responses"
	"github.com/caddy-chat/caddy-chat/modules/provider"
	"github.com/caddy-chat/caddy-chat/modules/route"
)

// through serves the requests of another API.
func through(d door.Door) func(*Handler, *chat.Exchange) error {
	return func(h *Handler, x *chat.Exchange) error {
		req, err := h.readThrough(x, d)
		if err != nil {
			return err
		}
		h.forgets(x)
		return h.answer(x, req)
	}
}

// readThrough reads a request of another API.
func (h *Handler) readThrough(x *chat.Exchange, d door.Door) (*request, error) {
	body, gates, err := x.ReadGated(h.MaxBody, time.Duration(h.ReadTimeout))
	if err != nil {
		return nil, err
	}
	c, err := d.Open(body)
	if err != nil {
		return nil, apierror.FromProvider(err)
	}
	req, err := parseRequest(c.Completion())
	if err != nil {
		return nil, err
	}
	req.door, req.gates = c, gates
	req.native = nativeOf(x, d.API(), body)
	if d.API() == provider.APIMessages {
		req.betas = x.R.Header[betaHeader]
	}
	return req, nil
}

// betaHeader asks for features of Anthropic's API.
const betaHeader = "Anthropic-Beta"

// nativeOf returns a request as it came.
func nativeOf(x *chat.Exchange, api provider.API, body []byte) *provider.Native {
	return &provider.Native{API: api, Body: body, Header: nativeHeader(x.R.Header)}
}

// nativeHeader returns the headers that belong to Anthropic's API, and that its
// providers get.
func nativeHeader(sent http.Header) http.Header {
	h := make(http.Header)
	for name, values := range sent {
		if strings.HasPrefix(name, "Anthropic-") {
			h[name] = values
		}
	}
	return h
}

// doors are those of the APIs that a provider may speak.
var doors = map[provider.API]door.Door{provider.APIMessages: messages.Door{}, provider.APIResponses: responses.Door{}}

// spoken returns a request in another API as it goes to a provider; nil if the provider does
// not speak it, or if what is sealed in the request cannot be left out. dropped names what is.
func (c *call) spoken(n *provider.Native, target route.Target) (_ *provider.Native, dropped []string) {
	s, ok := c.h.providers[target.Provider].(provider.Speaker)
	if !ok || !s.Speaks(n.API) {
		return nil, nil
	}
	if !door.Sealed(n.Body) {
		return n, nil
	}
	open := *n
	if open.Body, dropped, ok = doors[n.API].Unsealed(n.Body); !ok {
		return nil, nil
	}
	return &open, dropped
}

// throughDoor completes a provider's request for a client of another API. The
// request goes as it came to a provider that speaks this API.
func (c *call) throughDoor(preq *provider.Request, target route.Target) {
	if c.req.door == nil {
		c.beside(preq, target)
		return
	}
	if n, dropped := c.spoken(c.req.native, target); n != nil {
		preq.Native, preq.Dropped = n, append(preq.Dropped, dropped...)
		return
	}
	preq.Refused = c.req.door.Refusal()
	preq.Translated, preq.Dropped = true, slices.Clone(c.req.door.Dropped())
}

// beside completes a provider's request that there is in another API, too.
func (c *call) beside(preq *provider.Request, target route.Target) {
	b := c.req.beside
	if b == nil {
		return
	}
	if n, dropped := c.spoken(&b.Native, target); n != nil {
		preq.Beside, preq.Dropped = n, slices.Concat(preq.Dropped, b.Omitted, dropped)
		return
	}
	preq.Refused, preq.Dropped = b.Refused, append(preq.Dropped, b.Dropped...)
}

// askFor asks for the features that the client wants of Anthropic's API, whose providers also
// get them with a request that does not go as it came.
func (c *call) askFor(preq *provider.Request, target route.Target) {
	if len(c.req.betas) == 0 {
		return
	}
	if s, ok := c.h.providers[target.Provider].(provider.Speaker); !ok || !s.Speaks(provider.APIMessages) {
		preq.Drop(strings.ToLower(betaHeader))
		return
	}
	preq.Betas = c.req.betas
}

// inWordsOf has a failure name the member of a translated request as its client does.
func (c *call) inWordsOf(preq *provider.Request, err error) error {
	pe, ok := errors.AsType[*provider.Error](err)
	if !ok || !isTranslated(preq) {
		return err
	}
	pe.Param = door.Param(c.saidIn().API, pe.Param)
	return err
}

// dropped returns the client's names for what a provider was not given.
func (c *call) dropped(preq *provider.Request) []string {
	if !isTranslated(preq) {
		return slices.Clone(preq.Dropped)
	}
	said := c.saidIn()
	return door.Named(said.API, said.Body, preq.Dropped)
}

// isTranslated reports whether a provider gets chat completions that were made of a request in
// another API.
func isTranslated(preq *provider.Request) bool {
	return preq.Translated && preq.Native == nil && preq.Beside == nil
}

// saidIn returns the request in the words of its client, as far as they are known.
func (c *call) saidIn() provider.Native {
	switch {
	case c.req.native != nil:
		return *c.req.native
	case c.req.translated:
		return provider.Native{API: provider.APIResponses}
	}
	return provider.Native{}
}

// frame returns how a shared stream of the request's API reports a failure; nil for
// OpenAI's way.
func (h *Handler) frame(x *chat.Exchange, req *request) func(*apierror.Error) []byte {
	if req.door == nil {
		return nil
	}
	return func(e *apierror.Error) []byte {
		return req.door.Stream().Fail(nil, apierror.FailureFor(req.door.API(), e, x.Rec.TraceID))
	}
}
