package customtool

import (
	"bytes"

	"github.com/tidwall/gjson"

	"github.com/caddy-chat/caddy-chat/modules/provider"
	"github.com/caddy-chat/caddy-chat/modules/splice"
)

// Tools are the custom tools of a chat completions request, by their names.
type Tools map[string]bool

// AsFunctions returns the body of a chat completions request with functions in place of its
// custom tools, of the choice of one, and of the calls of some. All else stays as it was. t
// is nil if it offers none.
func AsFunctions(body []byte) (functions []byte, t Tools) {
	if !bytes.Contains(body, []byte(`"custom"`)) {
		return body, nil
	}
	root := gjson.ParseBytes(body)
	var edits []splice.Edit
	replace := func(v gjson.Result, with any) {
		edits = append(edits, splice.Edit{From: v.Index, To: v.Index + len(v.Raw), Value: string(provider.Encode(with))})
	}
	each(root.Get("tools"), func(v gjson.Result) {
		custom := v.Get("custom")
		if !isCustom(v) {
			return
		}
		if t == nil {
			t = make(Tools)
		}
		name := custom.Get("name").Str
		t[name] = true
		replace(v, map[string]any{"type": "function", "function": map[string]any{
			"name": name, "parameters": Parameters,
			"description": Description(custom.Get("description").Str, custom.Get("format.grammar")),
		}})
	})
	if choice := root.Get("tool_choice"); isCustom(choice) {
		replace(choice, map[string]any{"type": "function", "function": map[string]any{"name": choice.Get("custom.name").Str}})
	}
	each(root.Get("messages"), func(m gjson.Result) {
		each(m.Get("tool_calls"), func(v gjson.Result) {
			if isCustom(v) {
				replace(v, map[string]any{"id": v.Get("id").Str, "type": "function", "function": map[string]any{
					"name": v.Get("custom.name").Str, "arguments": Arguments(v.Get("custom.input").Str),
				}})
			}
		})
	})
	if len(edits) == 0 {
		return body, nil
	}
	return splice.Apply(body, edits), t
}

func isCustom(v gjson.Result) bool {
	return v.Get("type").Str == "custom" && v.Get("custom.name").Type == gjson.String
}

func each(list gjson.Result, f func(gjson.Result)) {
	if list.IsArray() {
		list.ForEach(func(_, v gjson.Result) bool {
			f(v)
			return true
		})
	}
}
