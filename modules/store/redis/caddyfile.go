package redis

import "github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

// UnmarshalCaddyfile sets up the store from Caddyfile tokens. Syntax:
//
//	redis [<url>] {
//		prefix <prefix>
//	}
func (r *Redis) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	d.Next() // consume the store's name

	if d.NextArg() {
		r.URL = d.Val()
	}
	if d.NextArg() {
		return d.Err("redis: want one URL at most; further nodes of a cluster are added by ?addr=host:6379")
	}

	for nesting := d.Nesting(); d.NextBlock(nesting); {
		switch d.Val() {
		case "prefix":
			if r.Prefix != "" {
				return d.Err("prefix is given twice")
			}
			if !d.AllArgs(&r.Prefix) {
				return d.ArgErr()
			}
		default:
			return d.Errf("unrecognized subdirective '%s'", d.Val())
		}
	}
	return nil
}

// Interface guard
var _ caddyfile.Unmarshaler = (*Redis)(nil)
