package aigateway

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

	"github.com/caddy-chat/caddy-chat/modules/advice"
	"github.com/caddy-chat/caddy-chat/modules/route"
)

// references are the places in a directive's block that name providers and models.
// They are checked at its end, because a name may be used before its definition.
type references struct{ providers, models []reference }

// reference is a name in a line of the Caddyfile.
type reference struct {
	at     caddyfile.Dispenser // a copy: it stays at the name
	option string
	name   string
}

func (r *references) provider(d *caddyfile.Dispenser, option, name string) {
	if name != route.AllProviders {
		r.providers = append(r.providers, reference{*d, option, name})
	}
}

func (r *references) model(d *caddyfile.Dispenser, option, name string) {
	r.models = append(r.models, reference{*d, option, name})
}

// check returns an error with the place of the first name that does not exist.
// begin is at the directive. Provision and Validate check the same names, also for
// JSON, which has no lines.
func (r *references) check(begin *caddyfile.Dispenser, h *Handler) error {
	if len(h.ProvidersRaw) == 0 {
		return begin.Err("no provider: name one, such as ai_gateway openai {env.OPENAI_API_KEY}, or add a provider block")
	}
	providers := slices.Sorted(maps.Keys(h.ProvidersRaw))
	for _, ref := range r.providers {
		if !slices.Contains(providers, ref.name) {
			return ref.at.Errf("%s: no provider is named %s, want one of: %s%s", ref.option, ref.name, strings.Join(providers, ", "), advice.Nearest(ref.name, providers...))
		}
	}
	if err := h.buildTable(providers); err != nil {
		return begin.WrapErr(err)
	}
	for _, ref := range r.models {
		if err := h.table.Check(ref.name); err != nil {
			return ref.at.Errf("%s: %w%s", ref.option, err, h.wantedModels(ref.name))
		}
	}
	return nil
}

// wantedModels ends an error about an unknown model with those that exist.
func (h *Handler) wantedModels(unknown string) string {
	if len(h.Models) == 0 {
		return ""
	}
	names := make([]string, len(h.Models))
	for i, m := range h.Models {
		names[i] = m.Name
	}
	return fmt.Sprintf(", want one of: %s%s", strings.Join(names, ", "), advice.Nearest(unknown, names...))
}
