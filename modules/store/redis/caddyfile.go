package redis

import (
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

	"github.com/caddy-chat/caddy-chat/modules/advice"
)

// UnmarshalCaddyfile sets up the store from Caddyfile tokens. Syntax:
//
//	redis [<url>] {
//		prefix <prefix>
//	}
func (r *Redis) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	d.Next() // consume the store's name

	if d.NextArg() {
		r.URL = d.Val()
		if err := r.checkURL(d); err != nil {
			return err
		}
	}
	if d.NextArg() {
		return d.Err("redis: want one URL at most; further nodes of a cluster are added by ?addr=host:6379")
	}

	once := make(advice.Once)
	for nesting := d.Nesting(); d.NextBlock(nesting); {
		switch d.Val() {
		case "prefix":
			if err := once.Add(d); err != nil {
				return err
			}
			if !d.AllArgs(&r.Prefix) {
				return d.ArgErr()
			}
			if err := advice.Check(d, "prefix", r.Prefix, checkPrefix); err != nil {
				return err
			}
		default:
			return d.Errf("unrecognized subdirective '%s', want prefix", d.Val())
		}
	}
	return nil
}

// checkURL checks the URL, and warns of a password in plain text. A name without a password
// is likely to be one: other clients take redis://secret@host for that.
func (r *Redis) checkURL(d *caddyfile.Dispenser) error {
	check := func(url string) error {
		_, err := parseURL(url)
		return err
	}
	if err := advice.Check(d, "url", r.URL, check); err != nil {
		return err
	}
	advice.Environment(d, "url", r.URL)
	if p, err := parseURL(r.URL); err == nil && p.user+p.password+p.sentinelPassword != "" {
		advice.Secret(d, "url", r.URL)
	}
	return nil
}

// Interface guard
var _ caddyfile.Unmarshaler = (*Redis)(nil)
