package responses

import (
	"fmt"
	"slices"
	"strings"

	"github.com/tidwall/gjson"
	"github.com/tidwall/sjson"

	"github.com/caddy-chat/caddy-chat/modules/provider"
)

// Shaped reports whether a chat completions request with these members has the shape of
// this API, as some editors send it: input in place of messages, or tools that are flat.
func Shaped(messages, input, tools gjson.Result) bool {
	return !messages.Exists() && input.Exists() || hasFlat(tools)
}

// Completion returns a request that is Shaped as the chat completion that it is, and the
// members that this has no place for.
func Completion(body []byte) (completion []byte, dropped []string, err error) {
	root := gjson.ParseBytes(body)
	if root.Get("messages").Exists() {
		return nested(body, root.Get("tools"))
	}
	if err := checkStored(root, "only at /v1/responses"); err != nil {
		return nil, nil, err
	}
	c := newCall()
	c.completes = true
	if err := c.open(body, false); err != nil {
		return nil, nil, err
	}
	completion = c.completion
	// chat completions have these, too
	for _, name := range [...]string{"stream_options", "metadata", "store"} {
		v := given(root.Get(name))
		if v == nil || name == "store" && string(v) == "false" {
			continue
		}
		if completion, err = sjson.SetRawBytes(completion, name, v); err != nil {
			return nil, nil, fmt.Errorf("adding %s: %w", name, err)
		}
	}
	dropped = slices.DeleteFunc(c.dropped, func(name string) bool { return name == "store" || strings.HasPrefix(name, "stream_options.") })
	return completion, dropped, nil
}

// hasFlat reports whether any of the tools isFlat.
func hasFlat(tools gjson.Result) (found bool) {
	if tools.IsArray() {
		tools.ForEach(func(_, v gjson.Result) bool {
			found = isFlat(v)
			return !found
		})
	}
	return found
}

// isFlat reports whether a tool is a function, or a custom tool, that has its name beside
// its type.
func isFlat(v gjson.Result) bool {
	typ := v.Get("type").Str
	return (typ == "function" || typ == "custom") && v.Get("name").Type == gjson.String && !v.Get(typ).Exists()
}

// nested returns a body whose flat tools are those of chat completions. All else of it
// stays as it was sent, white space included: prompt caches live on that. left are the
// members that these have no place for.
func nested(body []byte, tools gjson.Result) (completion []byte, left provider.Dropped, err error) {
	var list []byte
	copied := 0
	tools.ForEach(func(_, v gjson.Result) bool {
		if !isFlat(v) {
			return true
		}
		at := v.Index - tools.Index
		list = append(list, tools.Raw[copied:at]...)
		list = append(list, provider.Encode(nestedTool(v))...)
		left.Others(v, "tools", "type", "name", "description", "parameters", "strict", "format")
		copied = at + len(v.Raw)
		return true
	})
	list = append(list, tools.Raw[copied:]...)
	body, err = sjson.SetRawBytes(body, "tools", list)
	if choice := gjson.GetBytes(body, "tool_choice"); err == nil && isFlat(choice) {
		typ := choice.Get("type").Str
		chosen := map[string]any{"type": typ, typ: map[string]string{"name": choice.Get("name").Str}}
		body, err = sjson.SetRawBytes(body, "tool_choice", provider.Encode(chosen))
	}
	if err != nil {
		return nil, nil, fmt.Errorf("nesting tools: %w", err)
	}
	return body, left, nil
}

// nestedTool returns a flat tool as one of chat completions.
func nestedTool(v gjson.Result) tool {
	name := v.Get("name").Str
	if v.Get("type").Str == "custom" {
		return newCustom(name, v)
	}
	return newFunction(offered{name, v.Get("description").Str, given(v.Get("parameters")), given(v.Get("strict"))})
}
