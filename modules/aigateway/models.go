package aigateway

import (
	"net/http"
	"time"

	"github.com/caddy-chat/caddy-chat/modules/apierror"
	"github.com/caddy-chat/caddy-chat/modules/route"
)

type modelList struct {
	Object string      `json:"object"`
	Data   []modelInfo `json:"data"`
}

type modelInfo struct {
	ID      string `json:"id"`
	Object  string `json:"object"`
	Created int64  `json:"created"`
	OwnedBy string `json:"owned_by"`
}

// models serves GET /v1/models: only what the tenant may use.
func (h *Handler) models(x *exchange) error {
	named := []string{h.ModelOverride}
	if t := x.rec.Tenant; t != nil {
		named = append(named, t.Model)
		named = append(named, t.Models...)
	}
	list := modelList{Object: "list", Data: []modelInfo{}}
	for _, c := range h.table.List(named, mayUse(x.rec.Tenant)) {
		list.Data = append(list.Data, modelInfo{c.Name, "model", h.loaded.Unix(), c.Primary.Provider})
	}
	return apierror.WriteJSON(x.w, http.StatusOK, list)
}

type healthReport struct {
	Status          string                    `json:"status"`
	TenantID        string                    `json:"tenantId"`
	ModelID         string                    `json:"modelId"`
	FallbackModelID *string                   `json:"fallbackModelId"`
	Providers       map[string]providerHealth `json:"providers"`
}

type providerHealth struct {
	Circuit route.CircuitState `json:"circuit"`
}

// health serves GET /v1/health. It asks no provider.
func (h *Handler) health(x *exchange) error {
	report := healthReport{
		Status:    "ok",
		TenantID:  x.rec.TenantID(),
		Providers: make(map[string]providerHealth),
	}
	if c, err := h.choose(x, new(request)); err == nil {
		report.ModelID = c.Name
		if fallback, ok := c.Fallback(); ok {
			report.FallbackModelID = new(fallback.String())
		}
	}
	for name, state := range h.table.Circuits(time.Now()) {
		report.Providers[name] = providerHealth{state}
		if state != route.Closed {
			report.Status = "degraded"
		}
	}
	return apierror.WriteJSON(x.w, http.StatusOK, apierror.Success{OK: true, Data: report, TraceID: x.rec.TraceID})
}
