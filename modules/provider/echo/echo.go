// Package echo is a provider without a network, for trying out a configuration
// and for tests: it repeats the last question word by word.
package echo

import (
	"context"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

	"github.com/caddy-chat/caddy-chat/modules/advice"
	"github.com/caddy-chat/caddy-chat/modules/provider"
	"github.com/caddy-chat/caddy-chat/modules/provider/dialect"
)

func init() {
	caddy.RegisterModule(Echo{})
}

const defaultDelay = 30 * time.Millisecond

// Echo answers with the last user message, including its white space. It counts
// words as tokens, and honors max_tokens.
type Echo struct {
	// The pause between two words of a stream; 0 for none. Default: 30ms.
	Delay *caddy.Duration `json:"delay,omitempty"`
}

// CaddyModule returns the Caddy module information.
func (Echo) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{
		ID:  "chat.providers.echo",
		New: func() caddy.Module { return new(Echo) },
	}
}

// DefaultModel is the only model.
func (e *Echo) DefaultModel() string { return "echo" }

// Complete returns the whole answer at once.
func (e *Echo) Complete(ctx context.Context, req *provider.Request) (*provider.Completion, error) {
	if err := context.Cause(ctx); err != nil {
		return nil, err
	}
	a := newAnswer(req)
	var whole dialect.Whole
	whole.Add(dialect.Text(a.text()))
	return dialect.NewAnswer("", req.Model, nil).Completion(&whole, a.finish, &a.usage), nil
}

// Stream returns the answer word by word.
func (e *Echo) Stream(ctx context.Context, req *provider.Request) (provider.Stream, error) {
	if err := context.Cause(ctx); err != nil {
		return nil, err
	}
	delay := defaultDelay
	if e.Delay != nil {
		delay = time.Duration(*e.Delay)
	}
	return &stream{
		ctx:    ctx,
		req:    req,
		answer: newAnswer(req),
		chunks: dialect.NewAnswer("", req.Model, nil),
		delay:  delay,
	}, nil
}

// UnmarshalCaddyfile sets up the provider from Caddyfile tokens. Syntax:
//
//	echo {
//	    delay <duration>
//	}
func (e *Echo) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	d.Next() // consume the type
	if d.NextArg() {
		return d.ArgErr()
	}
	once := make(advice.Once)
	for d.NextBlock(0) {
		switch d.Val() {
		case "delay":
			once.Warn(d)
			var value string
			if !d.AllArgs(&value) {
				return d.ArgErr()
			}
			delay, err := caddy.ParseDuration(value)
			if err != nil || delay < 0 {
				return d.Errf("delay: %q: want a duration such as 30ms, or 0", value)
			}
			e.Delay = new(caddy.Duration(delay))
		case "base_url", "api_key", "header", "transport":
			return d.Errf("echo has no %s: it makes no calls", d.Val())
		default:
			return d.Errf("unrecognized subdirective '%s': want delay", d.Val())
		}
	}
	return nil
}

// Interface guards
var (
	_ caddyfile.Unmarshaler = (*Echo)(nil)
	_ provider.Provider     = (*Echo)(nil)
)
