// Package openai calls providers with OpenAI's chat completions API. That is also
// the gateway's own API, so requests pass unchanged except for the model, and
// answers are mended only if clients would break.
package openai

import (
	"context"
	"errors"
	"net/http"
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

// OpenAI calls OpenAI, or any server with its API: Azure OpenAI, vLLM,
// llama.cpp, LM Studio and most hosted ones.
//
// Mistral's models can continue an assistant message, and so can DeepSeek's under
// the base URL of its beta. With `continue on`, any other server is asked as vLLM
// is, which llama.cpp tolerates.
type OpenAI struct {
	upstream.Upstream

	// Azure makes this Azure OpenAI. The base URL is then required.
	Azure *Azure `json:"azure,omitempty"`

	// Whether the server has the Responses API, so that requests of it pass as they
	// come. Default: whether it is OpenAI at its own address.
	Responses *bool `json:"responses,omitempty"`
}

// CaddyModule returns the Caddy module information.
func (OpenAI) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{
		ID:  "chat.providers.openai",
		New: func() caddy.Module { return new(OpenAI) },
	}
}

// Provision resolves the options and provisions the transport.
func (o *OpenAI) Provision(ctx caddy.Context) error {
	if err := o.checkAzure(o.BaseURL); err != nil {
		return err
	}
	if err := o.Upstream.Provision(ctx, defaultBase); err != nil {
		return err
	}
	return o.checkAzure(o.Base())
}

// checkAzure checks the options of Azure and a base URL for it.
func (o *OpenAI) checkAzure(base string) error {
	if o.Azure == nil {
		return nil
	}
	if o.Responses != nil && *o.Responses && o.Azure.APIVersion != "" {
		return errors.New("responses: only in Azure's v1 API: want azure without a version")
	}
	if base == "" {
		return errors.New("base_url: required by azure: want https://NAME.openai.azure.com")
	}
	return o.Azure.check(base)
}

// DefaultModel returns a small model of OpenAI, or an empty string for other
// servers, whose models are unknown.
func (o *OpenAI) DefaultModel() string {
	if strings.HasPrefix(o.Base(), "https://api.openai.com/") {
		return "gpt-4o-mini"
	}
	return ""
}

// NewRequest returns a request that posts body to the endpoint that OpenAI has at
// path.
func (o *OpenAI) NewRequest(ctx context.Context, preq *provider.Request, path string, body []byte, stream bool) (*http.Request, error) {
	if o.Azure == nil {
		return o.Upstream.NewRequest(ctx, preq, path, body, stream)
	}
	path, err := o.Azure.path(preq.Model, path)
	if err != nil {
		return nil, err
	}
	req, err := o.Upstream.NewRequest(ctx, preq, path, body, stream)
	if err != nil {
		return nil, err
	}
	if key, ok := strings.CutPrefix(req.Header.Get("Authorization"), "Bearer "); ok {
		req.Header.Del("Authorization")
		req.Header.Set("Api-Key", key)
	}
	return req, nil
}

// Complete makes a call and returns the whole answer.
func (o *OpenAI) Complete(ctx context.Context, req *provider.Request) (*provider.Completion, error) {
	switch {
	case req.Native != nil:
		return o.completeResponse(ctx, req, req.Native)
	case req.Beside != nil:
		return o.completeBeside(ctx, req)
	case o.goesThroughResponses(req):
		return o.completeThrough(ctx, req)
	}
	begun, err := o.prepared(req)
	if err != nil {
		return nil, err
	}
	c, err := Complete(ctx, o, begun)
	if err != nil || req.Continue == "" || !o.isMistral() {
		return c, err
	}
	return withoutEcho(c, req.Continue)
}

// Stream makes a call and returns the answer chunk by chunk.
func (o *OpenAI) Stream(ctx context.Context, req *provider.Request) (provider.Stream, error) {
	switch {
	case req.Native != nil:
		return o.streamResponse(ctx, req, req.Native)
	case req.Beside != nil:
		return o.streamBeside(ctx, req)
	case o.goesThroughResponses(req):
		return o.streamThrough(ctx, req)
	}
	begun, err := o.prepared(req)
	if err != nil {
		return nil, err
	}
	s, err := Stream(ctx, o, begun)
	if err != nil || req.Continue == "" || !o.isMistral() {
		return s, err
	}
	return &echoed{Stream: s, rest: req.Continue}, nil
}

// Embed makes a call of the embeddings API.
func (o *OpenAI) Embed(ctx context.Context, req *provider.Request) (*provider.Completion, error) {
	return Embed(ctx, o, req)
}

// Models asks for the server's models. Azure lists what can be deployed and not what
// is, so it is not asked.
func (o *OpenAI) Models(ctx context.Context, preq *provider.Request) ([]string, error) {
	if o.Azure != nil {
		return nil, provider.Unsupported("model", "its provider has no list of models")
	}
	req, err := o.NewRequest(ctx, preq, "/models", nil, false)
	if err != nil {
		return nil, err
	}
	return o.Upstream.Models(req, "data", "id")
}

// Continues reports whether a model can continue an assistant message. The
// operator's setting takes precedence over what is known of the server.
func (o *OpenAI) Continues(model string) bool {
	// Reasoning models would reason again before they continue.
	known := o.isMistral() && !strings.HasPrefix(model, "magistral") || o.isDeepSeekBeta()
	return o.Upstream.Continues(known)
}

// prepared returns a request as the server accepts it.
func (o *OpenAI) prepared(req *provider.Request) (*provider.Request, error) {
	fit, err := o.withoutReasoning(o.fitted(req))
	if err != nil {
		return nil, err
	}
	return begin(fit, o.beginning())
}

func (o *OpenAI) beginning() beginning {
	if o.isMistral() || o.isDeepSeekBeta() {
		return beginPrefix
	}
	return beginFinal
}

// isOpenAI reports whether the server is OpenAI's own, or Azure's.
func (o *OpenAI) isOpenAI() bool {
	return o.Azure != nil || strings.HasPrefix(o.Base()+"/", "https://api.openai.com/")
}

// HasCustomTools implements provider.CustomTooler.
func (o *OpenAI) HasCustomTools() bool { return o.isOpenAI() }

func (o *OpenAI) isMistral() bool {
	return strings.HasPrefix(o.Base(), "https://api.mistral.ai/")
}

func (o *OpenAI) isDeepSeekBeta() bool {
	return strings.HasPrefix(o.Base()+"/", "https://api.deepseek.com/beta/")
}

// UnmarshalCaddyfile sets up the provider from Caddyfile tokens. Syntax:
//
//	openai {
//	    azure     [<api version>]
//	    responses on|off
//	    base_url  <url>
//	    api_key   <key>
//	    header    <name> <value>
//	    transport <type> {
//	        ...
//	    }
//	    continue  on|off
//	}
func (o *OpenAI) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	begin := *d
	err := o.UnmarshalBlock(d,
		upstream.Option{Name: "azure", Unmarshal: o.unmarshalAzure},
		upstream.OnOff("responses", &o.Responses),
	)
	if err != nil {
		return err
	}
	begin.Next() // the line of the provider's name
	if err := o.checkAzure(o.BaseURL); err != nil {
		return begin.WrapErr(err)
	}
	return nil
}

// Interface guards
var (
	_ caddy.Provisioner     = (*OpenAI)(nil)
	_ caddyfile.Unmarshaler = (*OpenAI)(nil)
	_ provider.Provider     = (*OpenAI)(nil)
	_ provider.Embedder     = (*OpenAI)(nil)
	_ provider.Lister       = (*OpenAI)(nil)
	_ provider.Relayer      = (*OpenAI)(nil)
	_ provider.Continuer    = (*OpenAI)(nil)
	_ provider.CustomTooler = (*OpenAI)(nil)
	_ Server                = (*OpenAI)(nil)
	_ Server                = (*upstream.Upstream)(nil)
)
