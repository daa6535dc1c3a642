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
func (c *call) Origins() door.Origins {
	places := make(map[*message]int, len(c.messages))
	roles := make([]string, len(c.messages))
	for i, m := range c.messages {
		places[m], roles[i] = i, m.Role
	}
	assistantNext := c.assistantNext()
	var parts []door.Part
	var before *message // what the last item that became something did
	for i, o := range c.sent {
		if o.item.Get("type").Str == "item_reference" {
			continue // to what only another server has
		}
		if o.became == nil && before != nil && before.Role == roleAssistant && isModels(o.item) && !assistantNext[i] {
			o.became = before
		}
		p := door.Part{Raw: json.RawMessage(o.item.Get("@ugly").Raw), At: -1}
		if at, ok := places[o.became]; ok {
			p.At, before = at, o.became
		} else if !assistantNext[i] {
			p.Role = speaker(o.item)
		}
		parts = append(parts, p)
	}
	return door.OriginsOf(door.MemberItems, parts, roles, c.itemsOf)
}

// stands adds a message in place of items of which none becomes one.
func (v *conversation) stands() {
	v.c.refuse("input", "no provider of this model knows these items")
	v.say(&message{Role: "user", Content: ""})
	v.c.sent[len(v.c.sent)-1].became = v.became
}

// isModels reports whether an item that becomes no message is the model's own.
func isModels(item gjson.Result) bool {
	typ := item.Get("type").Str
	return typ == typeReasoning || strings.HasSuffix(typ, "_call") || strings.HasPrefix(typ, "compaction") ||
		typ == "mcp_list_tools" || typ == "mcp_approval_request"
}

// speaker returns whose message an item is that becomes none: the model's own, if it has only
// used tools of its server, or what a client returns for a call that only such a model makes.
// It returns nothing for an item that belongs to others.
func speaker(item gjson.Result) string {
	typ := item.Get("type").Str
	switch {
	case strings.HasPrefix(typ, "compaction"):
		return ""
	case isModels(item):
		return roleAssistant
	case strings.HasSuffix(typ, "_output"), typ == "mcp_approval_response":
		return "user"
	}
	return ""
}

// assistantNext reports for each item whether the next one that became something is the
// assistant's.
func (c *call) assistantNext() []bool {
	list := make([]bool, len(c.sent))
	is := false
	for i, o := range slices.Backward(c.sent) {
		if o.became != nil {
			is = o.became.Role == roleAssistant
		}
		list[i] = is
	}
	return list
}

const roleAssistant = "assistant"

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
