package messages

import (
	"encoding/json"
	"slices"

	"github.com/tidwall/gjson"

	"github.com/caddy-chat/caddy-chat/modules/door"
	"github.com/caddy-chat/caddy-chat/modules/provider"
)

// Origins implements door.Call. A prompt that the messages begin with is for one request
// alone.
func (c *call) Origins() door.Origins {
	first := make(map[int]int, len(c.messages)) // by what they were made of
	roles := make([]string, len(c.messages))
	for at, m := range slices.Backward(c.messages) {
		first[m.from], roles[at] = at, m.Role
	}
	var parts []door.Part
	for i, m := range gjson.GetBytes(c.body, "messages").Array() {
		p := door.Part{Raw: json.RawMessage(m.Get("@ugly").Raw), At: -1}
		switch role := m.Get("role").Str; {
		case role != roleSystem:
			p.Role = role
		case len(parts) == 0:
			continue
		}
		if at, ok := first[i+1]; ok {
			p.At = at
		}
		parts = append(parts, p)
	}
	return door.OriginsOf(door.MemberMessages, parts, roles, c.messagesOf)
}

// messagesOf returns the messages of this API that would be made of those of Completion.
func (c *call) messagesOf(from, to int) []json.RawMessage {
	var t turns
	for _, m := range c.messages[from:to] {
		if !t.add(gjson.ParseBytes(provider.Encode(m))) {
			return nil
		}
	}
	return t.messages()
}
