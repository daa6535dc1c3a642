package responses

import (
	"encoding/json"
	"fmt"
	"slices"

	"github.com/tidwall/gjson"

	"github.com/caddy-chat/caddy-chat/modules/customtool"
	"github.com/caddy-chat/caddy-chat/modules/provider"
)

// tool is a function of a chat completion, or a custom tool of one.
type tool struct {
	Type     string   `json:"type"`
	Function *offered `json:"function,omitempty"`
	Custom   *custom  `json:"custom,omitempty"`
}

// name returns the model's name of a tool.
func (t tool) name() string {
	if t.Custom != nil {
		return t.Custom.Name
	}
	return t.Function.Name
}

func newFunction(f offered) tool { return tool{Type: "function", Function: &f} }

type offered struct {
	Name        string          `json:"name"`
	Description string          `json:"description,omitempty"`
	Parameters  json.RawMessage `json:"parameters,omitempty"`
	Strict      json.RawMessage `json:"strict,omitempty"`
}

// tools are what the client offers, and the names by which the model knows it.
type tools struct {
	list  []tool
	known map[string]origin // by the model's name
	names map[place]string  // the model's name
}

// place is where a tool stands in the client's request.
type place struct{ namespace, name string }

// origin is a tool as its client knows it.
type origin struct {
	place
	call string // the type of the items of its calls
}

// searchTool is the name, to the model, of the tool with which a client finds more of
// its tools. It has none of its own.
const searchTool = "tool_search"

// readTools reads the tools, those among the input and those that were found included,
// and which to call.
func (c *call) readTools(made *completion, root gjson.Result) error {
	if err := c.addTools(root.Get("tools"), "tools"); err != nil {
		return err
	}
	if input := root.Get("input"); input.IsArray() {
		for i, item := range input.Array() {
			if typ := item.Get("type").Str; typ != "additional_tools" && typ != typeFound {
				continue
			}
			if err := c.addTools(item.Get("tools"), fmt.Sprintf("input.%d.tools", i)); err != nil {
				return err
			}
		}
	}
	made.Tools = c.tools.list
	if err := c.choose(made, root.Get("tool_choice")); err != nil {
		return err
	}
	parallel := root.Get("parallel_tool_calls")
	if given(parallel) != nil && !parallel.IsBool() {
		return provider.Invalid("parallel_tool_calls", "want true or false")
	}
	if len(made.Tools) > 0 {
		made.ParallelToolCalls = given(parallel)
	}
	return nil
}

// addTools adds tools and those in namespaces. A namespace in another one is not a tool:
// to read such would take the square of their depth.
func (c *call) addTools(list gjson.Result, path string) error {
	return eachTool(list, path, func(v gjson.Result, path string) error {
		if v.Get("type").Str != "namespace" {
			return c.addTool(v, "", path)
		}
		namespace := v.Get("name").Str
		c.dropped.Others(v, "tools.namespace", "type", "name", "tools")
		return eachTool(v.Get("tools"), path+".tools", func(v gjson.Result, path string) error {
			return c.addTool(v, namespace, path)
		})
	})
}

// eachTool calls f with the tools of a list, until one fails.
func eachTool(list gjson.Result, path string, f func(v gjson.Result, path string) error) error {
	if given(list) == nil {
		return nil
	}
	if !list.IsArray() {
		return provider.Invalid(path, "want a list")
	}
	for i, v := range list.Array() {
		if err := f(v, fmt.Sprintf("%s.%d", path, i)); err != nil {
			return err
		}
	}
	return nil
}

// addTool adds a tool. What only OpenAI's servers can run is left out: agents send
// it along with every request, and do without.
func (c *call) addTool(v gjson.Result, namespace, path string) error {
	name, typ := v.Get("name").Str, v.Get("type")
	var call string
	switch {
	case typ.Type != gjson.String:
		return provider.Invalid(path+".type", "required, such as function or custom")
	case typ.Str == "function":
		call = typeFunction
		c.dropped.Others(v, "tools", "type", "name", "description", "parameters", "strict")
	case typ.Str == "custom":
		call = typeCustom
		c.dropped.Others(v, "tools", "type", "name", "description", "format")
		c.dropped.Others(v.Get("format"), "tools.format", "type", "syntax", "definition")
	case typ.Str == "tool_search" && isClients(v):
		name, call = searchTool, typeSearch
		c.dropped.Others(v, "tools", "type", "execution", "description", "parameters", "strict")
	default:
		c.dropped.Add("tools." + typ.Str)
		return nil
	}
	if name == "" {
		return provider.Invalid(path+".name", "required, the name of the tool")
	}
	known := c.tools.add(origin{place{namespace, name}, call})
	switch {
	case known == "":
	case call == typeCustom && c.completes:
		c.tools.list = append(c.tools.list, newCustom(known, v))
	case call == typeCustom:
		c.tools.list = append(c.tools.list, newFunction(offered{
			Name: known, Description: customtool.Description(v.Get("description").Str, v.Get("format")), Parameters: customtool.Parameters,
		}))
	default:
		c.tools.list = append(c.tools.list, newFunction(offered{
			known, v.Get("description").Str, given(v.Get("parameters")), given(v.Get("strict")),
		}))
	}
	return nil
}

// isClients reports whether a search for tools, or a part of it, is the client's rather
// than the server's.
func isClients(v gjson.Result) bool { return v.Get("execution").Str == "client" }

// add returns the model's name of a new tool; empty if it is known already. The
// namespace distinguishes names that two namespaces share.
func (t *tools) add(o origin) string {
	if t.known == nil {
		t.known, t.names = make(map[string]origin), make(map[place]string)
	}
	if _, ok := t.names[o.place]; ok {
		return ""
	}
	name := o.name
	if _, taken := t.known[name]; taken {
		name = o.namespace + "__" + o.name
	}
	if _, taken := t.known[name]; taken {
		return ""
	}
	t.known[name], t.names[o.place] = o, name
	return name
}

// nameOf returns the model's name of a tool.
func (t *tools) nameOf(namespace, name string) string {
	if known, ok := t.names[place{namespace, name}]; ok {
		return known
	}
	return name
}

// found returns the model's names of the tools in a list, and in the namespaces there.
func (t *tools) found(list gjson.Result) []string {
	var names []string
	add := func(namespace string, v gjson.Result) {
		if known, ok := t.names[place{namespace, v.Get("name").Str}]; ok {
			names = append(names, known)
		}
	}
	for _, v := range list.Array() {
		if v.Get("type").Str != "namespace" {
			add("", v)
			continue
		}
		namespace := v.Get("name").Str
		for _, v := range v.Get("tools").Array() {
			add(namespace, v)
		}
	}
	return names
}

// origin returns the tool that the model calls by a name.
func (t *tools) origin(name string) origin {
	if o, ok := t.known[name]; ok {
		return o
	}
	return origin{place{"", name}, typeFunction}
}

// choose reads tool_choice.
func (c *call) choose(made *completion, v gjson.Result) error {
	switch typ := v.Get("type").Str; {
	case given(v) == nil:
		return nil
	case v.Str == "auto", v.Str == "none":
		if len(made.Tools) > 0 {
			made.ToolChoice = v.Str
		}
		return nil
	case v.Str == "required":
		made.ToolChoice = v.Str
	case typ == "function", typ == "custom":
		c.dropped.Others(v, "tool_choice", "type", "name", "namespace")
		name := c.tools.nameOf(v.Get("namespace").Str, v.Get("name").Str)
		if _, ok := c.tools.known[name]; !ok {
			return provider.Invalid("tool_choice.name", "want the name of one of the tools")
		}
		made.ToolChoice = c.chosen(name)
	case typ == "allowed_tools":
		return c.allow(made, v)
	case typ != "":
		c.refuse("tool_choice.type", "no provider of this model has "+typ+": want function, custom or allowed_tools")
		return nil
	default:
		return provider.Invalid("tool_choice", "want auto, none, required or a tool")
	}
	if len(made.Tools) == 0 {
		c.refuse("tool_choice", "want functions or custom tools to choose from")
		made.ToolChoice = nil
	}
	return nil
}

// chosen returns the choice of a tool.
func (c *call) chosen(name string) any {
	typ := "function"
	if c.completes && c.tools.known[name].call == typeCustom {
		typ = "custom"
	}
	return map[string]any{"type": typ, typ: map[string]string{"name": name}}
}

// allow offers only some of the tools, since no provider but OpenAI can be told so
// in another way.
func (c *call) allow(made *completion, v gjson.Result) error {
	c.dropped.Others(v, "tool_choice", "type", "mode", "tools")
	allowed := make(map[string]bool)
	for _, e := range v.Get("tools").Array() {
		allowed[c.tools.nameOf(e.Get("namespace").Str, e.Get("name").Str)] = true
	}
	made.Tools = slices.DeleteFunc(slices.Clone(made.Tools), func(t tool) bool { return !allowed[t.name()] })
	switch mode := v.Get("mode").Str; {
	case mode == "required" && len(made.Tools) == 0:
		c.refuse("tool_choice.tools", "want at least one of the functions or custom tools")
	case mode != "required" && mode != "auto":
		return provider.Invalid("tool_choice.mode", "want auto or required")
	case len(made.Tools) > 0:
		made.ToolChoice = mode
	}
	return nil
}
