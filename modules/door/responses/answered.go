package responses

import (
	"encoding/json"
	"strings"

	"github.com/tidwall/gjson"
)

// answered returns items without the calls that the client has to answer and has not: no
// server takes them. The first ones were said before. Of the client's own, in which functions
// may be wrong, only calls of a server's own kinds are left out, such as a patch.
func answered(items []json.RawMessage, before int) []json.RawMessage {
	results := make(map[string]bool)
	for _, raw := range items {
		if v := gjson.ParseBytes(raw); strings.HasSuffix(v.Get("type").Str, "_output") {
			results[v.Get("call_id").Str] = true
		}
	}
	var kept keptItems
	for i, raw := range items {
		v := gjson.ParseBytes(raw)
		typ, id := v.Get("type").Str, v.Get("call_id").Str
		own := typ == typeFunction || typ == typeCustom
		if strings.HasSuffix(typ, "_call") && id != "" && !results[id] && (i < before || !own) {
			kept.loose = true
			continue
		}
		kept.add(raw, v)
	}
	kept.tie(gjson.Result{})
	return kept.list
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
