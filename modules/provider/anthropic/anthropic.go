// Package anthropic calls Claude, and other servers with Anthropic's Messages
// API. It translates requests into that API and the answers back.
package anthropic

import (
	"context"
	"net/http"
	"strings"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

	"github.com/caddy-chat/caddy-chat/modules/provider"
	"github.com/caddy-chat/caddy-chat/modules/provider/dialect"
	"github.com/caddy-chat/caddy-chat/modules/provider/upstream"
)

func init() {
	caddy.RegisterModule(Anthropic{})
}

const (
	defaultBase = "https://api.anthropic.com"
	version     = "2023-06-01"

	versionHeader = "Anthropic-Version"
	betaHeader    = "Anthropic-Beta"
)

// Anthropic calls Claude, or any server with Anthropic's Messages API. The base
// URL may end in /v1 or not: messages are posted to /v1/messages in both cases.
// The key is sent as X-Api-Key. Use `header` for a server that wants the key
// elsewhere, and for beta features (`header Anthropic-Beta ...`).
//
// Anthropic requires a limit for every answer. If the client sets none, it is
// 64,000 tokens for Claude 4.5 and later, 32,000 or the model's maximum for
// older ones, and 4,096 for models other than Claude.
//
// A reasoning_effort becomes adaptive thinking from Claude 4.6 on. Before, it
// becomes a thinking budget of at most half the limit. Anthropic's own
// `thinking`, `top_k` and `cache_control` are carried over. Signed thinking
// goes to the client and comes back in the message's `thinking_blocks`.
//
// Requests of the Messages API itself, and the answers to them, pass as they come.
type Anthropic struct {
	upstream.Upstream

	// Whether requests without any mark for the prompt cache get two: at the end of
	// the system prompt, and at that of the conversation. Default: false.
	CachePrompts *bool `json:"cache_prompts,omitempty"`

	path string
	beta []string // the operator's values of Anthropic-Beta

	foreign *foreignThinking
}

// CaddyModule returns the Caddy module information.
func (Anthropic) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{
		ID:  "chat.providers.anthropic",
		New: func() caddy.Module { return new(Anthropic) },
	}
}

// Provision resolves the options and opens the transport.
func (a *Anthropic) Provision(ctx caddy.Context) error {
	if err := a.Upstream.Provision(ctx, defaultBase); err != nil {
		return err
	}
	a.beta = a.TakeHeader(betaHeader)
	a.foreign = new(foreignThinking)
	a.path = "/v1/messages"
	if strings.HasSuffix(a.Base(), "/v1") {
		a.path = "/messages"
	}
	return nil
}

// DefaultModel is a small model of Anthropic's. The models of other servers are
// unknown.
func (a *Anthropic) DefaultModel() string {
	if base := a.Base(); base == defaultBase || strings.HasPrefix(base, defaultBase+"/") {
		return "claude-haiku-4-5"
	}
	return ""
}

// Continues says whether a model can continue an assistant message.
func (a *Anthropic) Continues(model string) bool {
	return a.Upstream.Continues(familyOf(model).continues())
}

// Complete makes a call and returns the whole answer.
func (a *Anthropic) Complete(ctx context.Context, req *provider.Request) (*provider.Completion, error) {
	switch {
	case req.Native != nil:
		return a.completeNative(ctx, req)
	case req.Beside != nil:
		return a.completeBeside(ctx, req)
	}
	resp, names, err := a.call(ctx, req, false)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	return completion(newStream(ctx, resp, req.Model, names), resp)
}

// Stream makes a call and returns the answer chunk by chunk.
func (a *Anthropic) Stream(ctx context.Context, req *provider.Request) (provider.Stream, error) {
	switch {
	case req.Native != nil:
		return a.streamNative(ctx, req)
	case req.Beside != nil:
		return a.streamBeside(ctx, req)
	}
	resp, names, err := a.call(ctx, req, true) //nolint:bodyclose // the stream closes it
	if err != nil {
		return nil, err
	}
	return newStream(ctx, resp, req.Model, names), nil
}

// call makes a call. names tells the names of the request's tools back.
func (a *Anthropic) call(ctx context.Context, preq *provider.Request, stream bool) (resp *http.Response, names *dialect.Names, err error) {
	body, names, err := translate(preq, stream)
	if err != nil {
		return nil, nil, err
	}
	resp, err = a.send(ctx, preq, body, stream)
	return resp, names, err
}

// send sends a request to the Messages API, without what the server is known to refuse of
// what another one has said.
func (a *Anthropic) send(ctx context.Context, preq *provider.Request, body []byte, stream bool) (*http.Response, error) {
	body = a.mended(preq, body)
	resp, err := a.post(ctx, preq, body, stream)
	return resp, a.blameOrigin(err, preq, body)
}

func (a *Anthropic) post(ctx context.Context, preq *provider.Request, body []byte, stream bool) (*http.Response, error) {
	if a.CachePrompts != nil && *a.CachePrompts {
		body = marked(body)
	}
	req, err := a.request(ctx, preq, a.path, body, stream)
	if err != nil {
		return nil, err
	}
	return a.Do(req)
}

// Models asks for the models of the API.
func (a *Anthropic) Models(ctx context.Context, preq *provider.Request) ([]string, error) {
	path := strings.TrimSuffix(a.path, "/messages") + "/models?limit=1000"
	req, err := a.request(ctx, preq, path, nil, false)
	if err != nil {
		return nil, err
	}
	return a.Upstream.Models(req, "data", "id")
}

// request returns a request with the key as Anthropic wants it.
func (a *Anthropic) request(ctx context.Context, preq *provider.Request, path string, body []byte, stream bool) (*http.Request, error) {
	req, err := a.NewRequest(ctx, preq, path, body, stream)
	if err != nil {
		return nil, err
	}
	key, err := a.Key(preq)
	if err != nil {
		return nil, err
	}
	req.Header.Del("Authorization")
	if key != "" {
		req.Header.Set("X-Api-Key", key)
	}
	a.setAPI(req.Header, preq)
	return req, nil
}

// UnmarshalCaddyfile sets up the provider from Caddyfile tokens. Syntax:
//
//	anthropic {
//	    base_url  <url>
//	    api_key   <key>
//	    header    <name> <value>
//	    transport <type> {
//	        ...
//	    }
//	    continue  on|off
//	    cache_prompts on|off
//	}
func (a *Anthropic) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	return a.UnmarshalBlock(d, upstream.OnOff("cache_prompts", &a.CachePrompts))
}

// Interface guards
var (
	_ caddy.Provisioner     = (*Anthropic)(nil)
	_ caddyfile.Unmarshaler = (*Anthropic)(nil)
	_ provider.Provider     = (*Anthropic)(nil)
	_ provider.Lister       = (*Anthropic)(nil)
	_ provider.Continuer    = (*Anthropic)(nil)
	_ provider.Speaker      = (*Anthropic)(nil)
)
