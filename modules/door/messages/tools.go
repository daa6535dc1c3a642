package messages

import (
	"encoding/json"

	"github.com/tidwall/gjson"

	"github.com/caddy-chat/caddy-chat/modules/provider"
)

type tool struct {
	Type         string          `json:"type"` // always "function"
	Function     declaration     `json:"function"`
	CacheControl json.RawMessage `json:"cache_control,omitempty"`
}

type declaration struct {
	Name        string          `json:"name"`
	Description string          `json:"description,omitempty"`
	Parameters  json.RawMessage `json:"parameters,omitempty"`
	Strict      *bool           `json:"strict,omitempty"`
}

// tools reads the tools and which of them the model may call. Those that Anthropic's
// servers run, or that only its models know, are left out, as are those to be loaded
// later: coding agents send them with every request.
func (t *translation) tools(members map[string]gjson.Result) error {
	list := members["tools"]
	if list.Type != gjson.Null && !list.IsArray() {
		return provider.Invalid("tools", "want a list")
	}
	left := make(map[string]bool) // names of the tools that were left out
	for i, v := range list.Array() {
		path := member("tools", i)
		name := v.Get("name").Str
		switch typ := typeOf(v); {
		case typ != "" && typ != "custom":
			left[name] = true
			t.dropped.Add("tools." + typ)
			continue
		case v.Get("defer_loading").Bool():
			left[name] = true
			t.dropped.Add("tools.defer_loading")
			continue
		}
		schema := v.Get("input_schema")
		switch {
		case name == "":
			return provider.Invalid(path+".name", "required, a string")
		case !schema.IsObject():
			return provider.Invalid(path+".input_schema", "required, a JSON schema")
		}
		t.dropped.Others(v, "tools", "type", "name", "description", "input_schema", "strict", "cache_control", "defer_loading")
		made := tool{Type: "function", CacheControl: cacheControl(v)}
		made.Function = declaration{Name: name, Description: v.Get("description").Str, Parameters: json.RawMessage(schema.Raw)}
		switch strict := v.Get("strict"); {
		case strict.Bool() && !isStrict(schema):
			t.dropped.Add("tools.strict")
		case strict.IsBool():
			made.Function.Strict = new(strict.Bool())
		}
		t.Tools = append(t.Tools, made)
	}
	return t.toolChoice(members["tool_choice"], left)
}

func (t *translation) toolChoice(v gjson.Result, left map[string]bool) error {
	if v.Type == gjson.Null {
		return nil
	}
	if v.Get("disable_parallel_tool_use").Bool() && len(t.Tools) > 0 {
		t.ParallelToolCalls = new(false)
	}
	t.dropped.Others(v, "tool_choice", "type", "name", "disable_parallel_tool_use")
	name := v.Get("name").Str
	switch typ := typeOf(v); {
	case typ == "auto", typ == "none":
		if len(t.Tools) > 0 {
			t.ToolChoice = typ
		}
		return nil
	case typ != "any" && typ != "tool":
		t.refuse("tool_choice.type", "want auto, any, tool or none")
		return nil
	case typ == "tool" && left[name], len(t.Tools) == 0 && len(left) > 0:
		t.refuse("tool_choice", "no provider of this model has this tool")
		return nil
	case len(t.Tools) == 0:
		return provider.Invalid("tool_choice", "want tools to choose from")
	case typ == "any":
		t.ToolChoice = "required"
		return nil
	case name == "":
		return provider.Invalid("tool_choice.name", "required, the name of a tool")
	}
	t.ToolChoice = map[string]any{"type": "function", "function": map[string]string{"name": name}}
	return nil
}
