package upstream

import (
	"net/http"
	"slices"
	"strings"

	"github.com/caddyserver/caddy/v2/caddyconfig"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

	"github.com/caddy-chat/caddy-chat/modules/advice"
)

// Option is an option in a provider's block.
type Option struct {
	Name string

	// Unmarshal reads the option's arguments; d is at its name.
	Unmarshal func(d *caddyfile.Dispenser) error
}

// Text is an option that takes one argument and may be set once.
func Text(name string, value *string) Option {
	return Option{name, func(d *caddyfile.Dispenser) error {
		if *value != "" {
			return d.Errf("%s is already set", name)
		}
		if !d.AllArgs(value) {
			return d.ArgErr()
		}
		advice.Environment(d, name, *value)
		return nil
	}}
}

// Secret is Text for a value that should come from the environment or a file.
func Secret(name string, value *string) Option {
	return Option{name, func(d *caddyfile.Dispenser) error {
		if *value != "" {
			return d.Errf("%s is already set", name)
		}
		if !d.NextArg() {
			return d.ArgErr()
		}
		if *value = d.Val(); d.NextArg() {
			return d.Errf("%s: want one argument", name) // ArgErr quotes a part of the secret
		}
		advice.Secret(d, name, *value)
		return nil
	}}
}

// UnmarshalBlock reads a provider's block, which has its own options and the
// common ones. Syntax:
//
//	<type> {
//	    base_url  <url>
//	    api_key   <key>
//	    header    <name> <value>
//	    transport <type> {
//	        ...
//	    }
//	    continue  on|off
//	}
func (u *Upstream) UnmarshalBlock(d *caddyfile.Dispenser, own ...Option) error {
	d.Next() // consume the type
	if d.NextArg() {
		return d.ArgErr()
	}
	options := append(slices.Clip(own),
		Option{"base_url", u.unmarshalBase},
		Secret("api_key", &u.APIKey),
		Option{"header", u.unmarshalHeader},
		Option{"transport", u.unmarshalTransport},
		Option{"continue", u.unmarshalContinue},
	)
	for d.NextBlock(0) {
		i := slices.IndexFunc(options, func(o Option) bool { return o.Name == d.Val() })
		if i < 0 {
			return d.Errf("unrecognized subdirective '%s': want %s", d.Val(), listed(options))
		}
		if err := options[i].Unmarshal(d); err != nil {
			return err
		}
	}
	return nil
}

// listed names all options.
func listed(options []Option) string {
	names := make([]string, len(options))
	for i, o := range options {
		names[i] = o.Name
	}
	last := len(names) - 1
	return strings.Join(names[:last], ", ") + " or " + names[last]
}

func (u *Upstream) unmarshalBase(d *caddyfile.Dispenser) error {
	if err := Text("base_url", &u.BaseURL).Unmarshal(d); err != nil {
		return err
	}
	return advice.Check(d, "base_url", u.BaseURL, func(base string) error {
		_, err := parseBase(base)
		return err
	})
}

// keyHeaders are the headers in which providers take keys.
var keyHeaders = []string{"Authorization", "Api-Key", "X-Api-Key", "X-Goog-Api-Key", "Cf-Aig-Authorization"}

func (u *Upstream) unmarshalHeader(d *caddyfile.Dispenser) error {
	var name, value string
	if !d.AllArgs(&name, &value) {
		return d.ArgErr()
	}
	if u.Headers == nil {
		u.Headers = make(http.Header)
	}
	u.Headers.Add(name, value)
	if slices.Contains(keyHeaders, http.CanonicalHeaderKey(name)) {
		advice.Secret(d, "header "+name, value)
	} else {
		advice.Environment(d, "header "+name, value)
	}
	return nil
}

func (u *Upstream) unmarshalTransport(d *caddyfile.Dispenser) error {
	if u.TransportRaw != nil {
		return d.Err("transport is already set")
	}
	if !d.NextArg() {
		return d.ArgErr()
	}
	name := d.Val()
	mod, err := caddyfile.UnmarshalModule(d, "http.reverse_proxy.transport."+name)
	if err != nil {
		return err
	}
	rt, ok := mod.(http.RoundTripper)
	if !ok {
		return d.Errf("transport %s: %T makes no HTTP requests", name, mod)
	}
	u.TransportRaw = caddyconfig.JSONModuleObject(rt, "protocol", name, nil)
	return nil
}

func (u *Upstream) unmarshalContinue(d *caddyfile.Dispenser) error {
	var value string
	if u.Continue != nil {
		return d.Err("continue is already set")
	}
	if !d.AllArgs(&value) {
		return d.ArgErr()
	}
	if value != "on" && value != "off" {
		return d.Errf("continue: %q: want on or off", value)
	}
	u.Continue = new(value == "on")
	return nil
}
