package aigateway

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"math"
	"slices"
	"sync"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig"

	"github.com/caddy-chat/caddy-chat/modules/chat"
	"github.com/caddy-chat/caddy-chat/modules/price"
	"github.com/caddy-chat/caddy-chat/modules/provider"
	"github.com/caddy-chat/caddy-chat/modules/route"
	"github.com/caddy-chat/caddy-chat/modules/sharedanswer"
)

// Provision loads the providers and sets the defaults.
func (h *Handler) Provision(ctx caddy.Context) error {
	h.log = ctx.Logger()
	h.loaded = time.Now()
	h.warnUnpriced = new(sync.Once)
	h.lists = newModelLists(h.log)
	h.RetryAfterMax = cmp.Or(h.RetryAfterMax, caddy.Duration(5*time.Second))
	h.MaxBody = cmp.Or(h.MaxBody, 10<<20)
	h.ReadTimeout = cmp.Or(h.ReadTimeout, caddy.Duration(chat.DefaultReadTimeout))
	h.KeepAlive = cmp.Or(h.KeepAlive, caddy.Duration(15*time.Second))
	if h.Retries == nil {
		h.Retries = new(2)
	}
	if h.Rescue == nil {
		h.Rescue = new(true)
	}

	if err := h.loadProviders(ctx); err != nil {
		return err
	}
	names := slices.Sorted(maps.Keys(h.providers))
	if h.DefaultModel == "" && len(h.Models) == 0 && len(names) == 1 {
		h.DefaultModel = h.providers[names[0]].DefaultModel()
	}
	if err := h.buildTable(names); err != nil {
		return err
	}
	app, err := chat.FromContext(ctx)
	if err != nil {
		return err
	}
	h.app = app
	h.answers, h.keys = sharedanswer.NewCache(app, h.log), sharedanswer.NewIdempotency(app, h.log)
	h.warnOfOpen(ctx)
	h.unreport = app.ReportCircuits(func(tell func(string, string, bool)) { h.table.Report(time.Now(), tell) })
	return nil
}

// Cleanup removes the gateway's circuits from the metrics.
func (h *Handler) Cleanup() error {
	if h.unreport != nil {
		h.unreport()
	}
	return nil
}

func (h *Handler) loadProviders(ctx caddy.Context) error {
	if len(h.ProvidersRaw) == 0 {
		return errors.New("no provider: name one, such as ai_gateway openai {env.OPENAI_API_KEY}")
	}
	h.fingerprint = sharedanswer.KeyOf("gateway", string(caddyconfig.JSON(h, nil)))
	mods, err := ctx.LoadModule(h, "ProvidersRaw")
	if err != nil {
		return fmt.Errorf("loading providers: %w", err)
	}
	h.providers = make(map[string]provider.Provider)
	h.types, h.systems = make(map[string]string), make(map[string]string)
	for name, mod := range mods.(map[string]any) {
		p, ok := mod.(provider.Provider)
		if !ok {
			return fmt.Errorf("provider %s: the module is not a provider", name)
		}
		h.providers[name] = p
		h.types[name] = mod.(caddy.Module).CaddyModule().ID.Name()
		h.systems[name] = systemOf(h.types[name], baseOf(mod))
	}
	return nil
}

// buildTable builds the routing table from the models and the provider names.
func (h *Handler) buildTable(names []string) error {
	var aliases []route.Alias
	h.byName = make(map[string]*Model, len(h.Models))
	for i, m := range h.Models {
		if m == nil {
			return fmt.Errorf("models: number %d is null, want a name and targets", i+1)
		}
		a, err := m.alias()
		if err != nil {
			return fmt.Errorf("model %s: %w", m.Name, err)
		}
		aliases = append(aliases, a)
		h.byName[m.Name] = m
	}
	table, err := route.NewTable(aliases, names, h.Passthrough, h.DefaultModel, h.circuit())
	h.table = table
	return err
}

// alias returns the block of the alias that was chosen; nil for a name without
// one.
func (h *Handler) alias(c route.Choice) *Model { return h.byName[c.Label] }

// circuit returns the settings of the circuit breakers.
func (h *Handler) circuit() route.Circuit {
	const pause = 30 * time.Second
	if h.CircuitBreaker == nil {
		return route.Circuit{Failures: 5, Pause: pause}
	}
	return route.Circuit{Failures: h.CircuitBreaker.Failures, Pause: cmp.Or(time.Duration(h.CircuitBreaker.Pause), pause)}
}

func (m *Model) alias() (route.Alias, error) {
	a := route.Alias{Name: m.Name, Policy: m.LBPolicy}
	if m.Name == "" {
		return a, errors.New("name is empty")
	}
	for _, to := range m.To {
		target, err := route.ParseWeighted(to)
		if err != nil {
			return a, err
		}
		a.Targets = append(a.Targets, target)
	}
	if m.Price != nil {
		if m.Price.Input < 0 || m.Price.Output < 0 {
			return a, errors.New("price: want two numbers of at least 0")
		}
		a.Price = &price.Price{Input: m.Price.Input, Output: m.Price.Output}
	}
	return a, nil
}

// checkModels checks that default_model and model_override exist.
func (h *Handler) checkModels() error {
	if err := h.table.Check(h.DefaultModel); err != nil {
		return fmt.Errorf("default_model: %w", err)
	}
	if err := h.table.Check(h.ModelOverride); err != nil {
		return fmt.Errorf("model_override: %w", err)
	}
	return nil
}

// Validate checks names and numbers, and warns of likely mistakes.
func (h *Handler) Validate() error {
	if err := h.checkModels(); err != nil {
		return err
	}
	if h.HealthPath != "" {
		if err := checkPath(h.HealthPath); err != nil {
			return fmt.Errorf("health_path: %w", err)
		}
	}
	if err := h.checkNumbers(); err != nil {
		return err
	}
	h.app.NoteGateway(h)
	h.warnOfPrices()
	if h.Tenant == tenantNone {
		return nil
	}
	return h.app.CheckTenant(h.Tenant)
}

// checkNumbers returns an error for the first number out of range. Only JSON
// configurations can have one: the Caddyfile parser checks its own.
func (h *Handler) checkNumbers() error {
	for _, d := range []struct {
		name  string
		value caddy.Duration
	}{
		{"retry_after_max", h.RetryAfterMax},
		{"cache", h.Cache},
		{"read_timeout", h.ReadTimeout},
		{"keep_alive", h.KeepAlive},
	} {
		if d.value < 0 {
			return fmt.Errorf("%s: %v: want a duration such as 30s", d.name, time.Duration(d.value))
		}
	}
	if err := h.checkTimeouts(); err != nil {
		return err
	}
	for _, m := range h.Models {
		if err := m.checkTimeouts(); err != nil {
			return fmt.Errorf("model %s: %w", m.Name, err)
		}
	}
	if n := *h.Retries; n < 0 || n > maxRetries {
		return fmt.Errorf("retries: %d: want a number from 0 to %d", n, maxRetries)
	}
	if h.MaxBody < 0 || h.MaxBody > math.MaxInt64/2 {
		return fmt.Errorf("max_body: %d: want a number of bytes", h.MaxBody)
	}
	c := h.CircuitBreaker
	if c != nil && c.Failures < 0 {
		return fmt.Errorf("circuit_breaker: failures: %d: want a number of failures in a row, 0 for never", c.Failures)
	}
	if c != nil && c.Pause < 0 {
		return fmt.Errorf("circuit_breaker: pause: %v: want a duration such as 30s", time.Duration(c.Pause))
	}
	return nil
}

// HasModel implements chat.Gateway.
func (h *Handler) HasModel(name string) bool { return h.table.Check(name) == nil }

// HasProvider implements chat.Gateway.
func (h *Handler) HasProvider(name string) bool { return h.providers[name] != nil }
