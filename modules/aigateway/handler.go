// Package aigateway implements the handler that calls models.
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

// tenantNone is the value of Handler.Tenant that serves requests without a tenant.
const tenantNone = "none"

// Handler is an OpenAI-compatible gateway. It serves /v1/chat/completions,
// /v1/embeddings, /v1/models and /v1/health, passes some of OpenAI's other APIs
// through, and passes everything else on; what no other handler answers under /v1 is
// a 404. It chooses a model, calls the model's
// provider and answers in OpenAI's format, whatever API the provider has.
type Handler struct {
	// The tenant of requests that did not pass tenant_resolve, or "none" to
	// serve them without a tenant. Default: such requests are refused.
	Tenant string `json:"tenant,omitempty"`

	// The providers by name, modules of the namespace chat.providers.
	// Required.
	ProvidersRaw caddy.ModuleMap `json:"providers,omitempty" caddy:"namespace=chat.providers inline_key=type"`

	// The models that clients can ask for. Default: with a single provider,
	// that provider's own model names.
	Models []*Model `json:"models,omitempty"`

	// The model of a request if neither the request nor its tenant names one.
	// Default: the first of models, else the single provider's own default.
	DefaultModel string `json:"default_model,omitempty"`

	// Providers whose models may be asked for as <provider>/<upstream
	// model>, or * for all. Default: none.
	Passthrough []string `json:"passthrough,omitempty"`

	// The model of requests that name none. It takes precedence over the
	// tenant's. Default: none.
	ModelOverride string `json:"model_override,omitempty"`

	// How often a target is retried after a temporary failure, before the next
	// target is tried. Default: 2.
	Retries *int `json:"retries,omitempty"`

	// The longest Retry-After of a 429 that is honored when the same target is
	// retried. Default: 5 seconds.
	RetryAfterMax caddy.Duration `json:"retry_after_max,omitempty"`

	Timeouts

	// Whether a stream that breaks off is continued with another call, if the
	// answer stays exact. Default: true.
	Rescue *bool `json:"rescue,omitempty"`

	// When to stop calling a failing target. Default: after 5 failures in a
	// row, for 30 seconds.
	CircuitBreaker *CircuitBreaker `json:"circuit_breaker,omitempty"`

	// How long to cache an answer for identical requests of the same tenant.
	// Default: answers are not cached.
	Cache caddy.Duration `json:"cache,omitempty"`

	// The maximum size of a request's body, in bytes. Default: 10 MiB.
	MaxBody int64 `json:"max_body,omitempty"`

	// How long a client may take to send a request's body. Default: 30
	// seconds.
	ReadTimeout caddy.Duration `json:"read_timeout,omitempty"`

	// How long a stream may be silent before a comment is sent. Default: 15
	// seconds.
	KeepAlive caddy.Duration `json:"keep_alive,omitempty"`

	// An additional path for /v1/health. Default: none.
	HealthPath string `json:"health_path,omitempty"`

	providers map[string]provider.Provider
	types     map[string]string // provider types, by provider name
	systems   map[string]string // gen_ai.provider.name of traces, by provider name

	// fingerprint keeps cached answers apart from those of other gateways and
	// of other settings.
	fingerprint string

	byName   map[string]*Model
	unreport func() // removes the circuits from the metrics
	table    *route.Table
	loaded   time.Time
	app      *chat.App
	lists    *modelLists
	answers  *sharedanswer.Cache
	keys     *sharedanswer.Idempotency
	log      *zap.Logger

	warnUnpriced *sync.Once // for passthrough models, whose names clients choose
}

// Model is a name that clients ask for and the targets behind it.
type Model struct {
	// The name. Required.
	Name string `json:"name"`

	// The targets, as "<provider>/<upstream model> [<weight>]". Only
	// weighted_random uses the weight, which defaults to 1. At least one
	// target is required.
	To []string `json:"to"`

	// The order in which the targets are tried: first, round_robin,
	// weighted_random, least_conn or lowest_latency. Default: first.
	LBPolicy string `json:"lb_policy,omitempty"`

	// The price in US dollars per million tokens, in and out. Default: the
	// target's list price, if it is known.
	Price *Price `json:"price,omitempty"`

	// Whether the model reasons before it answers, so that its first token may
	// take minutes. Default: known from the upstream model's name and from
	// what the request asks for.
	Thinks bool `json:"thinks,omitempty"`

	// The handler's timeouts, for this model. Default: the handler's.
	Timeouts
}

// CircuitBreaker configures when a failing target is no longer called.
type CircuitBreaker struct {
	// How many failures in a row open the circuit; 0 turns it off. Default: 0.
	Failures int `json:"failures"`

	// How long the circuit stays open before a single call probes the target.
	// Default: 30 seconds.
	Pause caddy.Duration `json:"pause,omitempty"`
}

// Price is in US dollars per million tokens.
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
	rt, ok := h.match(record.Path(r))
	if !ok {
		return h.passOn(w, r, next)
	}
	x, done := h.app.Enter(w, r)
	defer done(nil)

	if err := h.serve(x, rt); err != nil {
		return apierror.Answer(h.log, x.W, r, err)
	}
	return nil
}

// serve answers a request, or returns why it could not.
func (h *Handler) serve(x *chat.Exchange, rt endpoint) error {
	if err := h.requireTenant(x); err != nil {
		return err
	}
	if !rt.allows(x.R.Method) {
		return apierror.MethodNotAllowed(rt.allowed())
	}
	return rt.serve(h, x)
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
	h.forgets(x)
	return h.answer(x, req)
}

// forgets says in the header of the answer that the request's session does nothing:
// chat_session, which would have taken it off, is not in front.
func (h *Handler) forgets(x *chat.Exchange) {
	const name = "X-Session-Id"
	if _, named := x.R.Header[name]; named {
		x.Rec.AddHeader(x.W, "X-Ai-Dropped", name)
	}
}

// answer chooses the model and answers the request with a shared answer or a
// model call.
func (h *Handler) answer(x *chat.Exchange, req *request) error {
	choice, err := h.choose(x, req)
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
	_ chat.Gateway                = (*Handler)(nil)
)
