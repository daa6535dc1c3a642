package responses

import (
	"encoding/json"

	"github.com/tidwall/gjson"
	"github.com/tidwall/sjson"

	"github.com/caddy-chat/caddy-chat/modules/door"
	"github.com/caddy-chat/caddy-chat/modules/provider"
)

// Whole implements door.Call.
func (c *call) Whole(system string, before []json.RawMessage) (body []byte, dropped []string, ok bool) {
	body = c.body
	var items itemizer
	for _, m := range before {
		if !items.add(gjson.ParseBytes(m)) {
			return nil, nil, false
		}
	}
	said := len(items.list)
	switch input := gjson.GetBytes(body, "input"); {
	case said == 0:
	case input.Type == gjson.String:
		items.say("user", input.Str)
	default:
		for _, item := range input.Array() {
			items.list = append(items.list, json.RawMessage(item.Raw))
		}
	}
	items.list = answered(items.list, said)
	var err error
	set := func(name string, v any) {
		if err == nil {
			body, err = sjson.SetBytes(body, name, v)
		}
	}
	if len(items.list) > 0 {
		set("input", items.list)
	}
	if given(gjson.GetBytes(body, "instructions")) == nil && system != "" {
		set("instructions", system)
	}
	if gjson.GetBytes(body, "store").Bool() {
		set("store", false) // it is kept here
	}
	for _, name := range needsStore {
		if err == nil {
			body, err = sjson.DeleteBytes(body, name)
		}
	}
	return body, items.dropped, err == nil
}

// itemizer turns messages of chat completions into items.
type itemizer struct {
	list   []json.RawMessage
	custom map[string]bool // the calls of custom tools, by their ids
	whole  bool            // the last message was added by its items

	dropped provider.Dropped
}

func (z *itemizer) put(v any) { z.list = append(z.list, provider.Encode(v)) }

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

func (z *itemizer) say(role string, content any) {
	s := said{Role: role, Content: content}
	if _, text := content.(string); !text {
		s.Type = typeMessage
	}
	z.put(s)
}

// add adds a message, by the items that it was made of if there are some. A list of none is
// that of a message whose items are with the one before it, if that was not left out. It
// reports whether it has a form.
func (z *itemizer) add(m gjson.Result) bool {
	if items := m.Get(door.MemberItems); items.IsArray() && (z.whole || len(items.Array()) > 0) {
		z.whole = true
		z.addItems(items)
		return true
	}
	z.whole = false
	content := m.Get("content")
	switch m.Get("role").Str {
	case "system", "developer":
		z.say("developer", textsOf(content))
		return true
	case "user":
		return z.addUser(content)
	case "tool":
		typ, id := "function_call_output", m.Get("tool_call_id").Str
		if z.custom[id] {
			typ = "custom_tool_call_output"
		}
		output, ok := outputOf(content)
		z.put(result{typ, id, output})
		return ok
	case "assistant":
		z.addAssistant(m)
		return true
	}
	return false
}

// textsOf returns the texts of a message as an item has them, which are kept apart.
func textsOf(content gjson.Result) any {
	if len(content.Array()) < 2 || !content.IsArray() {
		return provider.TextOf(content)
	}
	parts := []any{}
	for _, p := range content.Array() {
		if text := p.Get("text"); text.Type == gjson.String {
			parts = append(parts, map[string]any{"type": "input_text", "text": text.Str})
		}
	}
	return parts
}

func (z *itemizer) addUser(content gjson.Result) bool {
	if content.Type == gjson.String {
		z.say("user", content.Str)
		return true
	}
	parts, ok := inputParts(content)
	z.say("user", parts)
	return ok
}

// outputOf returns the content of a tool's message as the output of a call.
func outputOf(content gjson.Result) (output any, ok bool) {
	for _, p := range content.Array() {
		if p.IsObject() && p.Get("type").Str != "text" {
			return inputParts(content)
		}
	}
	return textsOf(content), true
}

// inputParts returns parts of chat completions as those of an item, and whether all have a
// form.
func inputParts(content gjson.Result) (parts []any, ok bool) {
	parts = []any{}
	for _, p := range content.Array() {
		switch p.Get("type").Str {
		case "text":
			parts = append(parts, map[string]any{"type": "input_text", "text": p.Get("text").Str})
		case "image_url":
			image := map[string]any{"type": "input_image", "image_url": p.Get("image_url.url").Str, "detail": "auto"}
			if detail := p.Get("image_url.detail"); detail.Type == gjson.String {
				image["detail"] = detail.Str
			}
			parts = append(parts, image)
		case "file":
			parts = append(parts, map[string]any{"type": "input_file", "filename": p.Get("file.filename").Str, "file_data": p.Get("file.file_data").Str})
		default:
			return nil, false
		}
	}
	return parts, true
}

// addItems adds items as they came.
func (z *itemizer) addItems(items gjson.Result) {
	for _, item := range items.Array() {
		z.list = append(z.list, json.RawMessage(item.Raw))
		if item.Get("type").Str == typeCustom {
			if z.custom == nil {
				z.custom = make(map[string]bool)
			}
			z.custom[item.Get("call_id").Str] = true
		}
	}
}

// addAssistant adds what the assistant has said and called.
func (z *itemizer) addAssistant(m gjson.Result) {
	for _, name := range [...]string{"reasoning_content", "thinking_blocks"} {
		if m.Get(name).Exists() {
			z.dropped.Add("messages." + name) // only its own provider can read it
		}
	}
	var parts []any
	if text := provider.TextOf(m.Get("content")); text != "" {
		parts = append(parts, map[string]any{"type": typeText, "text": text, "annotations": []any{}})
	}
	if refusal := m.Get("refusal").Str; refusal != "" {
		parts = append(parts, map[string]any{"type": typeRefusal, "refusal": refusal})
	}
	if parts != nil {
		z.say("assistant", parts)
	}
	for _, c := range m.Get("tool_calls").Array() {
		z.put(map[string]any{
			"type": typeFunction, "call_id": c.Get("id").String(), "name": c.Get("function.name").Str,
			"arguments": provider.ArgumentsOf(c.Get("function.arguments")),
		})
	}
}

// Said implements door.Call.
func (c *call) Said(response []byte) (member string, value json.RawMessage) {
	output := gjson.GetBytes(response, "output")
	more := false
	output.ForEach(func(_, item gjson.Result) bool {
		switch item.Get("type").Str {
		case typeMessage:
			more = len(item.Get("content.#.annotations|@flatten").Array()) > 0
		case typeFunction:
			more = item.Get("namespace").Exists()
		default:
			more = true
		}
		return !more
	})
	if !more {
		return "", nil
	}
	return door.MemberItems, json.RawMessage(output.Get("@ugly").Raw)
}
