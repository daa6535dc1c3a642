package responses

import (
	"encoding/json"
	"slices"
	"strings"

	"github.com/tidwall/gjson"

	"github.com/caddy-chat/caddy-chat/modules/door"
	"github.com/caddy-chat/caddy-chat/modules/provider"
)

// sent is an item of a request, and the message that it became or was added to; nil for
// none.
type sent struct {
	item   gjson.Result
	became *message
}

// Origins implements door.Call.
func (c *call) Origins() (member string, of []json.RawMessage) {
	places := make(map[*message]int, len(c.messages))
	for i, m := range c.messages {
		places[m] = i
	}
	var parts []door.Part
	var before *message // what the last item that became something did
	for i, o := range c.sent {
		if o.became == nil {
			if o.item.Get("type").Str == "item_reference" {
				continue // to what only another server has
			}
			if before != nil && before.Role == "assistant" && isModels(o.item) && !c.assistantNext(i) {
				o.became = before
			}
		}
		p := door.Part{Raw: json.RawMessage(o.item.Get("@ugly").Raw), At: -1}
		if at, ok := places[o.became]; ok {
			p.At, before = at, o.became
		}
		parts = append(parts, p)
	}
	return door.MemberItems, door.Origins(parts, len(c.messages), c.itemsOf)
}

// isModels reports whether an item that becomes no message is the model's own.
func isModels(item gjson.Result) bool {
	typ := item.Get("type").Str
	return typ == typeReasoning || strings.HasSuffix(typ, "_call") || strings.HasPrefix(typ, "compaction")
}

// assistantNext reports whether the next item that became something is the assistant's.
func (c *call) assistantNext(i int) bool {
	rest := c.sent[i:]
	next := slices.IndexFunc(rest, func(o sent) bool { return o.became != nil })
	return next >= 0 && rest[next].became.Role == "assistant"
}

// itemsOf returns the items that would be made of messages.
func (c *call) itemsOf(from, to int) []json.RawMessage {
	var z itemizer
	for i, m := range c.messages[from:to] {
		if from+i == 0 && m.Role == "system" {
			m = &message{Role: m.Role, Content: c.said} // the instructions are not an item
		}
		if !z.add(gjson.ParseBytes(provider.Encode(m))) {
			return nil
		}
	}
	return z.Items
}
