package chatratelimit

import (
	"strings"

	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"github.com/caddyserver/caddy/v2/caddyconfig/httpcaddyfile"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	"github.com/caddy-chat/caddy-chat/modules/advice"
	"github.com/caddy-chat/caddy-chat/modules/chat"
	"github.com/caddy-chat/caddy-chat/modules/limit"
)

func init() {
	httpcaddyfile.RegisterHandlerDirective("chat_ratelimit", parseCaddyfile)
	httpcaddyfile.RegisterDirectiveOrder("chat_ratelimit", httpcaddyfile.Before, "encode")
}

func parseCaddyfile(h httpcaddyfile.Helper) (caddyhttp.MiddlewareHandler, error) {
	handler := new(Handler)
	if err := handler.UnmarshalCaddyfile(h.Dispenser); err != nil {
		return nil, err
	}
	return handler, chat.CheckNamedTenant(h, handler.Tenant)
}

// UnmarshalCaddyfile sets up the handler from Caddyfile tokens. Syntax:
//
//	chat_ratelimit [<matcher>] [<limit> <window>] {
//	    requests   <limit> <window> [per user|ip|tenant|<placeholder>]
//	    burst      <limit> <window> [per ...]
//	    tokens     <limit> <window> [per ...]
//	    concurrent <limit> [per ...]
//	    on_store_error deny|allow
//	    tenant     <id>
//	}
func (h *Handler) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	d.Next() // consume directive name
	if args := d.RemainingArgs(); len(args) > 0 {
		if err := addRule(d, "requests", &h.Requests, args, true); err != nil {
			return err
		}
	}
	once := make(advice.Once)
	for d.NextBlock(0) {
		var err error
		switch d.Val() {
		case "requests":
			err = addRule(d, "requests", &h.Requests, d.RemainingArgs(), true)
		case "burst":
			err = addRule(d, "burst", &h.Burst, d.RemainingArgs(), true)
		case "tokens":
			err = addRule(d, "tokens", &h.Tokens, d.RemainingArgs(), true)
		case "concurrent":
			err = addRule(d, "concurrent", &h.Concurrent, d.RemainingArgs(), false)
		case "on_store_error":
			if err = once.Add(d); err == nil {
				err = h.unmarshalOnStoreError(d)
			}
		case "tenant":
			once.Warn(d)
			if !d.AllArgs(&h.Tenant) {
				err = d.ArgErr()
			}
		default:
			err = d.Errf("unrecognized subdirective '%s', want requests, burst, tokens, concurrent, on_store_error or tenant%s", d.Val(),
				advice.Nearest(d.Val(), "requests", "burst", "tokens", "concurrent", "on_store_error", "tenant"))
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func addRule(d *caddyfile.Dispenser, name string, list *[]string, args []string, windowed bool) error {
	r, err := limit.ParseRule(strings.Join(args, " "), windowed)
	if err != nil {
		return d.Errf("%s: %v", name, err)
	}
	chat.AdviseOfScope(d, name, r.Scope)
	*list = append(*list, r.String())
	return nil
}

func (h *Handler) unmarshalOnStoreError(d *caddyfile.Dispenser) error {
	if !d.AllArgs(&h.OnStoreError) {
		return d.ArgErr()
	}
	if h.OnStoreError != onErrorDeny && h.OnStoreError != onErrorAllow {
		return d.Errf("on_store_error: '%s': want deny or allow", h.OnStoreError)
	}
	return nil
}

// Interface guard
var _ caddyfile.Unmarshaler = (*Handler)(nil)
