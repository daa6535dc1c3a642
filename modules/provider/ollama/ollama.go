// Package ollama calls Ollama by its own API, /api/chat, which reports more
// than its OpenAI-compatible one.
package ollama

import (
	"context"
	"net/http"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

	"github.com/caddy-chat/caddy-chat/modules/provider"
	"github.com/caddy-chat/caddy-chat/modules/provider/upstream"
)

func init() {
	caddy.RegisterModule(Ollama{})
}

const (
	defaultBase = "http://127.0.0.1:11434"

	chatPath  = "/api/chat"
	embedPath = "/api/embed"
	tagsPath  = "/api/tags"
)

// Ollama calls an Ollama server, or Ollama's cloud with an API key and the base
// URL https://ollama.com.
//
// If a conversation exceeds the model's context, whose size is set on the
// server, Ollama drops the oldest messages. Whether a model can continue an
// assistant message depends on its template: many continue, some begin again.
// Set `continue on` if the models in use continue.
type Ollama struct {
	upstream.Upstream
}

// CaddyModule returns the Caddy module information.
func (Ollama) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{
		ID:  "chat.providers.ollama",
		New: func() caddy.Module { return new(Ollama) },
	}
}

// Provision resolves the options and opens the transport.
func (o *Ollama) Provision(ctx caddy.Context) error {
	return o.Upstream.Provision(ctx, defaultBase)
}

// DefaultModel is empty: a server only has the models that were pulled.
func (*Ollama) DefaultModel() string { return "" }

// Continues says whether a model can continue an assistant message. Only the
// operator knows.
func (o *Ollama) Continues(string) bool { return o.Upstream.Continues(false) }

// Complete makes a call and returns the whole answer.
func (o *Ollama) Complete(ctx context.Context, req *provider.Request) (*provider.Completion, error) {
	s, err := o.call(ctx, req, false)
	if err != nil {
		return nil, err
	}
	defer s.Close()
	return s.whole()
}

// Stream makes a call and returns the answer chunk by chunk.
func (o *Ollama) Stream(ctx context.Context, req *provider.Request) (provider.Stream, error) {
	s, err := o.call(ctx, req, true)
	if err != nil {
		return nil, err
	}
	return s, nil
}

func (o *Ollama) call(ctx context.Context, preq *provider.Request, stream bool) (*answerStream, error) {
	body, err := chatBody(preq, stream)
	if err != nil {
		return nil, err
	}
	resp, err := o.post(ctx, preq, chatPath, body, stream) //nolint:bodyclose // the stream closes it
	if err != nil {
		return nil, err
	}
	return newStream(ctx, resp, preq.Model), nil
}

func (o *Ollama) post(ctx context.Context, preq *provider.Request, path string, body []byte, stream bool) (*http.Response, error) {
	req, err := o.NewRequest(ctx, preq, path, body, stream)
	if err != nil {
		return nil, err
	}
	if stream {
		req.Header.Set("Accept", "application/x-ndjson")
	}
	return o.Do(req)
}

// Models asks for the models that the server has.
func (o *Ollama) Models(ctx context.Context, preq *provider.Request) ([]string, error) {
	req, err := o.NewRequest(ctx, preq, tagsPath, nil, false)
	if err != nil {
		return nil, err
	}
	return o.Upstream.Models(req, "models", "name")
}

// UnmarshalCaddyfile sets up the provider from Caddyfile tokens. Syntax:
//
//	ollama {
//	    base_url  <url>
//	    api_key   <key>
//	    header    <name> <value>
//	    transport <type> {
//	        ...
//	    }
//	    continue  on|off
//	}
func (o *Ollama) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	return o.UnmarshalBlock(d)
}

// Interface guards
var (
	_ caddy.Provisioner     = (*Ollama)(nil)
	_ caddyfile.Unmarshaler = (*Ollama)(nil)
	_ provider.Provider     = (*Ollama)(nil)
	_ provider.Lister       = (*Ollama)(nil)
	_ provider.Embedder     = (*Ollama)(nil)
	_ provider.Continuer    = (*Ollama)(nil)
)
