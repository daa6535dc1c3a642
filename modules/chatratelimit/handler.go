// Package chatratelimit is the handler that lets through only as many
// requests as a tenant and its users may make.
package chatratelimit

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"go.uber.org/zap"

	"github.com/caddy-chat/caddy-chat/modules/apierror"
	"github.com/caddy-chat/caddy-chat/modules/chat"
	"github.com/caddy-chat/caddy-chat/modules/limit"
	"github.com/caddy-chat/caddy-chat/modules/record"
	"github.com/caddy-chat/caddy-chat/modules/tenant"
)

func init() {
	caddy.RegisterModule(new(Handler))
}

// Handler limits requests by exact sliding windows and by how many run at
// once, always inside one tenant. All limits that apply must let a request
// through, and a refused request uses up nothing. Kind by kind a tenant's own
// limits win over the handler's; where neither names any window, 60 requests
// a minute and 20 in ten seconds are let through per user.
type Handler struct {
	// The tenant of requests that no tenant_resolve has marked. Default:
	// none, such requests are refused.
	Tenant string `json:"tenant,omitempty"`

	// Sliding windows for requests, such as "60 1m" or "1000 1m per tenant".
	// Default: see above.
	Requests []string `json:"requests,omitempty"`

	// Short sliding windows, such as "20 10s". Default: see above.
	Burst []string `json:"burst,omitempty"`

	// Sliding windows for the tokens of model calls, such as "100000 1m per
	// tenant". They are filled by the ai_gateway behind this handler, and by
	// nothing else. Default: none.
	Tokens []string `json:"tokens,omitempty"`

	// How many requests may run at once, such as "10" or "50 per tenant". Those
	// that read, follow, cancel or delete what there is do not count. Default: any
	// number.
	Concurrent []string `json:"concurrent,omitempty"`

	// What happens to a request while the store cannot be asked: deny or
	// allow. Default: deny.
	OnStoreError string `json:"on_store_error,omitempty"`

	rules tenant.Limits
	plans plans
	app   *chat.App
	log   *zap.Logger
}

// What OnStoreError may say.
const (
	onErrorDeny  = "deny"
	onErrorAllow = "allow"
)

// defaults apply where neither the tenant nor the handler names any window.
var defaults = tenant.Limits{
	Requests: []limit.Rule{{Limit: 60, Window: time.Minute, Scope: limit.ScopeUser}},
	Burst:    []limit.Rule{{Limit: 20, Window: 10 * time.Second, Scope: limit.ScopeUser}},
}

// CaddyModule returns the Caddy module information.
func (*Handler) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{
		ID:  "http.handlers.chat_ratelimit",
		New: func() caddy.Module { return new(Handler) },
	}
}

// Provision reads the limits.
func (h *Handler) Provision(ctx caddy.Context) error {
	h.log = ctx.Logger()
	for _, kind := range []struct {
		name     string
		from     []string
		to       *[]limit.Rule
		windowed bool
	}{
		{"requests", h.Requests, &h.rules.Requests, true},
		{"burst", h.Burst, &h.rules.Burst, true},
		{"tokens", h.Tokens, &h.rules.Tokens, true},
		{"concurrent", h.Concurrent, &h.rules.Concurrent, false},
	} {
		for _, s := range kind.from {
			r, err := limit.ParseRule(s, kind.windowed)
			if err != nil {
				return fmt.Errorf("%s: %w", kind.name, err)
			}
			*kind.to = append(*kind.to, r)
		}
	}
	h.plans.own = newPlan(effective(tenant.Limits{}, h.rules))
	if h.OnStoreError == "" {
		h.OnStoreError = onErrorDeny
	}
	app, err := chat.FromContext(ctx)
	h.app = app
	return err
}

// Validate checks the tenant and the policy.
func (h *Handler) Validate() error {
	if h.OnStoreError != onErrorDeny && h.OnStoreError != onErrorAllow {
		return fmt.Errorf("on_store_error: %q: want deny or allow", h.OnStoreError)
	}
	return h.app.CheckTenant(h.Tenant)
}

func (h *Handler) ServeHTTP(w http.ResponseWriter, r *http.Request, next caddyhttp.Handler) (err error) {
	x, done := h.app.Enter(w, r)
	defer func() { done(err) }()
	if err := h.app.RequireTenant(x, h.Tenant); err != nil {
		return apierror.Answer(h.log, x.W, r, err)
	}
	rec := x.Rec
	w, r = x.W, x.R

	g := h.gauges(r, rec)
	release, granted, err := h.take(r, rec.Tenant.ID, g)
	if err != nil {
		if err := h.withoutStore(err); err != nil && !h.app.AsksHealth(r) {
			return apierror.Answer(h.log, w, r, err)
		}
		return next.ServeHTTP(w, r)
	}
	defer release()

	g.setHeaders(w, r, rec)
	if !granted {
		return apierror.Answer(h.log, w, r, apierror.RateLimited(g.wait()))
	}
	rec.TokenWindows = append(rec.TokenWindows, g.tokens...)
	return next.ServeHTTP(w, r)
}

// gauges are what this handler measures a request by. A second handler in
// the chain counts apart from the first, and leaves the tenant's own limits
// to it: no request counts twice.
func (h *Handler) gauges(r *http.Request, rec *record.Record) *gauges {
	rec.Limiters++
	slots := !h.app.CallsNoModel(r) // who has none left may still follow and cancel what holds them
	if rec.Limiters == 1 {
		return gaugesFor(r, rec, h.plans.of(rec.Tenant, h.rules), "", slots)
	}
	return gaugesFor(r, rec, h.plans.own, strconv.Itoa(rec.Limiters)+":", slots)
}

// take counts the request. The release of a refused one does nothing.
func (h *Handler) take(r *http.Request, tenantID string, g *gauges) (release func(), granted bool, err error) {
	s, endLease, err := h.app.Lease()
	if err != nil {
		return nil, false, err
	}
	if granted, err = g.ask(r.Context(), s, tenantID); err != nil {
		endLease()
		return nil, false, err
	}
	if !granted || !g.asksSlots() {
		endLease()
		return func() {}, granted, nil
	}
	sl := h.newSlots(r, s, endLease, tenantID, g.takes)
	return sl.Stay(), true, nil
}

// withoutStore returns what a request is answered for which the store could not be
// asked, or nil if on_store_error lets it through.
func (h *Handler) withoutStore(err error) error {
	if errors.Is(err, context.Canceled) {
		return err // the client is gone, and the store is well
	}
	h.app.StoreFailed("take")
	if h.OnStoreError == onErrorDeny {
		return apierror.StorageUnavailable(err)
	}
	h.log.Error("letting a request through without limits", zap.Error(err))
	return nil
}

// Interface guards
var (
	_ caddy.Provisioner           = (*Handler)(nil)
	_ caddy.Validator             = (*Handler)(nil)
	_ caddyhttp.MiddlewareHandler = (*Handler)(nil)
)
