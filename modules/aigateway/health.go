package aigateway

import (
	"time"

	"github.com/caddy-chat/caddy-chat/modules/chat"
	"github.com/caddy-chat/caddy-chat/modules/route"
)

type healthReport struct {
	Status          string                    `json:"status"`
	TenantID        string                    `json:"tenantId"`
	ModelID         string                    `json:"modelId"`
	FallbackModelID *string                   `json:"fallbackModelId"`
	Providers       map[string]providerHealth `json:"providers"`
	Store           string                    `json:"store,omitempty"` // left out if it is well
}

// Values of healthReport.Status and Store.
const (
	statusOK       = "ok"
	statusDegraded = "degraded"
)

type providerHealth struct {
	Circuit route.CircuitState `json:"circuit"`
}

// health serves GET /v1/health. It calls no provider.
func (h *Handler) health(x *chat.Exchange) error {
	report := healthReport{
		Status:    statusOK,
		TenantID:  x.Rec.TenantID(),
		Providers: make(map[string]providerHealth),
	}
	if c, err := h.choose(x, new(request)); err == nil {
		report.ModelID = c.Name
		if fallback, ok := c.Fallback(); ok {
			report.FallbackModelID = new(fallback.String())
		}
	}
	for name, state := range h.table.Circuits(time.Now(), func(provider string) route.Key { return keyFor(x.Rec.Tenant, provider) }) {
		report.Providers[name] = providerHealth{state}
		if state != route.Closed {
			report.Status = statusDegraded
		}
	}
	if h.app.StoreHealth() != nil { // which may name a folder
		report.Status, report.Store = statusDegraded, statusDegraded
	}
	if h.app.TenantFilesBroken() {
		report.Status = statusDegraded
	}
	return x.OK(report)
}
