// Package bedrock calls the models of Amazon Bedrock through its Converse API,
// which is the same for all of them:
// https://docs.aws.amazon.com/bedrock/latest/APIReference/API_runtime_Converse.html
package bedrock

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/http"
	"regexp"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"go.uber.org/zap"

	"github.com/caddy-chat/caddy-chat/modules/provider"
	"github.com/caddy-chat/caddy-chat/modules/provider/upstream"
)

func init() {
	caddy.RegisterModule(Bedrock{})
}

// Bedrock calls Amazon Bedrock. Models have Bedrock's names: an id, an
// inference profile or an ARN.
//
// A call is authorized in one of two ways. With api_key it carries a Bedrock
// API key. Otherwise it is signed with AWS access keys: the configured ones,
// else AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY and AWS_SESSION_TOKEN from the
// environment. api_key, and a tenant's own credential, may also hold access
// keys, as ACCESS_KEY_ID:SECRET_ACCESS_KEY or
// ACCESS_KEY_ID:SECRET_ACCESS_KEY:SESSION_TOKEN.
//
// If the keys or the region resolve to nothing, loading the configuration logs
// a warning, and the calls that need them fail.
type Bedrock struct {
	upstream.Upstream

	// The AWS region to call, such as us-east-1. Placeholders are resolved
	// when the configuration is loaded. Default: {env.AWS_REGION}.
	Region string `json:"region,omitempty"`

	// The AWS access key to sign calls with. Placeholders are resolved when
	// the configuration is loaded. Default: {env.AWS_ACCESS_KEY_ID}, with the
	// secret and the session token of the environment.
	AccessKeyID string `json:"access_key_id,omitempty"`

	// The secret of access_key_id. Placeholders are resolved when the
	// configuration is loaded.
	SecretAccessKey string `json:"secret_access_key,omitempty"`

	// The session token of access_key_id, if that is temporary. Placeholders
	// are resolved when the configuration is loaded.
	SessionToken string `json:"session_token,omitempty"`

	region    string
	regionErr error
	key       accessKey
	keyErr    error
	now       func() time.Time
}

// CaddyModule returns the Caddy module information.
func (Bedrock) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{
		ID:  "chat.providers.bedrock",
		New: func() caddy.Module { return new(Bedrock) },
	}
}

// Provision resolves the options and opens the transport.
func (b *Bedrock) Provision(ctx caddy.Context) error {
	b.now = time.Now
	if err := b.checkHeaders(); err != nil {
		return err
	}
	repl := caddy.NewReplacer()
	if err := b.provisionRegion(repl); err != nil {
		return err
	}
	if err := b.provisionKey(repl); err != nil {
		return err
	}
	if err := b.Upstream.Provision(ctx, "https://bedrock-runtime."+b.region+".amazonaws.com"); err != nil {
		return err
	}
	// With an API key, about which Upstream warns, nothing is signed.
	var missing error
	if b.APIKey == "" {
		missing = cmp.Or(b.regionErr, b.keyErr)
	} else if b.BaseURL == "" {
		missing = b.regionErr
	}
	if missing != nil {
		ctx.Logger().Warn("calls of this provider will fail", zap.Error(missing))
	}
	return nil
}

// HasKey implements what Upstream does. Calls without an API key are signed.
func (b *Bedrock) HasKey() bool { return true }

// checkKeys refuses keys that do not go together.
func (b *Bedrock) checkKeys() error {
	switch {
	case b.AccessKeyID == "" && (b.SecretAccessKey != "" || b.SessionToken != ""):
		return errors.New("access_key_id: required with secret_access_key and session_token")
	case b.AccessKeyID != "" && b.SecretAccessKey == "":
		return errors.New("secret_access_key: required with access_key_id")
	case b.AccessKeyID != "" && b.APIKey != "":
		return errors.New("api_key: access_key_id is also set: want one of them")
	}
	return nil
}

// checkHeaders refuses headers that would break a call's authorization.
func (b *Bedrock) checkHeaders() error {
	for name := range b.Headers {
		switch http.CanonicalHeaderKey(name) {
		case "Authorization", "X-Amz-Date", "X-Amz-Security-Token":
			return fmt.Errorf("header %s: part of the signature: want api_key or access_key_id", name)
		}
	}
	return nil
}

// regions matches names that can be part of a host name.
var regions = regexp.MustCompile(`^[a-z0-9]+(-[a-z0-9]+)*$`)

func (b *Bedrock) provisionRegion(repl *caddy.Replacer) error {
	var err error
	b.region, b.regionErr, err = resolve(repl, "region", b.Region, "{env.AWS_REGION}")
	if err != nil {
		return err
	}
	if b.regionErr != nil {
		b.region = "us-east-1" // makes a URL that is never called
		return nil
	}
	if err := checkRegion(b.region); err != nil {
		return fmt.Errorf("region: %w", err)
	}
	return nil
}

func checkRegion(region string) error {
	if !regions.MatchString(region) {
		return fmt.Errorf("%q: want a region such as us-east-1", region)
	}
	return nil
}

func (b *Bedrock) provisionKey(repl *caddy.Replacer) error {
	id, secret, token := b.AccessKeyID, b.SecretAccessKey, b.SessionToken
	err := b.checkKeys()
	if err != nil {
		return err
	}
	var idErr, secretErr error
	if b.key.id, idErr, err = resolve(repl, "access_key_id", id, "{env.AWS_ACCESS_KEY_ID}"); err != nil {
		return err
	}
	if b.key.secret, secretErr, err = resolve(repl, "secret_access_key", secret, "{env.AWS_SECRET_ACCESS_KEY}"); err != nil {
		return err
	}
	// The environment's token belongs to the environment's keys.
	if id == "" || token != "" {
		if b.key.token, _, err = resolve(repl, "session_token", token, "{env.AWS_SESSION_TOKEN}"); err != nil {
			return err
		}
	}
	b.keyErr = cmp.Or(idErr, secretErr)
	if b.keyErr == nil && !b.key.valid() {
		return errors.New("access_key_id and session_token must not contain control characters")
	}
	return nil
}

// DefaultModel is empty: the region and the account decide which models exist.
func (b *Bedrock) DefaultModel() string { return "" }

// Continues says whether a model can continue an assistant message.
func (b *Bedrock) Continues(model string) bool {
	v, ok := claudeVersion(model)
	return b.Upstream.Continues(ok && !v.since(4, 6))
}

// Complete makes a call and returns the whole answer.
func (b *Bedrock) Complete(ctx context.Context, req *provider.Request) (*provider.Completion, error) {
	resp, names, err := b.call(ctx, req, false)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	doc, err := upstream.ReadAll(ctx, resp.Body)
	if err != nil {
		return nil, err
	}
	a, err := readAnswer(doc)
	if err != nil {
		return nil, err
	}
	return a.completion(req.Model, names), nil
}

// Stream makes a call and returns the answer chunk by chunk.
func (b *Bedrock) Stream(ctx context.Context, req *provider.Request) (provider.Stream, error) {
	resp, names, err := b.call(ctx, req, true) //nolint:bodyclose // the stream closes it
	if err != nil {
		return nil, err
	}
	return newStream(ctx, resp, req.Model, names), nil
}

// UnmarshalCaddyfile sets up the provider from Caddyfile tokens. Syntax:
//
//	bedrock {
//	    region            <region>
//	    access_key_id     <id>
//	    secret_access_key <secret>
//	    session_token     <token>
//	    base_url  <url>
//	    api_key   <key>
//	    header    <name> <value>
//	    transport <type> {
//	        ...
//	    }
//	    continue  on|off
//	}
func (b *Bedrock) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	begin := *d
	err := b.UnmarshalBlock(d,
		upstream.Checked("region", &b.Region, checkRegion),
		upstream.Text("access_key_id", &b.AccessKeyID),
		upstream.Secret("secret_access_key", &b.SecretAccessKey),
		upstream.Secret("session_token", &b.SessionToken),
	)
	if err != nil {
		return err
	}
	begin.Next() // the line of the provider's name
	if err := cmp.Or(b.checkKeys(), b.checkHeaders()); err != nil {
		return begin.WrapErr(err)
	}
	return nil
}

// Interface guards
var (
	_ caddy.Provisioner     = (*Bedrock)(nil)
	_ caddyfile.Unmarshaler = (*Bedrock)(nil)
	_ provider.Provider     = (*Bedrock)(nil)
	_ provider.Continuer    = (*Bedrock)(nil)
)
