package chat

import (
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/caddyserver/caddy/v2"

	"github.com/caddy-chat/caddy-chat/modules/limit"
	"github.com/caddy-chat/caddy-chat/modules/tenant"
)

// TenantConfig is a tenant as it is configured, in a tenant block or in a
// file of its own. Placeholders such as {env.ACME_KEY} may stand in api_keys
// and credentials.
type TenantConfig struct {
	// The tenant's id: 1 to 63 of a-z, 0-9, _ and -, beginning with a letter
	// or digit. Required.
	ID string `json:"id"`

	// The host names that name this tenant, such as acme.example.com or
	// *.acme.example.com. Default: none.
	Hosts []string `json:"hosts,omitempty"`

	// The tenant's API keys, as sha256:<hex> or from the environment. A
	// tenant with keys is entered with one of them only. Default: none.
	APIKeys []string `json:"api_keys,omitempty"`

	// The origins whose pages may call the tenant's API from a browser, such as
	// https://app.example.com or https://*.example.com, or * for all. They add
	// to those of tenant_resolve. Default: none.
	AllowOrigins []string `json:"allow_origins,omitempty"`

	// The model to use where a request names none. Default: the gateway's.
	Model string `json:"model,omitempty"`

	// The only models the tenant may use. Default: all.
	Models []string `json:"models,omitempty"`

	// Sliding windows for requests, such as "60 1m" or "1000 1m per tenant".
	// Default: those of chat_ratelimit.
	Requests []string `json:"requests,omitempty"`

	// Short sliding windows, such as "20 10s". Default: those of
	// chat_ratelimit.
	Burst []string `json:"burst,omitempty"`

	// Sliding windows for the tokens of model calls, such as "100000 1m per
	// tenant". Default: those of chat_ratelimit.
	Tokens []string `json:"tokens,omitempty"`

	// How many requests may run at once, such as "10" or "50 per tenant".
	// Default: those of chat_ratelimit.
	Concurrent []string `json:"concurrent,omitempty"`

	// How much may be used in a UTC day or month, such as "50000 tokens/day"
	// or "25 usd/month". Default: any amount.
	Budgets []string `json:"budgets,omitempty"`

	// How long messages are kept. Default: that of chat_session.
	Retention caddy.Duration `json:"retention,omitempty"`

	// How many messages a session keeps. Default: that of chat_session.
	MaxMessages int `json:"max_messages,omitempty"`

	// The system prompt. Default: that of chat_session.
	System string `json:"system,omitempty"`

	// The tenant's own keys, by the name of the provider they are for.
	// Default: the provider's key.
	Credentials map[string]string `json:"credentials,omitempty"`

	// Anything that {chat.tenant.metadata.*} should say about the tenant.
	Metadata map[string]string `json:"metadata,omitempty"`
}

// fieldError is a mistake in one field of a tenant.
type fieldError struct {
	field string // the JSON name
	err   error
}

func (e *fieldError) Error() string { return e.field + ": " + e.err.Error() }
func (e *fieldError) Unwrap() error { return e.err }

// build checks the configuration and returns the tenant. A nil replacer
// leaves values with placeholders in them unread, for the Caddyfile's sake.
func (c *TenantConfig) build(repl *caddy.Replacer) (*tenant.Tenant, error) {
	t := &tenant.Tenant{
		ID:          c.ID,
		Model:       c.Model,
		Models:      c.Models,
		Retention:   time.Duration(c.Retention),
		MaxMessages: c.MaxMessages,
		System:      c.System,
		Metadata:    c.Metadata,
	}
	for _, part := range []struct {
		field string
		read  func() error
	}{
		{"id", func() error { return checkID(c.ID) }},
		{"model", func() error { return checkModel(t) }},
		{"hosts", func() (err error) { t.Hosts, err = each(c.Hosts, tenant.ParseHost); return }},
		{"api_keys", func() (err error) { t.Keys, err = readKeys(c.APIKeys, repl); return }},
		{"allow_origins", func() (err error) { t.Origins, err = tenant.ParseOrigins(c.AllowOrigins); return }},
		{"requests", func() (err error) { t.Requests, err = readRules(c.Requests, true); return }},
		{"burst", func() (err error) { t.Burst, err = readRules(c.Burst, true); return }},
		{"tokens", func() (err error) { t.Tokens, err = readRules(c.Tokens, true); return }},
		{"concurrent", func() (err error) { t.Concurrent, err = readRules(c.Concurrent, false); return }},
		{"budgets", func() (err error) { t.Budgets, err = readBudgets(c.Budgets); return }},
		{"retention", func() error { return checkNotNegative(int64(c.Retention)) }},
		{"max_messages", func() error { return checkNotNegative(int64(c.MaxMessages)) }},
		{"credentials", func() (err error) { t.Credentials, err = readCredentials(c.Credentials, repl); return }},
	} {
		if err := part.read(); err != nil {
			return nil, &fieldError{part.field, err}
		}
	}
	return t, nil
}

func each[T any](list []string, parse func(string) (T, error)) ([]T, error) {
	var out []T
	for _, s := range list {
		v, err := parse(s)
		if err != nil {
			return nil, err
		}
		out = append(out, v)
	}
	return out, nil
}

func checkID(id string) error {
	if !tenant.ValidID(id) {
		return fmt.Errorf("want 1 to 63 of a-z, 0-9, _ and -, beginning with a letter or digit, not %q", id)
	}
	return nil
}

// checkModel refuses a default model that the tenant may not use.
func checkModel(t *tenant.Tenant) error {
	if t.Model != "" && !t.MayUse(t.Model) {
		return fmt.Errorf("%s is not one of the tenant's models: %s", t.Model, strings.Join(t.Models, ", "))
	}
	return nil
}

func checkNotNegative(n int64) error {
	if n < 0 {
		return errors.New("want a positive value")
	}
	return nil
}

func readRules(list []string, windowed bool) ([]limit.Rule, error) {
	return each(list, func(s string) (limit.Rule, error) { return limit.ParseRule(s, windowed) })
}

func readBudgets(list []string) ([]tenant.Budget, error) {
	nested, err := each(list, tenant.ParseBudgets)
	var all []tenant.Budget
	for _, b := range nested {
		all = append(all, b...)
	}
	return all, err
}

// resolve replaces placeholders. known is false where there is one and no
// replacer to ask.
func resolve(s string, repl *caddy.Replacer) (value string, known bool, err error) {
	if !strings.Contains(s, "{") {
		return s, true, nil
	}
	if repl == nil {
		return "", false, nil
	}
	value, err = repl.ReplaceOrErr(s, true, true)
	if err != nil {
		return "", false, fmt.Errorf("%s has no value", s)
	}
	return value, true, nil
}

func readKeys(list []string, repl *caddy.Replacer) ([]tenant.Digest, error) {
	var keys []tenant.Digest
	for _, s := range list {
		value, known, err := resolve(s, repl)
		if err != nil {
			return nil, err
		}
		if !known {
			continue
		}
		d, err := tenant.ParseDigest(value)
		if err != nil {
			return nil, err
		}
		keys = append(keys, d)
	}
	return keys, nil
}

func readCredentials(m map[string]string, repl *caddy.Replacer) (map[string]string, error) {
	if len(m) == 0 {
		return nil, nil
	}
	out := make(map[string]string, len(m))
	for provider, s := range m {
		value, known, err := resolve(s, repl)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", provider, err)
		}
		if known {
			out[provider] = value
		}
	}
	return out, nil
}
