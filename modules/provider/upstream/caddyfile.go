package upstream

import (
	"errors"
	"net/http"
	"slices"
	"strings"

	"github.com/caddyserver/caddy/v2/caddyconfig"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"golang.org/x/net/http/httpguts"

	"github.com/caddy-chat/caddy-chat/modules/advice"
)

// Option is an option in a provider's block.
type Option struct {
	Name string

	// Unmarshal reads the option's arguments; d is at its name.
	Unmarshal func(d *caddyfile.Dispenser) error
}

// Text is an option that takes one argument.
func Text(name string, value *string) Option {
	return Option{name, func(d *caddyfile.Dispenser) error {
		if !d.AllArgs(value) {
			return d.ArgErr()
		}
		advice.Environment(d, name, *value)
		return nil
	}}
}

// Checked is Text for a value that can be wrong.
func Checked(name string, value *string, check func(string) error) Option {
	text := Text(name, value)
	return Option{name, func(d *caddyfile.Dispenser) error {
		if err := text.Unmarshal(d); err != nil {
			return err
		}
		return advice.Check(d, name, *value, check)
	}}
}

// OnOff is an option that is on or off; nil stands for the default.
func OnOff(name string, value **bool) Option {
	return Option{name, func(d *caddyfile.Dispenser) error {
		var text string
		if !d.AllArgs(&text) {
			return d.ArgErr()
		}
		if text != "on" && text != "off" {
			return d.Errf("%s: %q: want on or off", name, text)
		}
		*value = new(text == "on")
		return nil
	}}
}

// Secret is Text for a value that should come from the environment or a file.
func Secret(name string, value *string) Option {
	return Option{name, func(d *caddyfile.Dispenser) error {
		if !d.NextArg() {
			return d.ArgErr()
		}
		if *value = d.Val(); d.NextArg() {
			return d.Errf("%s: want one argument", name) // ArgErr quotes a part of the secret
		}
		advice.Secret(d, name, *value)
		return advice.Check(d, name, *value, checkValue)
	}}
}

// checkValue refuses what cannot be sent in a header, without quoting it: it may be
// secret.
func checkValue(value string) error {
	if !httpguts.ValidHeaderFieldValue(value) {
		return errors.New("must not contain control characters")
	}
	return nil
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
		Checked("base_url", &u.BaseURL, checkBase),
		Secret("api_key", &u.APIKey),
		Option{"header", u.unmarshalHeader},
		Option{"transport", u.unmarshalTransport},
		OnOff("continue", &u.Continue),
	)
	var transport caddyfile.Dispenser // at that option
	once := make(advice.Once)
	for d.NextBlock(0) {
		i := slices.IndexFunc(options, func(o Option) bool { return o.Name == d.Val() })
		if i < 0 {
			return d.Errf("unrecognized subdirective '%s': want %s%s", d.Val(), listed(options), nearest(d.Val(), options))
		}
		if options[i].Name == "transport" {
			transport = *d
		}
		if options[i].Name != "header" {
			if err := once.Add(d); err != nil {
				return err
			}
		}
		if err := options[i].Unmarshal(d); err != nil {
			return err
		}
	}
	if err := u.checkTLS(u.BaseURL); err != nil {
		return transport.WrapErr(err)
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

// keyHeaders are the headers in which providers take keys.
var keyHeaders = []string{"Authorization", "Api-Key", "X-Api-Key", "X-Goog-Api-Key", "Cf-Aig-Authorization"}

func nearest(name string, options []Option) string {
	names := make([]string, len(options))
	for i, o := range options {
		names[i] = o.Name
	}
	return advice.Nearest(name, names...)
}

func (u *Upstream) unmarshalHeader(d *caddyfile.Dispenser) error {
	var name, value string
	if !d.AllArgs(&name, &value) {
		return d.ArgErr()
	}
	if u.Headers == nil {
		u.Headers = make(http.Header)
	}
	if !httpguts.ValidHeaderFieldName(name) {
		return d.Errf("header %q: want a header name such as X-Team", name)
	}
	if err := advice.Check(d, "header "+name, value, checkValue); err != nil {
		return err
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
