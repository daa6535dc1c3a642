package chatsession

import (
	"crypto/sha256"
	"encoding/json"
	"slices"

	"github.com/caddy-chat/caddy-chat/modules/door"
	"github.com/caddy-chat/caddy-chat/modules/store"
)

// meaning identifies what a message says. Two messages that say the same have the
// same meaning, however their JSON is spelled: clients send a conversation again
// with another mark for the cache, a text as a list of parts, null for what is
// missing, or arguments with other white space. Of an assistant's message only the
// text and the calls count, since clients do not send back all the rest.
type meaning [sha256.Size]byte

// meaningsAt returns the meanings of the messages at these places.
func meaningsAt(msgs []*store.Message, places []int) []meaning {
	list := make([]meaning, len(places))
	for i, at := range places {
		list[i] = meaningOf(msgs[at])
	}
	return list
}

func meaningOf(m *store.Message) meaning {
	said := map[string]any{"role": m.Role, "content": m.Content}
	if len(m.Raw) > 0 {
		said = nil
		if json.Unmarshal(m.Raw, &said) != nil { // such as a number that is too large
			return sha256.Sum256(m.Raw)
		}
	}
	b, err := json.Marshal(meant(said))
	if err != nil {
		return sha256.Sum256(m.Raw)
	}
	return sha256.Sum256(b)
}

// meant returns the members of a message that count, in their simplest form.
func meant(said map[string]any) map[string]any {
	role, _ := said["role"].(string)
	what := map[string]any{"role": role}
	content := partsOf(said["content"], role == roleAssistant)
	switch role {
	case roleAssistant:
		if refusal, ok := said["refusal"].(string); ok {
			content = withText(content, refusal)
		}
		if calls, ok := said["tool_calls"].([]any); ok && len(calls) > 0 {
			what["tool_calls"] = callsMeant(calls)
		}
		if call, ok := said["function_call"].(map[string]any); ok {
			what["function_call"] = callMeant(call)
		}
	case roleTool:
		what["tool_call_id"] = said["tool_call_id"]
	default:
		for name, v := range said {
			if v != nil && name != "cache_control" && !slices.Contains(door.Members[:], name) {
				what[name] = simplest(v)
			}
		}
	}
	what["content"] = content
	return what
}

// partsOf returns a content as a list of texts, joined, and of other parts.
func partsOf(content any, assistant bool) []any {
	list := []any{}
	switch content := content.(type) {
	case string:
		list = withText(list, content)
	case []any:
		for _, p := range content {
			list = withPart(list, p, assistant)
		}
	}
	return list
}

func withText(list []any, text string) []any {
	if text == "" {
		return list
	}
	if n := len(list); n > 0 {
		if last, ok := list[n-1].(string); ok {
			list[n-1] = last + text
			return list
		}
	}
	return append(list, text)
}

func withPart(list []any, p any, assistant bool) []any {
	if text, ok := p.(string); ok {
		return withText(list, text)
	}
	part, ok := simplest(p).(map[string]any)
	if !ok {
		return append(list, p)
	}
	typ, _ := part["type"].(string)
	text, isText := part["text"].(string)
	refusal, isRefusal := part["refusal"].(string)
	switch {
	case assistant && (typ == "thinking" || typ == "redacted_thinking" || typ == "reasoning"):
		return list
	case isText && (len(part) == 2 && typ == "text" || assistant):
		return withText(list, text)
	case isRefusal && assistant:
		return withText(list, refusal)
	}
	if u, ok := part["image_url"].(string); ok {
		part["image_url"] = map[string]any{"url": u}
	}
	if image, ok := part["image_url"].(map[string]any); ok && image["detail"] == "auto" {
		delete(image, "detail")
	}
	return append(list, part)
}

// callsMeant returns what tool calls ask for.
func callsMeant(calls []any) []any {
	var list []any
	for _, v := range calls {
		call, _ := v.(map[string]any)
		what := map[string]any{"id": call["id"]}
		if fn, ok := call["function"].(map[string]any); ok && call["type"] != "custom" {
			what["function"] = callMeant(fn)
		} else if tool, ok := call["custom"].(map[string]any); ok {
			what["custom"] = []any{tool["name"], tool["input"]}
		}
		list = append(list, what)
	}
	return list
}

// callMeant returns a function's name and its parsed arguments.
func callMeant(fn map[string]any) []any {
	args := fn["arguments"]
	if text, ok := args.(string); ok {
		var parsed any
		if json.Unmarshal([]byte(text), &parsed) == nil {
			args = parsed
		}
	}
	if args == nil || args == "" {
		args = map[string]any{}
	}
	return []any{fn["name"], args}
}

// simplest returns a value without what says nothing: null, and marks for the
// provider's cache.
func simplest(v any) any {
	switch v := v.(type) {
	case map[string]any:
		for name, e := range v {
			if e == nil || name == "cache_control" {
				delete(v, name)
				continue
			}
			v[name] = simplest(e)
		}
	case []any:
		for i := range v {
			v[i] = simplest(v[i])
		}
	}
	return v
}
