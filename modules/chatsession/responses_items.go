package chatsession

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"github.com/tidwall/gjson"
	"github.com/tidwall/sjson"
	"go.uber.org/zap"

	"github.com/caddy-chat/caddy-chat/modules/apierror"
	"github.com/caddy-chat/caddy-chat/modules/chat"
	"github.com/caddy-chat/caddy-chat/modules/provider"
	"github.com/caddy-chat/caddy-chat/modules/sharedanswer"
	"github.com/caddy-chat/caddy-chat/modules/store"
)

// withItems replaces references to the items of kept responses by the items. The AI SDK
// sends earlier answers only by reference, unless its store option is false.
func (h *Handler) withItems(x *chat.Exchange, body []byte) ([]byte, error) {
	input := gjson.GetBytes(body, "input")
	if !input.IsArray() {
		return body, nil
	}
	r := itemReader{h: h, x: x, outputs: make(map[string]map[string]gjson.Result)}
	var items []json.RawMessage
	size, most := int64(0), h.maxCompletion()
	for i, item := range input.Array() {
		if item.Get("type").Str == "item_reference" {
			var err error
			if item, err = r.item(item.Get("id").Str, fmt.Sprintf("input.%d.id", i)); err != nil {
				return nil, err
			}
		}
		if size += int64(len(item.Raw)); size > most {
			return nil, apierror.PayloadTooLarge(most)
		}
		items = append(items, json.RawMessage(item.Raw))
	}
	if len(r.outputs) == 0 {
		return body, nil
	}
	return sjson.SetRawBytes(body, "input", provider.Encode(items))
}

// itemReader reads items of kept responses, each response once.
type itemReader struct {
	h       *Handler
	x       *chat.Exchange
	outputs map[string]map[string]gjson.Result // by the ids of their responses, then by their own
}

// item returns the item of an id, which field of the request has.
func (r *itemReader) item(id, field string) (gjson.Result, error) {
	output, err := r.output(keptPrefix + responseOf(id))
	if errors.Is(err, store.ErrNotFound) {
		output, err = r.outputWith(id)
	}
	if err != nil && !errors.Is(err, store.ErrNotFound) {
		return gjson.Result{}, r.h.storeError("cache get", err)
	}
	item, ok := output[id]
	if !ok {
		return gjson.Result{}, apierror.InvalidRequest(field, "there is no such item. Send the item itself")
	}
	return item, nil
}

// output returns the items of a response by their ids.
func (r *itemReader) output(id string) (map[string]gjson.Result, error) {
	if known, ok := r.outputs[id]; ok {
		return known, nil
	}
	k, err := r.h.keptByID(r.x, id)
	if err != nil {
		return nil, err
	}
	key := store.SessionKey{User: r.x.Rec.User, ID: k.Session}
	if _, _, err := r.x.Store.History(r.x.R.Context(), r.x.Rec.Tenant.ID, key, store.Range{Limit: 1}); err != nil {
		return nil, err
	}
	r.outputs[id] = itemsOf(k.Response)
	return r.outputs[id], nil
}

// outputWith returns the items of the response that has one with a provider's id.
func (r *itemReader) outputWith(item string) (map[string]gjson.Result, error) {
	id, err := r.x.Store.CacheGet(r.x.R.Context(), r.x.Rec.Tenant.ID, itemKey(r.x, item))
	if err != nil {
		return nil, err
	}
	return r.output(string(id))
}

// itemKey is where the response that has an item of the request's user is noted.
func itemKey(x *chat.Exchange, id string) string {
	return sharedanswer.KeyOf("item", x.Rec.User, id)
}

// keepItems notes which response has the items that a provider has named. A failure does
// not fail the answer: the items can be sent instead.
func (h *Handler) keepItems(ctx context.Context, x *chat.Exchange, k *keptResponse) {
	for _, item := range gjson.GetBytes(k.Response, "output").Array() {
		id := item.Get("id").Str
		if id == "" || responseOf(id) == keptID(k.Session, k.Turn) {
			continue
		}
		if err := x.Store.CacheKeep(ctx, x.Rec.Tenant.ID, k.session(x), itemKey(x, id), []byte(k.id()), h.keptTTL(x)); err != nil {
			h.app.StoreFailed("cache put")
			h.log.Error("noting the items of a response", zap.String("turn", k.Turn), zap.Error(err))
			return
		}
	}
}

// itemsOf returns the items of a response by their ids.
func itemsOf(response []byte) map[string]gjson.Result {
	items := make(map[string]gjson.Result)
	for _, item := range gjson.GetBytes(response, "output").Array() {
		id := item.Get("id").Str
		if _, known := items[id]; !known {
			items[id] = item
		}
	}
	return items
}

// responseOf returns the id without its prefix of the response that an item belongs to:
// it is the item's between its prefix and its number.
func responseOf(item string) string {
	_, id, _ := strings.Cut(item, "_")
	return id[:min(len(id), keptIDSize)]
}
