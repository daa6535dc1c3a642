package responses

import (
	"encoding/json"
	"slices"
	"strings"

	"github.com/tidwall/gjson"

	"github.com/caddy-chat/caddy-chat/modules/author"
	"github.com/caddy-chat/caddy-chat/modules/door"
)

// thoughts are what a provider wants back of its reasoning, as a reasoning item
// carries it in encrypted_content.
type thoughts struct {
	Text   string                     `json:"reasoning_content,omitempty"`
	By     string                     `json:"by,omitempty"` // the model that has written it
	Blocks json.RawMessage            `json:"thinking_blocks,omitempty"`
	Extra  map[string]json.RawMessage `json:"extra_content,omitempty"` // of tool calls, by their ids
}

// unseal collects what belongs to tool calls, which may stand before the item that
// carries it.
func (v *conversation) unseal(input gjson.Result) {
	input.ForEach(func(_, item gjson.Result) bool {
		var t thoughts
		if item.Get("type").Str != "reasoning" || !door.Unseal(item.Get("encrypted_content").Str, &t) {
			return true
		}
		for id, extra := range t.Extra {
			if v.extra == nil {
				v.extra = make(map[string]json.RawMessage)
			}
			v.extra[id] = extra
		}
		return true
	})
}

// addReasoning adds a reasoning item to the assistant's turn, and reports whether it
// could. Only what came through this door has what other providers than OpenAI's
// Responses want.
func (v *conversation) addReasoning(item gjson.Result) bool {
	var t thoughts
	encrypted := item.Get("encrypted_content").Str
	switch {
	case door.Unseal(encrypted, &t):
	case encrypted != "":
		return false
	default:
		t.Text = v.textOf(item, "content", "summary")
	}
	blocks := gjson.ParseBytes(t.Blocks)
	if t.Text == "" && !blocks.IsArray() {
		return t.Extra != nil // which belongs to calls
	}
	m := v.assistant(false)
	m.reasoning.WriteString(t.Text)
	if t.By != "" {
		m.Extra = author.With(t.By)
	}
	if !blocks.IsArray() {
		return true
	}
	if m.ThinkingBlocks == nil {
		m.ThinkingBlocks = []json.RawMessage{} // an empty list is kept, too
	}
	for _, b := range blocks.Array() {
		m.ThinkingBlocks = append(m.ThinkingBlocks, json.RawMessage(b.Raw))
	}
	return true
}

// textOf returns the text of the first of an item's lists of parts that has any.
func (v *conversation) textOf(item gjson.Result, lists ...string) string {
	for _, name := range lists {
		var texts []string
		for _, part := range item.Get(name).Array() {
			v.c.dropped.Others(part, "input."+name, "type", "text")
			if s := part.Get("text").Str; s != "" {
				texts = append(texts, s)
			}
		}
		if len(texts) > 0 {
			return strings.Join(texts, "\n\n")
		}
	}
	return ""
}

// addExtra adds what belongs to a tool call.
func (t *thoughts) addExtra(id string, call gjson.Result) {
	extra := given(call.Get("extra_content"))
	if extra == nil || id == "" {
		return
	}
	if t.Extra == nil {
		t.Extra = make(map[string]json.RawMessage)
	}
	t.Extra[id] = slices.Clone(extra)
}
