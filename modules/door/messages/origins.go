package messages

import (
	"encoding/json"
	"slices"

	"github.com/tidwall/gjson"

	"github.com/caddy-chat/caddy-chat/modules/door"
	"github.com/caddy-chat/caddy-chat/modules/provider"
)

// Origins implements door.Call. A prompt among the messages is for one request alone.
func (c *call) Origins() (member string, of []json.RawMessage) {
	first := make(map[int]int, len(c.messages)) // by what they were made of
	for at, m := range slices.Backward(c.messages) {
		first[m.from] = at
	}
	var parts []door.Part
	for i, m := range gjson.GetBytes(c.body, "messages").Array() {
		if m.Get("role").Str == roleSystem {
			continue
		}
		p := door.Part{Raw: json.RawMessage(m.Get("@ugly").Raw), At: -1}
		if at, ok := first[i+1]; ok {
			p.At = at
		}
		parts = append(parts, p)
	}
	return door.MemberMessages, door.Origins(parts, len(c.messages), c.messagesOf)
}

// messagesOf returns the messages of this API that would be made of those of Completion.
func (c *call) messagesOf(from, to int) []json.RawMessage {
	var t turns
	for _, m := range c.messages[from:to] {
		if m.Role != roleSystem && !t.add(gjson.ParseBytes(provider.Encode(m))) {
			return nil
		}
	}
	return t.messages()
}
