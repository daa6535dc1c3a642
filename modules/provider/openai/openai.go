// Package openai calls providers that speak OpenAI's chat completions, which
// is the gateway's own dialect: requests go through untouched but for the
// model, and answers are mended only where clients would break.
package openai

import (
	"context"
	"strings"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

	"github.com/caddy-chat/caddy-chat/modules/provider"
	"github.com/caddy-chat/caddy-chat/modules/provider/upstream"
)

func init() {
	caddy.RegisterModule(OpenAI{})
}

const defaultBase = "https://api.openai.com/v1"

// OpenAI calls OpenAI, or any server with its API: vLLM, llama.cpp, LM Studio
// and most hosted ones.
type OpenAI struct {
	upstream.Upstream
}

// CaddyModule returns the Caddy module information.
func (OpenAI) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{
		ID:  "chat.providers.openai",
		New: func() caddy.Module { return new(OpenAI) },
	}
}

// Provision resolves the options and opens the transport.
func (o *OpenAI) Provision(ctx caddy.Context) error {
	return o.Upstream.Provision(ctx, defaultBase)
}

// DefaultModel is a small model of OpenAI's own; what other servers have
// nobody knows.
func (o *OpenAI) DefaultModel() string {
	if strings.HasPrefix(o.Base(), "https://api.openai.com/") {
		return "gpt-4o-mini"
	}
	return ""
}

// Complete makes a call and returns the whole answer.
func (o *OpenAI) Complete(ctx context.Context, req *provider.Request) (*provider.Completion, error) {
	return Complete(ctx, &o.Upstream, req)
}

// Stream makes a call and returns the answer chunk by chunk.
func (o *OpenAI) Stream(ctx context.Context, req *provider.Request) (provider.Stream, error) {
	return Stream(ctx, &o.Upstream, req)
}

// UnmarshalCaddyfile sets up the provider from Caddyfile tokens. Syntax:
//
//	openai {
//	    base_url  <url>
//	    api_key   <key>
//	    header    <name> <value>
//	    transport <type> {
//	        ...
//	    }
//	    continue  on|off
//	}
func (o *OpenAI) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	d.Next() // consume the type
	if d.NextArg() {
		return d.ArgErr()
	}
	for d.NextBlock(0) {
		handled, err := o.UnmarshalOption(d)
		if err != nil {
			return err
		}
		if !handled {
			return d.Errf("unrecognized subdirective '%s': want base_url, api_key, header, transport or continue", d.Val())
		}
	}
	return nil
}

// Interface guards
var (
	_ caddy.Provisioner     = (*OpenAI)(nil)
	_ caddyfile.Unmarshaler = (*OpenAI)(nil)
	_ provider.Provider     = (*OpenAI)(nil)
)
