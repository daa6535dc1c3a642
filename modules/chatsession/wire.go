package chatsession

import (
	"bytes"
	"encoding/json"
	"unicode/utf8"

	"github.com/tidwall/gjson"

	"github.com/caddy-chat/caddy-chat/modules/provider"
	"github.com/caddy-chat/caddy-chat/modules/record"
	"github.com/caddy-chat/caddy-chat/modules/store"
)

// Roles of stored messages. Clients may send others.
const (
	roleSystem    = "system"
	roleUser      = "user"
	roleAssistant = "assistant"
	roleTool      = "tool"
)

// partWeight is how many bytes of text an image or another part that is not text
// counts as: a thousand tokens, whatever its size.
const partWeight = 4000

// newMessage returns a message that is only text.
func newMessage(role, text string) *store.Message {
	return &store.Message{
		ID:         record.NewID(),
		Role:       role,
		Content:    text,
		TokenCount: int(provider.EstimateTokens(len(text))),
		Status:     store.StatusComplete,
	}
}

// fromWire converts a message of a chat completions request to a stored one.
func fromWire(v gjson.Result) (*store.Message, error) {
	content := v.Get("content")
	m := newMessage(v.Get("role").Str, provider.TextOf(content))
	plain := content.Type == gjson.String
	v.ForEach(func(k, _ gjson.Result) bool {
		plain = plain && (k.Str == "role" || k.Str == "content")
		return plain
	})
	if plain {
		return m, nil
	}
	var raw bytes.Buffer
	if err := json.Compact(&raw, []byte(v.Raw)); err != nil {
		return nil, err
	}
	m.Raw = withoutNative(raw.Bytes()) // which only an answer has
	m.TokenCount = int(provider.EstimateTokens(weight(m)))
	return m, nil
}

// appendWire appends the JSON of a stored message for a model.
func appendWire(b []byte, m *store.Message) []byte {
	if len(m.Raw) > 0 {
		return append(b, withoutNative(m.Raw)...)
	}
	b = appendString(append(b, `{"role":`...), m.Role)
	b = appendString(append(b, `,"content":`...), m.Content)
	return append(b, '}')
}

// wireSize returns the maximum length of a message in a request, in bytes: of what
// appendWire appends, or of what it was made of.
func wireSize(m *store.Message) int {
	if len(m.Raw) > 0 {
		size := len(withoutNative(m.Raw))
		return max(size, len(m.Raw)-size)
	}
	return len(`{"role":"","content":""}`) + quotedSize(m.Role) + quotedSize(m.Content)
}

// quotedSize returns the maximum length of a string with its escapes, in bytes.
func quotedSize(s string) int {
	if !utf8.ValidString(s) {
		return 6 * len(s)
	}
	n := len(s)
	for i := range len(s) {
		switch c := s[i]; {
		case c < ' ':
			n += len(`\u0000`) - 1
		case c == '"' || c == '\\':
			n++
		}
	}
	return n
}

// weight returns how many bytes of text a message counts as in estimates.
func weight(m *store.Message) int {
	n := len(m.Content)
	if len(m.Raw) == 0 {
		return n
	}
	raw := gjson.ParseBytes(m.Raw)
	n += len(raw.Get("tool_calls").Raw)
	reasoning := 0
	for _, name := range reasoningMembers {
		reasoning = max(reasoning, len(raw.Get(name).Raw)) // the same thought, spelled twice
	}
	n += reasoning
	for _, part := range raw.Get("content").Array() {
		if part.IsObject() && !part.Get("text").Exists() && !part.Get("refusal").Exists() {
			n += partWeight
		}
	}
	return n
}

// callsOf returns the tool calls that a message makes.
func callsOf(m *store.Message) []gjson.Result {
	if m.Role != roleAssistant || len(m.Raw) == 0 {
		return nil
	}
	return gjson.GetBytes(m.Raw, "tool_calls").Array()
}

// callIDs returns the ids of the tool calls that a message makes.
func callIDs(m *store.Message) map[string]bool {
	ids := make(map[string]bool)
	for _, call := range callsOf(m) {
		if id := call.Get("id").String(); id != "" {
			ids[id] = true
		}
	}
	return ids
}

// resultOf returns the id of the tool call that a message answers, or an empty
// string.
func resultOf(m *store.Message) string {
	if m.Role != roleTool || len(m.Raw) == 0 {
		return ""
	}
	return gjson.GetBytes(m.Raw, "tool_call_id").String()
}
