package chatsession

import (
	"encoding/json"
	"slices"

	"github.com/tidwall/gjson"

	"github.com/caddy-chat/caddy-chat/modules/door"
	"github.com/caddy-chat/caddy-chat/modules/provider"
	"github.com/caddy-chat/caddy-chat/modules/store"
)

// isHeard reports whether a message is one that a conversation is known again by. A client
// may leave out a system message the next time, or have another in its place.
func isHeard(m *store.Message) bool { return m.Role != roleSystem && !isWordless(m) }

func isAnswer(m *store.Message) bool { return m.Role == roleAssistant }

// isWordless reports whether chat completions have no words for a message, such as an answer
// that is only the work of a server's own tools.
func isWordless(m *store.Message) bool {
	if m.Content != "" || m.Role != roleAssistant && m.Role != roleUser {
		return false
	}
	if len(m.Raw) == 0 {
		return m.Role == roleAssistant
	}
	raw := gjson.ParseBytes(m.Raw)
	for _, name := range [...]string{"content", "tool_calls", "function_call", "refusal", "audio"} {
		if !provider.IsEmpty(raw.Get(name)) {
			return false
		}
	}
	return m.Role == roleAssistant || hasOrigins(m, door.Members[:])
}

// hasOrigins reports whether a message has what it was made of, in one of these members.
func hasOrigins(m *store.Message, members []string) bool {
	return slices.ContainsFunc(members, func(name string) bool { return gjson.GetBytes(m.Raw, name).IsArray() })
}

// withWords returns the messages that have words, for a provider that knows no others.
func withWords(msgs []*store.Message) []*store.Message {
	return slices.DeleteFunc(slices.Clone(msgs), func(m *store.Message) bool {
		return isWordless(m) && hasOrigins(m, door.Members[:])
	})
}

// traces are what the other messages are known by: system messages by their meaning, those
// without words by the ids of their blocks or items, or by what these say that have none.
type traces map[string]bool

func tracesOf(msgs []*store.Message) traces {
	t := make(traces)
	for _, m := range msgs {
		for _, keys := range keysOf(m) {
			for _, key := range keys {
				t[key] = true
			}
		}
	}
	return t
}

func (t traces) has(keys []string) bool {
	return slices.ContainsFunc(keys, func(key string) bool { return t[key] })
}

// some reports whether a piece of a message is among the traces.
func (t traces) some(m *store.Message) bool { return slices.ContainsFunc(keysOf(m), t.has) }

// all reports whether all pieces of a message are.
func (t traces) all(m *store.Message) bool {
	return !slices.ContainsFunc(keysOf(m), func(keys []string) bool { return !t.has(keys) })
}

// keysOf returns what each piece of a message that is not heard is known by. Reasoning does
// not count, which clients may leave out: what is nothing else is known by who has thought.
func keysOf(m *store.Message) (list [][]string) {
	if m.Role == roleSystem {
		what := meaningOf(m)
		return [][]string{{string(what[:])}}
	}
	for _, p := range piecesOf(m) {
		switch typ := p.Get("type").Str; typ {
		case "text", "message", "thinking", "redacted_thinking", "reasoning":
		default:
			var said map[string]any
			if json.Unmarshal([]byte(p.Raw), &said) != nil {
				continue
			}
			var keys []string
			for _, name := range [...]string{"id", "call_id", "tool_use_id"} {
				if id, _ := said[name].(string); id != "" {
					keys = append(keys, typ+" "+name+" "+id)
				}
			}
			if b, err := json.Marshal(simplest(said)); err == nil && keys == nil {
				keys = []string{string(b)}
			}
			list = append(list, keys)
		}
	}
	if list == nil {
		return [][]string{{m.Role}}
	}
	return list
}

// piecesOf returns the blocks or items that a message was made of.
func piecesOf(m *store.Message) []gjson.Result {
	raw := gjson.ParseBytes(m.Raw)
	list := append(raw.Get(door.MemberBlocks).Array(), raw.Get(door.MemberItems).Array()...)
	for _, made := range raw.Get(door.MemberMessages).Array() {
		if content := made.Get("content"); content.IsArray() {
			list = append(list, content.Array()...)
		}
	}
	return list
}
