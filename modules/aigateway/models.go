package aigateway

import (
	"net/http"

	"github.com/caddy-chat/caddy-chat/modules/apierror"
	"github.com/caddy-chat/caddy-chat/modules/chat"
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

// models serves GET /v1/models. It lists only models that the tenant may use.
func (h *Handler) models(x *chat.Exchange) error {
	named := []string{h.ModelOverride}
	if t := x.Rec.Tenant; t != nil {
		named = append(named, t.Model)
		named = append(named, t.Models...)
	}
	list := modelList{Object: "list", Data: []modelInfo{}}
	for _, c := range h.table.List(named, mayUse(x.Rec.Tenant)) {
		list.Data = append(list.Data, modelInfo{c.Name, "model", h.loaded.Unix(), c.Primary.Provider})
	}
	return apierror.WriteJSON(x.W, http.StatusOK, list)
}
