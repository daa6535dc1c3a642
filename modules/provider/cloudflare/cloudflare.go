// Package cloudflare calls Cloudflare's AI Gateway and Workers AI, which have
// OpenAI's API.
package cloudflare

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"regexp"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"go.uber.org/zap"

	"github.com/caddy-chat/caddy-chat/modules/provider"
	"github.com/caddy-chat/caddy-chat/modules/provider/openai"
	"github.com/caddy-chat/caddy-chat/modules/provider/upstream"
)

func init() {
	caddy.RegisterModule(Cloudflare{})
}

const (
	gatewayBase = "https://gateway.ai.cloudflare.com/v1/%s/%s/compat"
	workersBase = "https://api.cloudflare.com/client/v4/accounts/%s/ai/v1"

	// gatewayKey is the header for the gateway's own key.
	gatewayKey = "Cf-Aig-Authorization"
)

// Cloudflare calls an AI Gateway, which names models provider/model, such as
// openai/gpt-4o-mini or workers-ai/@cf/meta/llama-3.1-8b-instruct. Without a
// gateway it calls Workers AI directly.
//
// There are two keys. The API key is Cloudflare's. It opens the gateway, which
// calls the providers behind it with the keys stored there, or on Cloudflare's
// bill. A tenant's own credential is a key of the provider behind the gateway
// and is sent as well: the gateway stays the operator's, and the tenant pays
// for the model. For Workers AI, a tenant's credential replaces the API key,
// and must be for the same account.
//
// Every call carries the tenant, the user and the session for the gateway's
// log.
type Cloudflare struct {
	upstream.Upstream

	// The id of the Cloudflare account. Placeholders are resolved when the
	// configuration is loaded. If the result is empty, loading logs a warning
	// and the calls fail, as for the API key. Required unless there is a base
	// URL, which replaces the URL made from the ids.
	AccountID string `json:"account_id,omitempty"`

	// The id of the gateway. Placeholders are resolved in the same way. With a
	// base URL it only says that the URL is a gateway's, for instance one with
	// its own domain such as https://ai.example.com/compat. Default: none,
	// which is Workers AI.
	GatewayID string `json:"gateway_id,omitempty"`

	missing error // a required id that is empty
}

// CaddyModule returns the Caddy module information.
func (Cloudflare) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{
		ID:  "chat.providers.cloudflare",
		New: func() caddy.Module { return new(Cloudflare) },
	}
}

// Provision resolves the options and opens the transport.
func (c *Cloudflare) Provision(ctx caddy.Context) error {
	if c.BaseURL != "" {
		return c.Upstream.Provision(ctx, "")
	}
	if c.AccountID == "" {
		return errors.New("account_id: required, the id of a Cloudflare account")
	}
	account, err := c.resolve("account_id", c.AccountID)
	if err != nil {
		return err
	}
	base := fmt.Sprintf(workersBase, account)
	if c.GatewayID != "" {
		gateway, err := c.resolve("gateway_id", c.GatewayID)
		if err != nil {
			return err
		}
		base = fmt.Sprintf(gatewayBase, account, gateway)
	}
	if c.missing != nil {
		ctx.Logger().Warn("every call of this provider will fail", zap.Error(c.missing))
	}
	return c.Upstream.Provision(ctx, base)
}

// An account's id has 32 hexadecimal digits, a gateway's at most 64 letters,
// digits, underscores and hyphens.
var anID = regexp.MustCompile(`^[A-Za-z0-9_-]{1,64}$`)

func (c *Cloudflare) resolve(name, value string) (string, error) {
	id, err := caddy.NewReplacer().ReplaceOrErr(value, false, true)
	switch {
	case err != nil:
		return "", fmt.Errorf("%s: %w", name, err)
	case id == "":
		c.missing = errors.Join(c.missing, fmt.Errorf("%s: %s is empty", name, value))
	}
	if err := checkID(id); id != "" && err != nil {
		return "", fmt.Errorf("%s: %w", name, err)
	}
	return id, nil
}

func checkID(id string) error {
	if !anID.MatchString(id) {
		return fmt.Errorf("%q: want at most 64 letters, digits, _ and -", id)
	}
	return nil
}

// DefaultModel is empty: a gateway may have keys for any provider.
func (*Cloudflare) DefaultModel() string { return "" }

// NewRequest makes the request that posts body to the endpoint that OpenAI has
// at path.
func (c *Cloudflare) NewRequest(ctx context.Context, preq *provider.Request, path string, body []byte, stream bool) (*http.Request, error) {
	if c.missing != nil {
		return nil, &provider.Error{Reason: provider.ReasonCredentials, Err: c.missing}
	}
	// A tenant's credential does not open the gateway, so the shared key is
	// required too.
	var opens string
	if c.GatewayID != "" {
		var err error
		if opens, err = c.Key(new(provider.Request)); err != nil {
			return nil, err
		}
	}
	req, err := c.Upstream.NewRequest(ctx, preq, path, body, stream)
	if err != nil {
		return nil, err
	}
	if c.GatewayID != "" && preq.APIKey == "" {
		req.Header.Del("Authorization")
	}
	if opens != "" {
		req.Header.Set(gatewayKey, "Bearer "+opens)
	}
	if m := metadata(preq); m != "" {
		req.Header.Set("Cf-Aig-Metadata", m)
	}
	return req, nil
}

// Complete makes a call and returns the whole answer.
func (c *Cloudflare) Complete(ctx context.Context, req *provider.Request) (*provider.Completion, error) {
	begun, err := openai.Begin(req)
	if err != nil {
		return nil, err
	}
	return openai.Complete(ctx, c, begun)
}

// Stream makes a call and returns the answer chunk by chunk.
func (c *Cloudflare) Stream(ctx context.Context, req *provider.Request) (provider.Stream, error) {
	begun, err := openai.Begin(req)
	if err != nil {
		return nil, err
	}
	return openai.Stream(ctx, c, begun)
}

// Embed makes a call of the embeddings API.
func (c *Cloudflare) Embed(ctx context.Context, req *provider.Request) (*provider.Completion, error) {
	return openai.Embed(ctx, c, req)
}

// Continues says whether a model can continue an assistant message. Only the
// operator knows: a gateway may have any model behind it.
func (c *Cloudflare) Continues(string) bool { return c.Upstream.Continues(false) }

// HasCustomTools implements provider.CustomTooler. A gateway may have OpenAI behind it.
func (c *Cloudflare) HasCustomTools() bool { return false }

// UnmarshalCaddyfile sets up the provider from Caddyfile tokens. Syntax:
//
//	cloudflare {
//	    account_id <id>
//	    gateway_id <id>
//	    base_url   <url>
//	    api_key    <key>
//	    header     <name> <value>
//	    transport  <type> {
//	        ...
//	    }
//	    continue   on|off
//	}
func (c *Cloudflare) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	err := c.UnmarshalBlock(d,
		upstream.Checked("account_id", &c.AccountID, checkID),
		upstream.Checked("gateway_id", &c.GatewayID, checkID),
	)
	if err != nil {
		return err
	}
	if c.AccountID == "" && c.BaseURL == "" {
		return d.Err("cloudflare: account_id is required, the id of a Cloudflare account")
	}
	return nil
}

// Interface guards
var (
	_ caddy.Provisioner     = (*Cloudflare)(nil)
	_ caddyfile.Unmarshaler = (*Cloudflare)(nil)
	_ provider.Provider     = (*Cloudflare)(nil)
	_ provider.Embedder     = (*Cloudflare)(nil)
	_ provider.Continuer    = (*Cloudflare)(nil)
	_ provider.CustomTooler = (*Cloudflare)(nil)
	_ openai.Server         = (*Cloudflare)(nil)
)
