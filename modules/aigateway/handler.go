// Package aigateway is the handler that calls the models.
package aigateway

import (
	"net/http"
	"sync"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"go.uber.org/zap"

	"github.com/caddy-chat/caddy-chat/modules/apierror"
	"github.com/caddy-chat/caddy-chat/modules/chat"
	"github.com/caddy-chat/caddy-chat/modules/provider"
	"github.com/caddy-chat/caddy-chat/modules/record"
	"github.com/caddy-chat/caddy-chat/modules/route"
	"github.com/caddy-chat/caddy-chat/modules/sharedanswer"
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
	answers  *sharedanswer.Cache
	keys     *sharedanswer.Idempotency
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

func (h *Handler) ServeHTTP(w http.ResponseWriter, r *http.Request, next caddyhttp.Handler) error {
	e, ok := h.match(r.URL.Path)
	if !ok {
		return next.ServeHTTP(w, r)
	}
	x, done := h.app.Enter(w, r)
	defer done(nil)

	if err := h.serve(x, e); err != nil {
		return apierror.Answer(h.log, x.W, r, err)
	}
	return nil
}

// endpoint is one of the handler's routes.
type endpoint struct {
	method string
	serve  func(*Handler, *chat.Exchange) error
}

var endpoints = map[string]endpoint{
	"/v1/chat/completions": {http.MethodPost, (*Handler).completions},
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
func (h *Handler) serve(x *chat.Exchange, e endpoint) error {
	if err := h.requireTenant(x); err != nil {
		return err
	}
	if x.R.Method != e.method && (e.method != http.MethodGet || x.R.Method != http.MethodHead) {
		return apierror.MethodNotAllowed(e.method)
	}
	return e.serve(h, x)
}

func (h *Handler) requireTenant(x *chat.Exchange) error {
	if h.Tenant == tenantNone && x.Rec.Tenant == nil {
		return nil
	}
	return x.RequireTenant(h.Tenant)
}

// completions serves POST /v1/chat/completions.
func (h *Handler) completions(x *chat.Exchange) error {
	req, err := h.readRequest(x)
	if err != nil {
		return err
	}
	return h.answer(x, req)
}

// answer answers a request: with an answer that is there or on its way, where
// the request may have one, and else with a call of its model.
func (h *Handler) answer(x *chat.Exchange, req *request) error {
	choice, err := h.choose(x, req.model)
	if err != nil {
		return err
	}
	x.Rec.SetCall(record.Call{Model: choice.Name})
	x.SetHeader("X-Model-Id", choice.Name)
	return h.shared(x, req, choice)
}

// Interface guards
var (
	_ caddy.Provisioner           = (*Handler)(nil)
	_ caddy.Validator             = (*Handler)(nil)
	_ caddy.CleanerUpper          = (*Handler)(nil)
	_ caddyhttp.MiddlewareHandler = (*Handler)(nil)
)
