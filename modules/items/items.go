// Package items turns messages of chat completions into the items of OpenAI's Responses.
// The same messages always become the same bytes: prompt caches live on that.
package items

import (
	"encoding/json"

	"github.com/tidwall/gjson"

	"github.com/caddy-chat/caddy-chat/modules/provider"
)

// The types of items that messages become.
const (
	typeMessage    = "message"
	typeCall       = "function_call"
	typeCustomCall = "custom_tool_call"
	typeText       = "output_text"
	typeRefusal    = "refusal"
)

// List collects items. The zero List is ready to use.
type List struct {
	Items []json.RawMessage

	// Dropped names what is left out of the messages.
	Dropped provider.Dropped

	custom map[string]bool // the calls of custom tools, by their ids
}

func (l *List) put(v any) { l.Items = append(l.Items, provider.Encode(v)) }

// said and result are items as most clients write them.
type said struct {
	Type    string `json:"type,omitempty"`
	Role    string `json:"role"`
	Content any    `json:"content"`
}

type result struct {
	Type   string `json:"type"`
	CallID string `json:"call_id"`
	Output any    `json:"output"` // a text, or a list of parts
}

// Say adds a message with a text, or with a list of parts.
func (l *List) Say(role string, content any) {
	s := said{Role: role, Content: content}
	if _, text := content.(string); !text {
		s.Type = typeMessage
	}
	l.put(s)
}

// AddItems adds items as they came.
func (l *List) AddItems(items gjson.Result) {
	for _, item := range items.Array() {
		l.Items = append(l.Items, json.RawMessage(item.Raw))
		if item.Get("type").Str == typeCustomCall {
			l.isCustom(item.Get("call_id").Str)
		}
	}
}

// isCustom notes that a call is one of a custom tool, whose output has a type of its own.
func (l *List) isCustom(id string) {
	if l.custom == nil {
		l.custom = make(map[string]bool)
	}
	l.custom[id] = true
}

// Add adds a message of chat completions. It reports whether the message has a form.
func (l *List) Add(m gjson.Result) bool {
	content := m.Get("content")
	switch m.Get("role").Str {
	case "system", "developer":
		l.Say("developer", textsOf(content))
		return true
	case "user":
		return l.addUser(content)
	case "tool":
		typ, id := typeCall, m.Get("tool_call_id").Str
		if l.custom[id] {
			typ = typeCustomCall
		}
		output, ok := outputOf(content)
		l.put(result{typ + "_output", id, output})
		return ok
	case "assistant":
		l.addAssistant(m)
		return true
	}
	return false
}

func (l *List) addUser(content gjson.Result) bool {
	if content.Type == gjson.String {
		l.Say("user", content.Str)
		return true
	}
	parts, ok := inputParts(content)
	l.Say("user", parts)
	return ok
}

// addAssistant adds what the assistant has said and called, and its reasoning in between.
func (l *List) addAssistant(m gjson.Result) {
	thoughts, parts, calls := l.thoughtsOf(m), saidBy(m), m.Get("tool_calls").Array()
	saidAt := min(thoughts.text(), len(calls))
	for i := range len(calls) + 1 {
		if i == saidAt && parts != nil {
			l.Items = append(l.Items, thoughts.next(i, true)...)
			l.Say("assistant", parts)
		}
		if i < len(calls) {
			l.Items = append(l.Items, thoughts.next(i, false)...)
			l.call(calls[i])
		}
	}
	if len(thoughts) > 0 {
		l.Dropped.Add("messages." + Member) // servers refuse reasoning that nothing follows
	}
}

// saidBy returns what the assistant has said; nil for nothing.
func saidBy(m gjson.Result) (parts []any) {
	if text := provider.TextOf(m.Get("content")); text != "" {
		parts = append(parts, map[string]any{"type": typeText, "text": text, "annotations": []any{}})
	}
	if refusal := m.Get("refusal").Str; refusal != "" {
		parts = append(parts, map[string]any{"type": typeRefusal, "refusal": refusal})
	}
	return parts
}

// call adds a call of a function, or of a custom tool.
func (l *List) call(c gjson.Result) {
	id := c.Get("id").String()
	if c.Get("type").Str == "custom" {
		l.isCustom(id)
		l.put(map[string]any{"type": typeCustomCall, "call_id": id, "name": c.Get("custom.name").Str, "input": c.Get("custom.input").Str})
		return
	}
	l.put(map[string]any{
		"type": typeCall, "call_id": id, "name": c.Get("function.name").Str,
		"arguments": provider.ArgumentsOf(c.Get("function.arguments")),
	})
}
