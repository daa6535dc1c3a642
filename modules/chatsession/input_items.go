package chatsession

import (
	"encoding/json"
	"net/http"
	"slices"
	"strconv"
	"strings"

	"github.com/tidwall/gjson"

	"github.com/caddy-chat/caddy-chat/modules/apierror"
	"github.com/caddy-chat/caddy-chat/modules/chat"
	"github.com/caddy-chat/caddy-chat/modules/provider"
)

// How many items a page has, as in OpenAI's API.
const (
	defaultItems = 20
	maxItems     = 100
)

// inputItems serves GET /v1/responses/{id}/input_items, a page of what the request said.
func inputItems(x *chat.Exchange, k *keptResponse) error {
	items := k.inputItems()
	query := x.R.URL.Query()
	switch query.Get("order") {
	case "asc":
	case "", "desc":
		slices.Reverse(items)
	default:
		return apierror.InvalidRequest("order", "want asc or desc")
	}
	limit := defaultItems
	if s := query.Get("limit"); s != "" {
		n, err := strconv.Atoi(s)
		if err != nil || n < 1 || n > maxItems {
			return apierror.InvalidRequest("limit", "want a whole number from 1 to 100")
		}
		limit = n
	}
	if after := query.Get("after"); after != "" {
		i := slices.IndexFunc(items, func(item json.RawMessage) bool { return itemID(item) == after })
		if i < 0 {
			return apierror.InvalidRequest("after", "want the id of an item of this response")
		}
		items = items[i+1:]
	}
	page := map[string]any{"object": "list", "has_more": len(items) > limit, "first_id": nil, "last_id": nil}
	items = items[:min(limit, len(items))]
	page["data"] = items
	if n := len(items); n > 0 {
		page["first_id"], page["last_id"] = itemID(items[0]), itemID(items[n-1])
	}
	return apierror.WriteJSON(x.W, http.StatusOK, page)
}

func itemID(item json.RawMessage) string { return gjson.GetBytes(item, "id").Str }

// inputItems returns what the request said, in its order.
func (k *keptResponse) inputItems() []json.RawMessage {
	prefix := "msg_" + strings.TrimPrefix(k.id(), keptPrefix) + "_"
	input := gjson.GetBytes(k.Request, "input")
	if input.Type == gjson.String {
		return []json.RawMessage{provider.Encode(map[string]any{
			"type": "message", "role": "user", "status": "completed", "id": prefix + "0",
			"content": []map[string]any{{"type": "input_text", "text": input.Str}},
		})}
	}
	items := []json.RawMessage{}
	if input.IsArray() {
		for i, v := range input.Array() {
			items = append(items, inputItem(v, prefix+strconv.Itoa(i)))
		}
	}
	return items
}

// inputItem returns an item with an id and the type that short forms leave out.
func inputItem(v gjson.Result, id string) json.RawMessage {
	var item map[string]any
	if json.Unmarshal([]byte(v.Raw), &item) != nil {
		return json.RawMessage(v.Raw)
	}
	if item["type"] == nil {
		item["type"] = "message"
	}
	if item["id"] == nil {
		item["id"] = id
	}
	if text, ok := item["content"].(string); ok && item["type"] == "message" {
		kind := "input_text"
		if item["role"] == roleAssistant {
			kind = "output_text"
		}
		item["content"] = []map[string]any{{"type": kind, "text": text}}
	}
	return provider.Encode(item)
}
