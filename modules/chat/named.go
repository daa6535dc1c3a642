package chat

import (
	"encoding/json"
	"slices"

	"github.com/caddyserver/caddy/v2/caddyconfig/httpcaddyfile"

	"github.com/caddy-chat/caddy-chat/modules/advice"
	"github.com/caddy-chat/caddy-chat/modules/tenant"
)

// CheckNamedTenant returns an error at its line if a directive names a tenant that the
// Caddyfile does not have and that no tenant file can have. CheckTenant checks it again
// when the files were read.
func CheckNamedTenant(h httpcaddyfile.Helper, id string) error {
	if id == "" {
		return nil
	}
	var app struct {
		Tenant []struct {
			ID string `json:"id"`
		} `json:"tenant"`
		Tenants []string `json:"tenants"`
	}
	if option, ok := h.Option("chat").(httpcaddyfile.App); ok {
		if err := json.Unmarshal(option.Value, &app); err != nil {
			return err
		}
	}
	if len(app.Tenants) > 0 {
		return nil
	}
	var ids []string
	for _, t := range app.Tenant {
		ids = append(ids, t.ID)
	}
	if len(ids) == 0 {
		ids = []string{tenant.DefaultID}
	}
	if slices.Contains(ids, id) {
		return nil
	}
	d := *h.Dispenser // the directive's own stays where it is
	d.Reset()
	for before := ""; d.Next() && (d.Val() != id || before != "tenant" && before != "tenant_resolve"); {
		before = d.Val()
	}
	return d.Errf("tenant %s: no such tenant is configured%s", id, advice.Nearest(id, ids...))
}
