package aigateway

import (
	"net/http"
	"strings"

	"github.com/caddy-chat/caddy-chat/modules/apierror"
	"github.com/caddy-chat/caddy-chat/modules/chat"
	"github.com/caddy-chat/caddy-chat/modules/record"
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

// models serves GET /v1/models. It lists only models that the tenant may use.
func (h *Handler) models(x *chat.Exchange) error {
	named := []string{h.ModelOverride}
	if t := x.Rec.Tenant; t != nil {
		named = append(named, t.Model)
		named = append(named, t.Models...)
	}
	list := modelList{Object: "list", Data: []modelInfo{}}
	for _, c := range h.table.List(named, mayUse(x.Rec.Tenant)) {
		list.Data = append(list.Data, h.info(c))
	}
	return apierror.WriteJSON(x.W, http.StatusOK, list)
}

// model serves GET /v1/models/{id}. A model that the tenant may not use does not
// exist for it.
func (h *Handler) model(x *chat.Exchange) error {
	id := strings.TrimPrefix(record.Path(x.R), pathModels+"/")
	c, err := h.table.Resolve(id, mayUse(x.Rec.Tenant))
	if err != nil {
		return apierror.ModelUnknown()
	}
	return apierror.WriteJSON(x.W, http.StatusOK, h.info(c))
}

func (h *Handler) info(c route.Choice) modelInfo {
	return modelInfo{c.Name, "model", h.loaded.Unix(), c.Primary.Provider}
}
