package aigateway

import (
	"slices"
	"strings"

	"github.com/tidwall/gjson"

	"github.com/caddy-chat/caddy-chat/modules/apierror"
	"github.com/caddy-chat/caddy-chat/modules/tenant"
)

// otherModels are the members in which routers take further models: OpenRouter's and
// LiteLLM's.
var otherModels = []string{
	"models", "route", "fallbacks", "fallback_models", "context_window_fallbacks", "content_policy_fallbacks",
}

// refuseOtherModels refuses a request that asks the provider for other models than the one
// that it names, if its tenant has an allow list: the list has this gateway's names, and
// those are the provider's.
func refuseOtherModels(t *tenant.Tenant, req *request) error {
	if t == nil || len(t.Models) == 0 {
		return nil
	}
	found := ""
	for _, body := range [...][]byte{req.body, req.sent()} {
		gjson.ParseBytes(body).ForEach(func(k, v gjson.Result) bool {
			if v.Type != gjson.Null && isOtherModels(k.Str) {
				found = k.Str
			}
			return found == ""
		})
	}
	for _, name := range otherModels {
		if req.form != nil && len(req.form.Values(name)) > 0 {
			found = name
		}
	}
	if found == "" {
		return nil
	}
	e := apierror.ModelNotAllowed()
	e.Message, e.Param = "This tenant has a list of models, to which "+strings.ToLower(found)+" could add others: leave it out", strings.ToLower(found)
	return e
}

func isOtherModels(name string) bool {
	return slices.ContainsFunc(otherModels, func(n string) bool { return strings.EqualFold(n, name) })
}
