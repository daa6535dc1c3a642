package tenantresolve

import (
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"github.com/caddyserver/caddy/v2/caddyconfig/httpcaddyfile"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	"github.com/caddy-chat/caddy-chat/modules/advice"
	"github.com/caddy-chat/caddy-chat/modules/chat"
	"github.com/caddy-chat/caddy-chat/modules/record"
	"github.com/caddy-chat/caddy-chat/modules/tenant"
)

func init() {
	httpcaddyfile.RegisterHandlerDirective("tenant_resolve", parseCaddyfile)
	// each directive of the chain has an anchor of its own, because those of
	// several plugins at one anchor come out in the order of their imports
	httpcaddyfile.RegisterDirectiveOrder("tenant_resolve", httpcaddyfile.Before, "request_header")
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
//	tenant_resolve [<matcher>] [<tenant>] {
//	    from header [<name>]
//	    from host
//	    from api_key [<header>...]
//	    from jwt [<header>...] {
//	        jwks         <url or file>
//	        secret       <secret>
//	        public_key   <file>
//	        issuer       <issuer>...
//	        audience     <audience>...
//	        tenant_claim <name>
//	        user_claim   <name>
//	        algorithms   <name>...
//	        leeway       <duration>
//	    }
//	    user_header <name>
//	    allow_origin <origin...>|*
//	    optional
//	}
func (h *Handler) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	d.Next() // consume directive name
	if d.NextArg() {
		h.Tenant = d.Val()
	}
	if d.NextArg() {
		return d.ArgErr()
	}
	once := make(advice.Once)
	for d.NextBlock(0) {
		switch d.Val() {
		case "from":
			begin := *d // its line is the one to name, not that of a block's end
			s, err := unmarshalSource(d)
			if err != nil {
				return err
			}
			if h.looksAt(s.Type) {
				return begin.Errf("from: %s is listed twice", s.Type)
			}
			h.From = append(h.From, s)
		case "user_header":
			once.Warn(d)
			if !d.AllArgs(&h.UserHeader) {
				return d.ArgErr()
			}
		case "allow_origin":
			origins := d.RemainingArgs()
			if len(origins) == 0 {
				return d.ArgErr()
			}
			if _, err := tenant.ParseOrigins(origins); err != nil {
				return d.Errf("allow_origin: %v", err)
			}
			h.AllowOrigins = append(h.AllowOrigins, origins...)
		case "optional":
			if d.NextArg() {
				return d.ArgErr()
			}
			h.Optional = true
		default:
			return d.Errf("unrecognized subdirective '%s', want from, user_header, allow_origin or optional%s", d.Val(), advice.Nearest(d.Val(), "from", "user_header", "allow_origin", "optional"))
		}
	}
	return nil
}

var sources = []string{record.SourceHeader, record.SourceHost, record.SourceAPIKey, record.SourceJWT}

func unmarshalSource(d *caddyfile.Dispenser) (Source, error) {
	var s Source
	if !d.NextArg() {
		return s, d.ArgErr()
	}
	s.Type = d.Val()
	s.Headers = d.RemainingArgs()
	most := 0
	switch s.Type {
	case record.SourceHeader:
		most = 1
	case record.SourceAPIKey, record.SourceJWT:
		most = len(s.Headers)
	case record.SourceHost:
	default:
		return s, d.Errf("from: '%s': want header, host, api_key or jwt%s", s.Type, advice.Nearest(s.Type, sources...))
	}
	if len(s.Headers) > most {
		return s, d.ArgErr()
	}
	var err error
	if s.Type == record.SourceJWT {
		s.JWT, err = unmarshalJWT(d)
	}
	return s, err
}

// Interface guard
var _ caddyfile.Unmarshaler = (*Handler)(nil)
