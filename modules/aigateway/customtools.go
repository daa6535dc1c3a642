package aigateway

import (
	"github.com/caddy-chat/caddy-chat/modules/customtool"
	"github.com/caddy-chat/caddy-chat/modules/provider"
)

// functions puts functions in place of the request's custom tools, unless the target has
// these. A client that sends them in the shape of chat completions knows whether a server
// of OpenAI's API has them. One that sends them in that of Responses does not, and is only
// relied on at OpenAI itself. The returned tools turn the calls back.
func (a *attempt) functions() customtool.Tools {
	p, may := a.provider().(provider.CustomTooler)
	if a.preq.Native != nil || may && (p.HasCustomTools() || !a.c.req.flat) {
		return nil
	}
	var t customtool.Tools
	a.preq.Body, t = customtool.AsFunctions(a.preq.Body)
	return t
}
