// Package gemini calls Google's models by their own API, generateContent: at
// the Gemini API, or at Vertex AI.
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
	"github.com/caddy-chat/caddy-chat/modules/provider/upstream"
)

func init() {
	caddy.RegisterModule(Gemini{})
}

const defaultBase = "https://generativelanguage.googleapis.com/v1beta"

// Gemini calls Google's Gemini models. The base URL is what comes before
// /models/, by default that of the Gemini API. Vertex AI's ends with the
// publisher:
//
//	https://aiplatform.googleapis.com/v1beta1/projects/P/locations/global/publishers/google
//
// The key goes as X-Goog-Api-Key. Where the base URL names a project, as
// above, it is an access token instead and goes as a bearer token; such a
// token lasts an hour, and nobody renews it here.
//
// Tool calls carry Gemini's thought signatures in
// extra_content.google.thought_signature, as Google's own OpenAI-compatible
// API has it. A client that sends its tool calls back whole keeps them. Where
// one is missing, because the client dropped it or another provider made the
// call, Gemini 3 is told to do without.
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

// Continues says whether a model continues an assistant message. Gemini does
// so only at times, and begins anew at others.
func (g *Gemini) Continues(string) bool { return g.Upstream.Continues(false) }

// Complete makes a call and returns the whole answer.
func (g *Gemini) Complete(ctx context.Context, req *provider.Request) (*provider.Completion, error) {
	resp, err := g.generate(ctx, req, "generateContent", false)
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
	return assemble(newStream(ctx, resp, req.Model))
}

// Stream makes a call and returns the answer chunk by chunk.
func (g *Gemini) Stream(ctx context.Context, req *provider.Request) (provider.Stream, error) {
	resp, err := g.generate(ctx, req, "streamGenerateContent?alt=sse", true) //nolint:bodyclose // the stream closes it
	if err != nil {
		return nil, err
	}
	return newStream(ctx, resp, req.Model), nil
}

func (g *Gemini) generate(ctx context.Context, req *provider.Request, method string, stream bool) (*http.Response, error) {
	body, err := newRequest(req)
	if err != nil {
		return nil, err
	}
	return g.call(ctx, req, method, body, stream)
}

// call posts body to a method of the request's model.
func (g *Gemini) call(ctx context.Context, req *provider.Request, method string, body any, stream bool) (*http.Response, error) {
	data, err := json.Marshal(body)
	if err != nil {
		return nil, fmt.Errorf("writing the request: %w", err)
	}
	path := "/models/" + url.PathEscape(modelID(req.Model)) + ":" + method
	hreq, err := g.NewRequest(ctx, req, path, data, stream)
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
	return g.Do(hreq)
}

// modelID is a model's name without what Google's lists of models put in
// front of it.
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
	_ provider.Embedder     = (*Gemini)(nil)
	_ provider.Continuer    = (*Gemini)(nil)
)
