// Package upstream is what the providers that are called over HTTP share:
// their common options, the connection, and the reading of failures.
package upstream

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp/reverseproxy"
	"github.com/tidwall/gjson"
	"github.com/tidwall/sjson"
	"go.uber.org/zap"
	"golang.org/x/net/http/httpguts"
)

// Upstream holds the options that work for every provider that is called
// over HTTP. Embed it in the provider's own configuration, call Provision
// from the provider's, and make calls with NewRequest and Do.
type Upstream struct {
	// The URL below which the provider's API lives, http or https, without a
	// query. Placeholders are resolved when the configuration is loaded.
	// Default: the provider's own.
	BaseURL string `json:"base_url,omitempty"`

	// The API key. Placeholders such as {env.OPENAI_API_KEY} are resolved when
	// the configuration is loaded. One that resolves to nothing is a warning
	// then and fails the calls, so that a missing secret does not keep the
	// rest of the server from starting, nor the configuration from being
	// validated where there are no secrets. Default: none is sent.
	APIKey string `json:"api_key,omitempty"`

	// Headers to set on every call. They win over those that the provider
	// sets. Placeholders are resolved when the configuration is loaded.
	Headers http.Header `json:"headers,omitempty"`

	// The transport to call the provider with, any that reverse_proxy has.
	// Default: `http`, with TLS where the base URL says https.
	TransportRaw json.RawMessage `json:"transport,omitempty" caddy:"namespace=http.reverse_proxy.transport inline_key=protocol"`

	// Whether the models go on with an assistant message that has been begun,
	// word for word: an answer that was cut is then continued. Default: what
	// is known of the provider and the model.
	Continue *bool `json:"continue,omitempty"`

	base      string
	key       string
	keyErr    error
	headers   http.Header
	transport http.RoundTripper
}

// Provision resolves the options and opens the transport. defaultBase is the
// base URL where none is configured.
func (u *Upstream) Provision(ctx caddy.Context, defaultBase string) error {
	repl := caddy.NewReplacer()
	if err := u.provisionBase(repl, defaultBase); err != nil {
		return err
	}
	if err := u.provisionKey(repl); err != nil {
		return err
	}
	if u.keyErr != nil {
		ctx.Logger().Warn("every call of this provider will fail", zap.Error(u.keyErr))
	}
	if err := u.provisionHeaders(repl); err != nil {
		return err
	}
	return u.provisionTransport(ctx)
}

func (u *Upstream) provisionBase(repl *caddy.Replacer, defaultBase string) error {
	base := defaultBase
	if u.BaseURL != "" {
		var err error
		base, err = repl.ReplaceOrErr(u.BaseURL, false, true)
		if err != nil {
			return fmt.Errorf("base_url: %w", err)
		}
		if base == "" {
			return fmt.Errorf("base_url: %s is empty", u.BaseURL)
		}
	}
	parsed, err := url.Parse(base)
	switch {
	case err != nil, parsed.Scheme != "http" && parsed.Scheme != "https", parsed.Host == "":
		return fmt.Errorf("base_url: %q: want a URL such as https://api.example.com/v1", base)
	case parsed.User != nil:
		return errors.New("base_url: credentials do not belong here: want api_key or header")
	case parsed.RawQuery != "" || parsed.ForceQuery || parsed.Fragment != "":
		return fmt.Errorf("base_url: %q: want a URL without query and fragment", base)
	}
	u.base = strings.TrimRight(base, "/")
	return nil
}

func (u *Upstream) provisionKey(repl *caddy.Replacer) error {
	if u.APIKey == "" {
		return nil
	}
	key, err := repl.ReplaceOrErr(u.APIKey, false, true)
	if err != nil {
		return fmt.Errorf("api_key: %w", err)
	}
	// A key from a file often ends with a newline.
	u.key = strings.TrimSpace(key)
	if u.key == "" {
		// There is nothing but placeholders in it, so that it can be shown.
		u.keyErr = fmt.Errorf("api_key: %s is empty", u.APIKey)
		return nil
	}
	if !httpguts.ValidHeaderFieldValue(u.key) {
		return errors.New("api_key: it holds control characters")
	}
	return nil
}

func (u *Upstream) provisionHeaders(repl *caddy.Replacer) error {
	u.headers = make(http.Header, len(u.Headers))
	for _, name := range slices.Sorted(maps.Keys(u.Headers)) {
		if !httpguts.ValidHeaderFieldName(name) {
			return fmt.Errorf("header %q: want a header name such as X-Team", name)
		}
		for _, value := range u.Headers[name] {
			value = repl.ReplaceKnown(value, "")
			if !httpguts.ValidHeaderFieldValue(value) {
				return fmt.Errorf("header %s: the value holds control characters", name)
			}
			u.headers.Add(name, value)
		}
	}
	return nil
}

// provisionTransport loads the transport, with TLS enabled where the base URL
// asks for it: as a module provisions itself while it is loaded, that has to
// happen in its configuration, as reverse_proxy's Caddyfile does it.
func (u *Upstream) provisionTransport(ctx caddy.Context) error {
	if len(u.TransportRaw) == 0 {
		u.TransportRaw = json.RawMessage(`{"protocol":"http"}`)
	}
	if gjson.GetBytes(u.TransportRaw, "protocol").Str == "http" {
		tls := gjson.GetBytes(u.TransportRaw, "tls")
		secure := strings.HasPrefix(u.base, "https:")
		switch {
		case secure && !tls.IsObject():
			raw, err := sjson.SetRawBytes(u.TransportRaw, "tls", []byte("{}"))
			if err != nil {
				return fmt.Errorf("enabling TLS in the transport: %w", err)
			}
			u.TransportRaw = raw
		case !secure && tls.IsObject():
			return fmt.Errorf("base_url: %q is plain HTTP, but the transport is configured for TLS: want https", u.base)
		}
	}
	mod, err := ctx.LoadModule(u, "TransportRaw")
	if err != nil {
		return fmt.Errorf("loading the transport: %w", err)
	}
	rt, ok := mod.(http.RoundTripper)
	if !ok {
		return fmt.Errorf("loading the transport: %T makes no HTTP requests", mod)
	}
	u.transport = rt
	return nil
}

// Continues says whether a model continues an assistant message: what the
// operator said, else what is known of it.
func (u *Upstream) Continues(known bool) bool {
	if u.Continue != nil {
		return *u.Continue
	}
	return known
}

// Base is the resolved base URL, without a slash at its end.
func (u *Upstream) Base() string { return u.base }

// The default transport must be there even in a build that leaves
// reverse_proxy out.
var _ http.RoundTripper = (*reverseproxy.HTTPTransport)(nil)
