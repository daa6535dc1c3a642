package aigateway

import (
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/caddy-chat/caddy-chat/modules/apierror"
	"github.com/caddy-chat/caddy-chat/modules/chat"
	"github.com/caddy-chat/caddy-chat/modules/provider"
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
	list := h.listed(x)
	if apierror.SpeaksAnthropic(x.R) {
		page, more, err := modelPage(list, x.R.URL.Query())
		if err != nil {
			return err
		}
		return apierror.WriteJSON(x.W, http.StatusOK, anthropicList(page, more))
	}
	return apierror.WriteJSON(x.W, http.StatusOK, modelList{Object: "list", Data: list})
}

// listed returns the models that the tenant may use: those that the configuration
// names, and those that providers list whose models need no alias.
func (h *Handler) listed(x *chat.Exchange) []modelInfo {
	named := []string{h.ModelOverride}
	if t := x.Rec.Tenant; t != nil {
		named = append(named, t.Model)
		named = append(named, t.Models...)
	}
	may := mayUse(x.Rec.Tenant)
	list := []modelInfo{}
	seen := make(map[string]bool)
	for _, c := range h.table.List(named, may) {
		list = append(list, h.info(c.Name, c.Primary.Provider))
		seen[c.Name] = true
	}
	for _, p := range h.table.Prefixes() {
		for _, name := range h.modelsOf(x, p.Provider) {
			if name = p.Before + name; may(name) && !seen[name] {
				list = append(list, h.info(name, p.Provider))
				seen[name] = true
			}
		}
	}
	return list
}

// modelsOf returns the models that a provider lists for the tenant's key.
func (h *Handler) modelsOf(x *chat.Exchange, name string) []string {
	l, ok := h.providers[name].(provider.Lister)
	if !ok {
		return nil
	}
	preq := &provider.Request{TraceID: x.Rec.TraceID}
	if t := x.Rec.Tenant; t != nil {
		preq.APIKey = t.Credentials[name]
	}
	return h.lists.of(x.R.Context(), name, l, preq)
}

// model serves GET /v1/models/{id}. A model that the tenant may not use does not
// exist for it.
func (h *Handler) model(x *chat.Exchange) error {
	id := strings.TrimPrefix(record.Path(x.R), pathModels+"/")
	target, label, err := h.table.Find(id, mayUse(x.Rec.Tenant))
	if err != nil || label == route.Passthrough && !h.known(x, id, target.Provider) {
		return apierror.ModelUnknown()
	}
	info := h.info(id, target.Provider)
	if apierror.SpeaksAnthropic(x.R) {
		return apierror.WriteJSON(x.W, http.StatusOK, info.anthropic())
	}
	return apierror.WriteJSON(x.W, http.StatusOK, info)
}

// known reports whether a model without an alias exists. If its provider has no
// list, it may.
func (h *Handler) known(x *chat.Exchange, id, from string) bool {
	if len(h.modelsOf(x, from)) == 0 {
		return true
	}
	return slices.ContainsFunc(h.listed(x), func(m modelInfo) bool { return m.ID == id })
}

func (h *Handler) info(name, owner string) modelInfo {
	return modelInfo{name, "model", h.loaded.Unix(), owner}
}

// anthropicModels is a page of a list in Anthropic's shape.
type anthropicModels struct {
	Data    []anthropicModel `json:"data"`
	HasMore bool             `json:"has_more"`
	FirstID *string          `json:"first_id"`
	LastID  *string          `json:"last_id"`
}

type anthropicModel struct {
	Type        string    `json:"type"`
	ID          string    `json:"id"`
	DisplayName string    `json:"display_name"`
	CreatedAt   time.Time `json:"created_at"`
}

func anthropicList(list []modelInfo, more bool) anthropicModels {
	all := anthropicModels{Data: make([]anthropicModel, len(list)), HasMore: more}
	for i, m := range list {
		all.Data[i] = m.anthropic()
	}
	if n := len(list); n > 0 {
		all.FirstID, all.LastID = &list[0].ID, &list[n-1].ID
	}
	return all
}

func (m modelInfo) anthropic() anthropicModel {
	return anthropicModel{"model", m.ID, m.ID, time.Unix(m.Created, 0).UTC()}
}
