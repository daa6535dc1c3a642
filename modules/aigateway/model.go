package aigateway

import (
	"cmp"
	"errors"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/caddy-chat/caddy-chat/modules/apierror"
	"github.com/caddy-chat/caddy-chat/modules/chat"
	"github.com/caddy-chat/caddy-chat/modules/provider"
	"github.com/caddy-chat/caddy-chat/modules/route"
	"github.com/caddy-chat/caddy-chat/modules/tenant"
)

// choose returns the targets of a request, by the model that it names, else
// model_override, else the tenant's model, else the gateway's default.
func (h *Handler) choose(x *chat.Exchange, req *request) (route.Choice, error) {
	if err := refuseOtherModels(x.Rec.Tenant, req); err != nil {
		return route.Choice{}, err
	}
	tenantModel := ""
	if x.Rec.Tenant != nil {
		tenantModel = x.Rec.Tenant.Model
	}
	name := cmp.Or(req.model, h.ModelOverride, tenantModel, h.table.Default())
	c, err := h.table.Resolve(name, mayUse(x.Rec.Tenant))
	switch {
	case errors.Is(err, route.ErrNotAllowed):
		return c, apierror.ModelNotAllowed()
	case errors.Is(err, route.ErrNone):
		return c, apierror.InvalidRequest("model", "required: the gateway has no default_model")
	case err != nil:
		return c, apierror.ModelUnknown()
	}
	return c, nil
}

// chooseToPass returns the targets of a request whose answer passes through. OpenAI has a
// default model for moderations and one for images, and the gateway's own is one for chats: a
// request that names none goes without one to the provider.
func (h *Handler) chooseToPass(x *chat.Exchange, req *request) (route.Choice, error) {
	images := strings.HasPrefix(req.relayTo, "/images/")
	req.unnamed = req.model == "" && h.ModelOverride == "" && (images || req.operation == operationModeration)
	if !req.unnamed || !images {
		return h.choose(x, req) // the default model leads to the provider of moderations, which cost nothing
	}
	if !mayUse(x.Rec.Tenant)("") {
		return route.Choice{}, apierror.ModelNotAllowed() // it could be any of the provider's
	}
	name := h.onlyRelayer(x)
	if name == "" {
		return route.Choice{}, apierror.InvalidRequest("model", "required: it cannot be known which provider is meant")
	}
	return h.table.Unnamed(name), nil
}

// onlyRelayer returns the provider that a request without a model means: the only one behind
// the default model that lets requests pass through, or the only one of all; empty if there
// are several or none.
func (h *Handler) onlyRelayer(x *chat.Exchange) string {
	found := make(map[string]bool)
	add := func(name string) {
		if _, ok := h.providers[name].(provider.Relayer); ok {
			found[name] = true
		}
	}
	if c, err := h.choose(x, new(request)); err == nil {
		for _, hop := range c.Order(time.Now()) {
			add(hop.Target.Provider)
		}
	}
	if len(found) == 0 {
		for name := range h.providers {
			add(name)
		}
	}
	if len(found) != 1 {
		return ""
	}
	return slices.Collect(maps.Keys(found))[0]
}

// mayUse returns a function that reports whether the tenant may use a model.
// Without a tenant every model may be used.
func mayUse(t *tenant.Tenant) func(string) bool {
	if t == nil {
		return func(string) bool { return true }
	}
	return t.MayUse
}
