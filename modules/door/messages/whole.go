package messages

import (
	"encoding/json"
	"strings"

	"github.com/tidwall/gjson"
	"github.com/tidwall/sjson"

	"github.com/caddy-chat/caddy-chat/modules/door"
	"github.com/caddy-chat/caddy-chat/modules/items"
	"github.com/caddy-chat/caddy-chat/modules/provider"
)

// Said implements door.Call.
func (c *call) Said(message []byte) (member string, value json.RawMessage) {
	content := gjson.GetBytes(message, "content")
	more := false
	content.ForEach(func(_, b gjson.Result) bool {
		switch typeOf(b) {
		case kindText:
			more = len(b.Get("citations").Array()) > 0
		case kindTool, kindThinking, kindRedacted:
		default:
			more = true
		}
		return !more
	})
	if !more {
		return "", nil
	}
	return door.MemberBlocks, json.RawMessage(content.Get("@ugly").Raw)
}

// Whole implements door.Call.
func (c *call) Whole(system string, before []json.RawMessage) (body []byte, dropped []string, ok bool) {
	var turns turns
	for _, m := range before {
		if !turns.add(gjson.ParseBytes(m)) {
			return nil, nil, false
		}
	}
	body = c.body
	var err error
	if len(turns.list) > 0 {
		sent := gjson.GetBytes(body, "messages")
		list := answered(turns.messages(), sent)
		sent.ForEach(func(_, m gjson.Result) bool {
			list = append(list, json.RawMessage(m.Raw))
			return true
		})
		body, err = sjson.SetBytes(body, "messages", list)
	}
	if v := gjson.GetBytes(body, "system"); err == nil && system != "" && (!v.Exists() || v.Type == gjson.Null) {
		body, err = sjson.SetBytes(body, "system", system)
	}
	return body, turns.dropped, err == nil
}

// turns collects messages of this API, which it makes of those of chat completions.
type turns struct {
	list    []any
	results []any // of tools, which one message of the user has
	whole   bool  // the last message was added by what it was made of
	dropped provider.Dropped
}

type turnOf struct {
	Role    string `json:"role"`
	Content any    `json:"content"`
}

// add adds a message, by those of this API that it was made of if there are some. A list of
// none is that of a message which is with the one before it, if that was not left out. It
// reports whether it has a form.
func (t *turns) add(m gjson.Result) bool {
	if made := m.Get(door.MemberMessages); made.IsArray() && (t.whole || len(made.Array()) > 0) {
		t.whole = true
		t.endResults()
		for _, m := range made.Array() {
			t.list = append(t.list, json.RawMessage(m.Raw))
		}
		return true
	}
	t.whole = false
	role, content := m.Get("role").Str, m.Get("content")
	if role == roleTool {
		return t.addResult(m)
	}
	t.endResults()
	switch role {
	case roleAssistant:
		return t.addAssistant(m)
	case roleUser:
		if content.Type == gjson.String {
			t.list = append(t.list, turnOf{roleUser, content.Str})
			return true
		}
		blocks, ok := blocksOf(content)
		t.list = append(t.list, turnOf{roleUser, blocks})
		return ok
	}
	return false
}

// messages returns what was collected.
func (t *turns) messages() []json.RawMessage {
	t.endResults()
	list := make([]json.RawMessage, len(t.list))
	for i, m := range t.list {
		list[i] = provider.Encode(m)
	}
	return list
}

// endResults ends a run of results.
func (t *turns) endResults() {
	if t.results != nil {
		t.list = append(t.list, turnOf{roleUser, t.results})
		t.results = nil
	}
}

func (t *turns) addResult(m gjson.Result) bool {
	content, ok := any(m.Get("content").Str), true
	if v := m.Get("content"); v.IsArray() {
		content, ok = blocksOf(v)
	}
	t.results = append(t.results, withMark(map[string]any{"type": "tool_result", "tool_use_id": m.Get("tool_call_id").String(), "content": content, "is_error": m.Get("is_error").Bool()}, m))
	return ok
}

// addAssistant adds what the assistant has said and called: the blocks as they came, if the
// message was made of some.
func (t *turns) addAssistant(m gjson.Result) bool {
	if blocks := m.Get(door.MemberBlocks); blocks.IsArray() {
		t.list = append(t.list, turnOf{roleAssistant, json.RawMessage(blocks.Raw)})
		return true
	}
	content := []any{}
	signed := m.Get(items.Member).Array()
	for _, b := range signed {
		if items.IsReasoning(b) {
			t.dropped.Add("messages." + items.Member) // only its own model can read it
			continue
		}
		content = append(content, json.RawMessage(b.Raw))
	}
	if len(signed) == 0 && m.Get("reasoning_content").Exists() {
		t.dropped.Add("messages.reasoning_content") // only its own provider can read it
	}
	if text := provider.TextOf(m.Get("content")); text != "" {
		content = append(content, textBlock{kindText, text})
	}
	for _, call := range m.Get("tool_calls").Array() {
		arguments, id := strings.TrimSpace(provider.ArgumentsOf(call.Get("function.arguments"))), call.Get("id").String()
		if arguments != "" && !gjson.Parse(arguments).IsObject() || !goodID.MatchString(id) {
			return false
		}
		content = append(content, toolUseBlock{kindTool, id, call.Get("function.name").Str, inputOf(arguments)})
	}
	if len(content) == 0 {
		return false
	}
	t.list = append(t.list, turnOf{roleAssistant, content})
	return true
}

// blocksOf returns parts as blocks. It reports whether all have a form.
func blocksOf(parts gjson.Result) (blocks []any, ok bool) {
	for _, p := range parts.Array() {
		var b map[string]any
		switch p.Get("type").Str {
		case partText:
			b = map[string]any{"type": kindText, "text": p.Get("text").Str}
		case partImage:
			b = map[string]any{"type": "image", "source": sourceOf(p.Get("image_url.url").Str)}
		case partFile:
			data := p.Get("file.file_data").Str
			if !strings.HasPrefix(data, "data:application/pdf;base64,") {
				return nil, false
			}
			b = map[string]any{"type": "document", "source": sourceOf(data)}
			if name := p.Get("file.filename").Str; name != "" {
				b["title"] = name
			}
		default:
			return nil, false
		}
		blocks = append(blocks, withMark(b, p))
	}
	return blocks, len(blocks) > 0
}

// sourceOf returns the source of an image or a document for its URL, which may hold it.
func sourceOf(url string) map[string]any {
	rest, ok := strings.CutPrefix(url, "data:")
	if kind, data, found := strings.Cut(rest, ";base64,"); ok && found {
		return map[string]any{"type": "base64", "media_type": kind, "data": data}
	}
	return map[string]any{"type": "url", "url": url}
}

// withMark keeps the mark for prompt caches.
func withMark(block map[string]any, of gjson.Result) map[string]any {
	if mark := cacheControl(of); mark != nil {
		block["cache_control"] = mark
	}
	return block
}
