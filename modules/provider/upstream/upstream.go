// Package upstream holds what the providers that are called over HTTP share:
// their common options, the connection, and the reading of failures.
package upstream

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp/reverseproxy"
	"github.com/tidwall/gjson"
	"github.com/tidwall/sjson"
	"go.uber.org/zap"
	"golang.org/x/net/http/httpguts"
)

// Upstream holds the options that work for every provider called over HTTP.
// Embed it in the provider's configuration, call its Provision from the
// provider's, and make calls with NewRequest and Do.
type Upstream struct {
	// The URL of the provider's API, http or https, without a query.
	// Placeholders are resolved when the configuration is loaded. Default: the
	// provider's own.
	BaseURL string `json:"base_url,omitempty"`

	// The API key. Placeholders such as {env.OPENAI_API_KEY} are resolved when
	// the configuration is loaded. If the result is empty, loading logs a
	// warning and the calls fail: a missing secret neither keeps the rest of
	// the server from starting nor the configuration from being validated on a
	// machine without secrets. Default: no key is sent.
	APIKey string `json:"api_key,omitempty"`

	// Headers to set on every call. They override the provider's own.
	// Placeholders are resolved when the configuration is loaded.
	Headers http.Header `json:"headers,omitempty"`

	// The transport for the calls, any of reverse_proxy's. Default: `http`,
	// with TLS if the base URL is https.
	TransportRaw json.RawMessage `json:"transport,omitempty" caddy:"namespace=http.reverse_proxy.transport inline_key=protocol"`

	// Whether the models can continue an assistant message word for word. If
	// so, an answer that was cut is continued. Default: known from the provider
	// and the model.
	Continue *bool `json:"continue,omitempty"`

	base      string
	key       string
	keyErr    error
	headers   http.Header
	transport http.RoundTripper
}

// Provision resolves the options and opens the transport. defaultBase is the
// base URL if none is configured.
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
	base, err := parseBase(base)
	if err != nil {
		return fmt.Errorf("base_url: %w", err)
	}
	u.base = base
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
		// The value consists of placeholders only, so it is safe to show.
		u.keyErr = fmt.Errorf("api_key: %s is empty", u.APIKey)
		return nil
	}
	if !httpguts.ValidHeaderFieldValue(u.key) {
		return errors.New("api_key: must not contain control characters")
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
				return fmt.Errorf("header %s: the value must not contain control characters", name)
			}
			u.headers.Add(name, value)
		}
	}
	return nil
}

// provisionTransport loads the transport, and enables TLS in it if the base URL
// is https. That has to happen in its configuration, because a module
// provisions itself while it is loaded; reverse_proxy's Caddyfile does the
// same.
func (u *Upstream) provisionTransport(ctx caddy.Context) error {
	if len(u.TransportRaw) == 0 {
		u.TransportRaw = json.RawMessage(`{"protocol":"http"}`)
	}
	if err := u.checkTLS(u.base); err != nil {
		return err
	}
	if u.isHTTP() && strings.HasPrefix(u.base, "https:") && !u.hasTLS() {
		raw, err := sjson.SetRawBytes(u.TransportRaw, "tls", []byte("{}"))
		if err != nil {
			return fmt.Errorf("enabling TLS in the transport: %w", err)
		}
		u.TransportRaw = raw
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

func (u *Upstream) isHTTP() bool { return gjson.GetBytes(u.TransportRaw, "protocol").Str == "http" }

func (u *Upstream) hasTLS() bool { return gjson.GetBytes(u.TransportRaw, "tls").IsObject() }

// checkTLS refuses a transport with TLS for a base URL without.
func (u *Upstream) checkTLS(base string) error {
	if u.isHTTP() && u.hasTLS() && strings.HasPrefix(base, "http:") {
		return fmt.Errorf("base_url: %q is plain HTTP, but the transport is configured for TLS: want https", base)
	}
	return nil
}

// Continues says whether a model continues an assistant message: the operator's
// choice, else what is known of the model.
func (u *Upstream) Continues(known bool) bool {
	if u.Continue != nil {
		return *u.Continue
	}
	return known
}

// HasKey reports whether calls use a key, which the operator pays for.
func (u *Upstream) HasKey() bool { return u.APIKey != "" || u.headers.Get("Authorization") != "" }

// Base returns the resolved base URL, without a trailing slash.
func (u *Upstream) Base() string { return u.base }

// Keep the default transport in builds that leave reverse_proxy out.
var _ http.RoundTripper = (*reverseproxy.HTTPTransport)(nil)
