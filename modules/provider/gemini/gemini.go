// Package gemini calls Google's models by their own API, generateContent, at
// the Gemini API or at Vertex AI.
package gemini

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

	"github.com/caddy-chat/caddy-chat/modules/provider"
	"github.com/caddy-chat/caddy-chat/modules/provider/dialect"
	"github.com/caddy-chat/caddy-chat/modules/provider/upstream"
)

func init() {
	caddy.RegisterModule(Gemini{})
}

const defaultBase = "https://generativelanguage.googleapis.com/v1beta"

// Gemini calls Google's Gemini models. The base URL is what precedes /models/,
// by default the Gemini API's. Vertex AI's ends with the publisher:
//
//	https://aiplatform.googleapis.com/v1beta1/projects/P/locations/global/publishers/google
//
// The key is sent as X-Goog-Api-Key. If the base URL names a project, as above,
// the key is an access token and is sent as a bearer token. Such a token lasts
// an hour and is not renewed here.
//
// Tool calls carry Gemini's thought signatures in
// extra_content.google.thought_signature, like Google's own OpenAI-compatible
// API. A client that sends its tool calls back whole keeps them. If one is
// missing, because the client dropped it or another provider made the call,
// Gemini 3 is told to do without it.
type Gemini struct {
	upstream.Upstream
}

// CaddyModule returns the Caddy module information.
func (Gemini) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{
		ID:  "chat.providers.gemini",
		New: func() caddy.Module { return new(Gemini) },
	}
}

// Provision resolves the options and opens the transport.
func (g *Gemini) Provision(ctx caddy.Context) error {
	return g.Upstream.Provision(ctx, defaultBase)
}

// DefaultModel is a small model that both APIs have.
func (g *Gemini) DefaultModel() string { return "gemini-2.5-flash" }

// Continues says whether a model can continue an assistant message. Gemini
// sometimes does, and sometimes begins again.
func (g *Gemini) Continues(string) bool { return g.Upstream.Continues(false) }

// Complete makes a call and returns the whole answer.
func (g *Gemini) Complete(ctx context.Context, req *provider.Request) (*provider.Completion, error) {
	resp, names, err := g.generate(ctx, req, "generateContent", false)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	body, err := upstream.ReadAll(ctx, resp.Body)
	if err != nil {
		return nil, err
	}
	switch upstream.KindOf(body) {
	case upstream.KindOther, upstream.KindBlank:
		return nil, upstream.BadAnswer(resp, "neither JSON nor an event stream")
	}
	resp.Body = io.NopCloser(bytes.NewReader(body))
	return assemble(newStream(ctx, resp, req.Model, names))
}

// Stream makes a call and returns the answer chunk by chunk.
func (g *Gemini) Stream(ctx context.Context, req *provider.Request) (provider.Stream, error) {
	resp, names, err := g.generate(ctx, req, "streamGenerateContent?alt=sse", true) //nolint:bodyclose // the stream closes it
	if err != nil {
		return nil, err
	}
	return newStream(ctx, resp, req.Model, names), nil
}

// generate calls a method that generates content. names tells the names of the
// request's tools back.
func (g *Gemini) generate(ctx context.Context, req *provider.Request, method string, stream bool) (resp *http.Response, names *dialect.Names, err error) {
	body, err := newRequest(req)
	if err != nil {
		return nil, nil, err
	}
	resp, err = g.call(ctx, req, method, body, stream)
	return resp, body.names, err
}

// call posts body to a method of the request's model.
func (g *Gemini) call(ctx context.Context, req *provider.Request, method string, body any, stream bool) (*http.Response, error) {
	data, err := json.Marshal(body)
	if err != nil {
		return nil, fmt.Errorf("writing the request: %w", err)
	}
	path := "/models/" + url.PathEscape(modelID(req.Model)) + ":" + method
	hreq, err := g.request(ctx, req, path, data, stream)
	if err != nil {
		return nil, err
	}
	return g.Do(hreq)
}

// Models asks for the models of the API. A project's base URL has no such list.
func (g *Gemini) Models(ctx context.Context, req *provider.Request) ([]string, error) {
	hreq, err := g.request(ctx, req, "/models?pageSize=1000", nil, false)
	if err != nil {
		return nil, err
	}
	names, err := g.Upstream.Models(hreq, "models", "name")
	for i := range names {
		names[i] = modelID(names[i])
	}
	return names, err
}

// request returns a request with the key as Gemini wants it.
func (g *Gemini) request(ctx context.Context, req *provider.Request, path string, body []byte, stream bool) (*http.Request, error) {
	hreq, err := g.NewRequest(ctx, req, path, body, stream)
	if err != nil {
		return nil, err
	}
	key, err := g.Key(req)
	if err != nil {
		return nil, err
	}
	if key != "" && !strings.Contains(g.Base(), "/projects/") {
		hreq.Header.Del("Authorization")
		hreq.Header.Set("X-Goog-Api-Key", key)
	}
	return hreq, nil
}

// modelID returns a model's name without the prefix that Google's lists of
// models have.
func modelID(model string) string { return strings.TrimPrefix(model, "models/") }

// UnmarshalCaddyfile sets up the provider from Caddyfile tokens. Syntax:
//
//	gemini {
//	    base_url  <url>
//	    api_key   <key>
//	    header    <name> <value>
//	    transport <type> {
//	        ...
//	    }
//	    continue  on|off
//	}
func (g *Gemini) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	return g.UnmarshalBlock(d)
}

// Interface guards
var (
	_ caddy.Provisioner     = (*Gemini)(nil)
	_ caddyfile.Unmarshaler = (*Gemini)(nil)
	_ provider.Provider     = (*Gemini)(nil)
	_ provider.Lister       = (*Gemini)(nil)
	_ provider.Embedder     = (*Gemini)(nil)
	_ provider.Continuer    = (*Gemini)(nil)
)
