// Package ollama calls Ollama by its own API, /api/chat, which tells more than
// the one that it has after OpenAI's.
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
)

// Ollama calls a server of Ollama's, or its cloud with an API key and the base
// URL https://ollama.com.
//
// Where a conversation outgrows the model's context, Ollama forgets its oldest
// messages; its size is the server's to set. Whether a model goes on with an
// assistant message that has been begun depends on its template: many do, but
// some begin again, which nobody can tell from here. Say `continue on` where
// the models in use do.
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

// DefaultModel is none: only those that were pulled are there.
func (*Ollama) DefaultModel() string { return "" }

// Continues says whether a model goes on with an assistant message, which
// only the operator can know.
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
	_ provider.Embedder     = (*Ollama)(nil)
	_ provider.Continuer    = (*Ollama)(nil)
)
