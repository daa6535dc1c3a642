package messages

import (
	"encoding/json"
	"slices"

	"github.com/tidwall/gjson"
	"github.com/tidwall/sjson"

	"github.com/caddy-chat/caddy-chat/modules/door"
	"github.com/caddy-chat/caddy-chat/modules/items"
	"github.com/caddy-chat/caddy-chat/modules/provider"
)

// Unsealed implements door.Door.
func (Door) Unsealed(body []byte) (open []byte, dropped []string, ok bool) {
	var o opener
	var list []json.RawMessage
	gjson.GetBytes(body, "messages").ForEach(func(_, m gjson.Result) bool {
		if raw := o.message(m); raw != nil {
			list = append(list, raw)
		}
		return true
	})
	if o.dropped != nil && typeOf(gjson.GetBytes(body, "thinking")) == "enabled" {
		return nil, nil, false // the API refuses a turn without the thoughts that it has begun with
	}
	open, err := sjson.SetRawBytes(body, "messages", door.List(list))
	return open, o.dropped, err == nil && !door.Sealed(open)
}

// opener opens what is sealed in messages.
type opener struct{ dropped provider.Dropped }

// message returns a message; nil if nothing is left of it.
func (o *opener) message(m gjson.Result) json.RawMessage {
	content := m.Get("content")
	if !content.IsArray() || !door.Sealed([]byte(m.Raw)) {
		return json.RawMessage(m.Raw)
	}
	var thoughts, rest []json.RawMessage
	for _, b := range content.Array() {
		switch typeOf(b) {
		case kindThinking, kindRedacted:
			thoughts = append(thoughts, o.thoughts(b)...)
		case kindTool:
			rest = append(rest, o.id(b, "id"))
		case "tool_result":
			rest = append(rest, o.id(b, "tool_use_id"))
		default:
			rest = append(rest, json.RawMessage(b.Raw))
		}
	}
	blocks := slices.Concat(thoughts, rest) // the API wants thoughts first
	if len(blocks) == 0 {
		return nil
	}
	raw, err := sjson.SetRawBytes([]byte(m.Raw), "content", door.List(blocks))
	if err != nil {
		return json.RawMessage(m.Raw)
	}
	return raw
}

// thoughts returns what a block of reasoning holds for this API: what Claude has signed.
func (o *opener) thoughts(b gjson.Result) []json.RawMessage {
	var s sealed
	if !door.IsSealed(b.Get("signature").Str) && !door.IsSealed(b.Get("data").Str) {
		return []json.RawMessage{json.RawMessage(b.Raw)}
	}
	if !door.Unseal(b.Get("signature").Str, &s) {
		door.Unseal(b.Get("data").Str, &s)
	}
	s.Blocks = slices.DeleteFunc(s.Blocks, func(raw json.RawMessage) bool { return items.IsReasoning(gjson.ParseBytes(raw)) })
	if len(s.Blocks) == 0 {
		o.dropped.Add("messages.content." + typeOf(b))
	}
	return s.Blocks
}

// id returns a block whose id has nothing sealed.
func (o *opener) id(b gjson.Result, name string) json.RawMessage {
	var s sealedCall
	id, ok := door.UnsealID(b.Get(name).Str, &s)
	if !ok {
		return json.RawMessage(b.Raw)
	}
	if s.Extra != nil {
		o.dropped.Add("messages.tool_calls.extra_content")
	}
	raw, err := sjson.SetBytes([]byte(b.Raw), name, id)
	if err != nil {
		return json.RawMessage(b.Raw)
	}
	return raw
}
