package aigateway

import (
	"cmp"
	"errors"

	"github.com/caddy-chat/caddy-chat/modules/apierror"
	"github.com/caddy-chat/caddy-chat/modules/chat"
	"github.com/caddy-chat/caddy-chat/modules/route"
	"github.com/caddy-chat/caddy-chat/modules/tenant"
)

// choose returns the targets of a request, by the model that it names, else
// model_override, else the tenant's model, else the gateway's default.
func (h *Handler) choose(x *chat.Exchange, model string) (route.Choice, error) {
	tenantModel := ""
	if x.Rec.Tenant != nil {
		tenantModel = x.Rec.Tenant.Model
	}
	name := cmp.Or(model, h.ModelOverride, tenantModel, h.table.Default())
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

// mayUse returns a function that reports whether the tenant may use a model.
// Without a tenant every model may be used.
func mayUse(t *tenant.Tenant) func(string) bool {
	if t == nil {
		return func(string) bool { return true }
	}
	return t.MayUse
}
