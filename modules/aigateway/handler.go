// Package aigateway is the handler that calls the models.
package aigateway

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"sync"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"go.uber.org/zap"

	"github.com/caddy-chat/caddy-chat/modules/chat"
	"github.com/caddy-chat/caddy-chat/modules/chatctx"
	"github.com/caddy-chat/caddy-chat/modules/chaterr"
	"github.com/caddy-chat/caddy-chat/modules/chatreplay"
	"github.com/caddy-chat/caddy-chat/modules/price"
	"github.com/caddy-chat/caddy-chat/modules/provider"
	"github.com/caddy-chat/caddy-chat/modules/route"
	"github.com/caddy-chat/caddy-chat/modules/tenant"
)

func init() {
	caddy.RegisterModule(Handler{})
}

// tenantNone serves requests without any tenant.
const tenantNone = "none"

// Handler is an OpenAI-compatible gateway: it serves /v1/chat/completions,
// /v1/embeddings, /v1/models and /v1/health, and passes everything else on. It chooses the
// model, calls its provider and answers in OpenAI's shape, whatever the
// provider speaks.
type Handler struct {
	// The tenant of requests that no tenant_resolve has marked, or "none" to
	// serve them without one. Default: none is assumed, such requests are
	// refused.
	Tenant string `json:"tenant,omitempty"`

	// The providers by name, modules of the namespace chat.providers.
	// Required.
	ProvidersRaw caddy.ModuleMap `json:"providers,omitempty" caddy:"namespace=chat.providers inline_key=type"`

	// The models by which clients ask. Default: where there is a single
	// provider, its own names.
	Models []*Model `json:"models,omitempty"`

	// The model of a request for which nobody names one. Default: the first
	// of models, else the single provider's own default.
	DefaultModel string `json:"default_model,omitempty"`

	// Providers whose models may be asked for as <provider>/<upstream
	// model>, or * for all. Default: none.
	Passthrough []string `json:"passthrough,omitempty"`

	// The model for requests that name none, whatever the tenant says.
	// Default: none.
	ModelOverride string `json:"model_override,omitempty"`

	// How often a target is asked again after a failure that may pass, before
	// the next target's turn comes. Default: 2.
	Retries *int `json:"retries,omitempty"`

	// The longest wait that a provider may ask for in a 429 and get, before
	// the same target is asked again. Default: 5 seconds.
	RetryAfterMax caddy.Duration `json:"retry_after_max,omitempty"`

	// How long all targets together may take until an answer has begun.
	// Default: 100 seconds.
	TryDuration caddy.Duration `json:"try_duration,omitempty"`

	// How long to wait for a provider's response header; for an answer that
	// is not streamed, for all of it. Default: 30 seconds.
	ResponseTimeout caddy.Duration `json:"response_timeout,omitempty"`

	// How long a stream may take from its header to its first token.
	// Default: 12 seconds.
	FirstTokenTimeout caddy.Duration `json:"first_token_timeout,omitempty"`

	// How long a stream may be silent after that. Default: 60 seconds.
	StallTimeout caddy.Duration `json:"stall_timeout,omitempty"`

	// Whether a stream that is cut goes on with another call, where that is
	// exact. Default: true.
	Rescue *bool `json:"rescue,omitempty"`

	// When a target that fails is left alone. Default: after 5 failures in a
	// row, for 30 seconds.
	CircuitBreaker *CircuitBreaker `json:"circuit_breaker,omitempty"`

	// How long an answer is given again to the same tenant's same request,
	// word for word. Default: never.
	Cache caddy.Duration `json:"cache,omitempty"`

	// How large the body of a request may be, in bytes. Default: 10 MiB.
	MaxBody int64 `json:"max_body,omitempty"`

	// Another path for /v1/health. Default: none.
	HealthPath string `json:"health_path,omitempty"`

	providers map[string]provider.Provider
	types     map[string]string // of the providers, by name
	systems   map[string]string // what traces call them, by name

	// fingerprint sets this gateway's cached answers apart from those of
	// others, and of other settings.
	fingerprint string

	unreport func() // takes the circuits out of the metrics
	table    *route.Table
	loaded   time.Time
	app      *chat.App
	replays  *chatreplay.Replayer
	log      *zap.Logger

	warnUnpriced *sync.Once // of names without an alias, which are the clients'
}

// Model is a name by which clients ask for a model.
type Model struct {
	// The name. Required.
	Name string `json:"name"`

	// Where it goes, as "<provider>/<upstream model> [<weight>]". The weight,
	// 1 where there is none, is for weighted_random only. At least one
	// target is required.
	To []string `json:"to"`

	// The order in which the targets are tried: first, round_robin,
	// weighted_random, least_conn or lowest_latency. Default: first.
	LBPolicy string `json:"lb_policy,omitempty"`

	// What a million tokens cost in US dollars, in and out. Default: what is
	// known of the target.
	Price *Price `json:"price,omitempty"`
}

// CircuitBreaker says when a target that fails is left alone.
type CircuitBreaker struct {
	// After how many failures in a row. 0 for never. Default: 0.
	Failures int `json:"failures"`

	// For how long, before a single call finds out whether it is well again.
	// Default: 30 seconds.
	Pause caddy.Duration `json:"pause,omitempty"`
}

// Price is what a million tokens cost.
type Price struct {
	Input  float64 `json:"input"`
	Output float64 `json:"output"`
}

// CaddyModule returns the Caddy module information.
func (Handler) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{
		ID:  "http.handlers.ai_gateway",
		New: func() caddy.Module { return new(Handler) },
	}
}

// Provision loads the providers and sets the defaults.
func (h *Handler) Provision(ctx caddy.Context) error {
	h.log = ctx.Logger()
	h.loaded = time.Now()
	h.warnUnpriced = new(sync.Once)
	h.ResponseTimeout = cmp.Or(h.ResponseTimeout, caddy.Duration(30*time.Second))
	h.FirstTokenTimeout = cmp.Or(h.FirstTokenTimeout, caddy.Duration(12*time.Second))
	h.StallTimeout = cmp.Or(h.StallTimeout, caddy.Duration(time.Minute))
	h.RetryAfterMax = cmp.Or(h.RetryAfterMax, caddy.Duration(5*time.Second))
	h.TryDuration = cmp.Or(h.TryDuration, caddy.Duration(100*time.Second))
	h.MaxBody = cmp.Or(h.MaxBody, 10<<20)
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
	h.app, h.replays = app, chatreplay.New(app, h.log)
	h.unreport = app.ReportCircuits(func(tell func(string, string, bool)) { h.table.Report(time.Now(), tell) })
	return nil
}

// Cleanup takes what is no more out of the metrics.
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
	h.fingerprint = chatreplay.KeyOf("gateway", string(caddyconfig.JSON(h, nil)))
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

// buildTable makes the table of models, given the names of the providers.
func (h *Handler) buildTable(names []string) error {
	var aliases []route.Alias
	for _, m := range h.Models {
		a, err := m.alias()
		if err != nil {
			return fmt.Errorf("model %s: %w", m.Name, err)
		}
		aliases = append(aliases, a)
	}
	table, err := route.NewTable(aliases, names, h.Passthrough, h.DefaultModel, h.circuit())
	h.table = table
	return err
}

// circuit is how the breakers are set.
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

// checkModels checks the models that the settings name.
func (h *Handler) checkModels() error {
	if err := h.table.Check(h.DefaultModel); err != nil {
		return fmt.Errorf("default_model: %w", err)
	}
	if err := h.table.Check(h.ModelOverride); err != nil {
		return fmt.Errorf("model_override: %w", err)
	}
	return nil
}

// Validate checks the names that the settings refer to.
func (h *Handler) Validate() error {
	if err := h.checkModels(); err != nil {
		return err
	}
	if h.HealthPath != "" {
		if err := checkPath(h.HealthPath); err != nil {
			return fmt.Errorf("health_path: %w", err)
		}
	}
	if *h.Retries < 0 || h.RetryAfterMax < 0 || h.TryDuration < 0 ||
		h.CircuitBreaker != nil && (h.CircuitBreaker.Failures < 0 || h.CircuitBreaker.Pause < 0) ||
		h.ResponseTimeout < 0 || h.FirstTokenTimeout < 0 || h.StallTimeout < 0 || h.Cache < 0 || h.MaxBody < 0 {
		return errors.New("want positive values")
	}
	h.warnOfTenants()
	h.warnOfPrices()
	if h.Tenant == tenantNone {
		return nil
	}
	return h.app.CheckTenant(h.Tenant)
}

// warnOfTenants says which tenants name models or providers that this gateway
// does not have. Another gateway may have them.
func (h *Handler) warnOfTenants() {
	for _, t := range h.app.Tenancy().All() {
		for _, name := range append([]string{t.Model}, t.Models...) {
			if err := h.table.Check(name); err != nil {
				h.log.Warn("a tenant names a model that is not here", zap.String("tenant", t.ID), zap.String("model", name))
			}
		}
		for name := range t.Credentials {
			if h.providers[name] == nil {
				h.log.Warn("a tenant has a credential for a provider that is not here", zap.String("tenant", t.ID), zap.String("provider", name))
			}
		}
	}
}

func (h *Handler) ServeHTTP(w http.ResponseWriter, r *http.Request, next caddyhttp.Handler) error {
	rt, ok := h.match(r.URL.Path)
	if !ok {
		return next.ServeHTTP(w, r)
	}
	rec, w, done := h.app.Enter(w, r)
	defer done(nil)

	if err := h.serve(&exchange{w: w, r: r, rec: rec}, rt); err != nil {
		return chaterr.Answer(h.log, w, r, err)
	}
	return nil
}

// exchange is one request and its answer.
type exchange struct {
	w   http.ResponseWriter
	r   *http.Request
	rec *chatctx.Record
}

// endpoint is one of the handler's routes.
type endpoint struct {
	method string
	serve  func(*Handler, *exchange) error
}

var endpoints = map[string]endpoint{
	"/v1/chat/completions": {http.MethodPost, (*Handler).chat},
	"/v1/embeddings":       {http.MethodPost, (*Handler).embeddings},
	"/v1/models":           {http.MethodGet, (*Handler).models},
	"/v1/health":           {http.MethodGet, (*Handler).health},
}

func (h *Handler) match(path string) (endpoint, bool) {
	if h.HealthPath != "" && path == h.HealthPath {
		path = "/v1/health"
	}
	e, ok := endpoints[path]
	return e, ok
}

// serve answers a request, or returns why it has not been answered.
func (h *Handler) serve(x *exchange, e endpoint) error {
	if err := h.requireTenant(x); err != nil {
		return err
	}
	if x.r.Method != e.method && (e.method != http.MethodGet || x.r.Method != http.MethodHead) {
		return chaterr.MethodNotAllowed(e.method)
	}
	return e.serve(h, x)
}

func (h *Handler) requireTenant(x *exchange) error {
	if h.Tenant == tenantNone && x.rec.Tenant == nil {
		return nil
	}
	if err := h.app.RequireTenant(x.r, x.rec, h.Tenant); err != nil {
		return err
	}
	x.rec.SetHeader(x.w, chatctx.HeaderTenant, x.rec.Tenant.ID)
	return nil
}

// mayUse says whether the request's tenant may use a model.
func mayUse(t *tenant.Tenant) func(string) bool {
	if t == nil {
		return func(string) bool { return true }
	}
	return t.MayUse
}

// Interface guards
var (
	_ caddy.Provisioner           = (*Handler)(nil)
	_ caddy.Validator             = (*Handler)(nil)
	_ caddy.CleanerUpper          = (*Handler)(nil)
	_ caddyhttp.MiddlewareHandler = (*Handler)(nil)
)
