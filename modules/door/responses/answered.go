package responses

import (
	"encoding/json"
	"strings"

	"github.com/tidwall/gjson"
)

// answered returns items without the calls that the client has to answer and has not: no
// server takes them. The first ones were said before. Of the client's own, in which functions
// may be wrong, only calls of a server's own kinds are left out, such as a patch.
//
// Nor does a server take an item twice. A client that sends all of a conversation has some
// that chat completions do not tell apart: of those only its own stay.
func answered(items []json.RawMessage, before int) []json.RawMessage {
	results, again := make(map[string]bool), make(map[string]bool)
	for i, raw := range items {
		v := gjson.ParseBytes(raw)
		if strings.HasSuffix(v.Get("type").Str, "_output") {
			results[v.Get("call_id").Str] = true
		}
		if i >= before {
			again[v.Get("id").Str], again[callOf(v)] = true, true
		}
	}
	delete(again, "")
	var kept keptItems
	for i, raw := range items {
		v := gjson.ParseBytes(raw)
		typ, id := v.Get("type").Str, v.Get("call_id").Str
		own := typ == typeFunction || typ == typeCustom
		open := strings.HasSuffix(typ, "_call") && id != "" && !results[id]
		if open && (i < before || !own) || i < before && (again[v.Get("id").Str] || again[callOf(v)]) {
			kept.loose = true
			continue
		}
		kept.add(raw, v)
	}
	kept.tie(gjson.Result{})
	return kept.list
}

// callOf returns the type and the id of a call of a server's own kind, or of its output; empty
// for other items.
func callOf(v gjson.Result) string {
	typ, id := v.Get("type").Str, v.Get("call_id").Str
	switch strings.TrimSuffix(typ, "_output") {
	case typeFunction, typeCustom:
		return ""
	}
	if id == "" {
		return ""
	}
	return typ + " " + id
}

// keptItems collects items, some of which are left out. Reasoning belongs to what the model
// does next: servers refuse it without.
type keptItems struct {
	list  []json.RawMessage
	loose bool // what came behind the last item is left out
}

func (k *keptItems) add(raw json.RawMessage, v gjson.Result) {
	k.tie(v)
	k.list = append(k.list, raw)
}

// tie leaves out the reasoning at the end, if that has lost what it belongs to and none of
// the model's follows.
func (k *keptItems) tie(next gjson.Result) {
	if !k.loose {
		return
	}
	k.loose = false
	typ := next.Get("type").Str
	if typ != typeReasoning && (next.Get("role").Str == "assistant" || strings.HasSuffix(typ, "_call")) {
		return
	}
	for n := len(k.list); n > 0 && gjson.GetBytes(k.list[n-1], "type").Str == typeReasoning; n-- {
		k.list = k.list[:n-1]
	}
}
