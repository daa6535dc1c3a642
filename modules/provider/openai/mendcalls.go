package openai

import (
	"fmt"
	"slices"
	"strings"

	"github.com/tidwall/gjson"
	"github.com/tidwall/sjson"

	"github.com/caddy-chat/caddy-chat/modules/provider"
	"github.com/caddy-chat/caddy-chat/modules/provider/dialect"
)

// calls are the tool calls of one choice of a stream.
type calls struct {
	tracker provider.CallTracker
	sent    []sentCall
}

// sentCall is what the client has of a call.
type sentCall struct {
	id        string
	arguments bool
	empty     bool // it is a function's, and its arguments have nothing in them
}

// mend returns the tool_calls of a delta as clients expect them, which add up
// what they do not replace: counted from 0 without holes, with each label once,
// and with arguments that are a string. changed says that they are not as they
// came.
func (c *calls) mend(list gjson.Result) (mended string, changed bool) {
	first := true
	return mapList(list, func(part gjson.Result) string {
		mended := c.part(part, first)
		first = false
		return mended
	})
}

// rest returns what the calls lack at the end of a choice: the arguments of calls
// that need none, which clients parse. An answer that is cut gets nothing.
func (c *calls) rest(reason string) string {
	if reason != "tool_calls" && reason != "stop" {
		return ""
	}
	var parts []string
	for i := range c.sent {
		if c.sent[i].empty {
			c.sent[i].arguments, c.sent[i].empty = true, false
			parts = append(parts, fmt.Sprintf(`{"index":%d,"function":{"arguments":"{}"}}`, i))
		}
	}
	return strings.Join(parts, ",")
}

// lastDelta returns a delta with what the calls lack.
func (c *calls) lastDelta(reason string) string {
	if rest := c.rest(reason); rest != "" {
		return `{"tool_calls":[` + rest + `]}`
	}
	return "{}"
}

// joinLists returns a list with more elements, which may be empty.
func joinLists(list, more string) string {
	if more == "" {
		return list
	}
	if list == "[]" {
		return "[" + more + "]"
	}
	return list[:len(list)-1] + "," + more + "]"
}

// mapList returns a list of what f returns for each element, and whether any of
// them has changed.
func mapList(list gjson.Result, f func(gjson.Result) string) (mapped string, changed bool) {
	var all []string
	list.ForEach(func(_, v gjson.Result) bool {
		all = append(all, f(v))
		changed = changed || all[len(all)-1] != v.Raw
		return true
	})
	return "[" + strings.Join(all, ",") + "]", changed
}

func (c *calls) part(v gjson.Result, first bool) string {
	if !v.IsObject() {
		return v.Raw
	}
	p := c.tracker.Part(v, first)
	for len(c.sent) <= p.At {
		c.sent = append(c.sent, sentCall{})
	}
	sent := &c.sent[p.At]
	e := callEditor{v.Raw}
	if index := v.Get("index"); index.Type != gjson.Number || index.Int() != int64(p.At) {
		e.set("index", p.At)
	}
	if name := v.Get("function.name").Str; name != "" && p.Name == "" {
		e.remove("function.name")
	} else if name != p.Name && v.Get("function").IsObject() {
		e.set("function.name", p.Name)
	}
	mendArguments(&e, v, p.Arguments)
	sent.arguments = sent.arguments || p.Arguments != ""
	sent.empty = !sent.arguments && (sent.empty || v.Get("function").IsObject())
	if p.Begins {
		mendType(&e, v)
	}
	switch id := v.Get("id").String(); {
	case id != "" && sent.id != "":
		e.remove("id")
	case id != "" && !c.has(id):
		sent.id = strings.Clone(id)
	case id != "", sent.id == "" && v.Get("function.name").Str != "":
		sent.id = dialect.NewCallID()
		e.set("id", sent.id)
	}
	return e.raw
}

// has reports whether a call has an id: a second one with it could not be answered.
func (c *calls) has(id string) bool {
	return slices.ContainsFunc(c.sent, func(s sentCall) bool { return s.id == id })
}

// mendWhole returns the tool_calls of a whole message as clients expect them, which
// parse the arguments. changed says that they are not as they came.
func mendWhole(list gjson.Result) (mended string, changed bool) {
	seen := make(map[string]bool)
	return mapList(list, func(v gjson.Result) string {
		if !v.Get("function").IsObject() {
			return v.Raw
		}
		e := callEditor{v.Raw}
		if args, ok := wholeArguments(v.Get("function.arguments")); !ok {
			e.set("function.arguments", args)
		}
		mendType(&e, v)
		id := v.Get("id").String()
		if seen[id] || id == "" && v.Get("function.name").Str != "" {
			e.set("id", dialect.NewCallID())
		}
		seen[id] = id != ""
		return e.raw
	})
}

// mendType adds the type that a tool call lacks.
func mendType(e *callEditor, call gjson.Result) {
	if call.Get("function").IsObject() && call.Get("type").Str == "" {
		e.set("type", "function")
	}
}

// mendArguments replaces what a part has for arguments if it is not a string.
func mendArguments(e *callEditor, part gjson.Result, args string) {
	for _, name := range [...]string{"function.arguments", "custom.input"} {
		if v := part.Get(name); v.Exists() && v.Type != gjson.String {
			e.set(name, args)
		}
	}
}

// mendWholeArguments mends the arguments of what was a function call before tools.
func mendWholeArguments(e *editor, call gjson.Result) {
	if args, ok := wholeArguments(call.Get("arguments")); !ok {
		e.set(call, "arguments", args)
	}
}

// wholeArguments returns arguments that can be parsed. ok says that those in the
// answer can be.
func wholeArguments(v gjson.Result) (args string, ok bool) {
	if v.Type == gjson.String && strings.TrimSpace(v.Str) != "" {
		return "", true
	}
	if args = provider.ArgumentsOf(v); strings.TrimSpace(args) == "" {
		args = "{}"
	}
	return args, false
}

// numbered returns a whole message as a delta.
func numbered(message gjson.Result) string {
	e := newEditor([]byte(message.Raw))
	if list := message.Get("tool_calls"); list.IsArray() {
		e.setRaw(e.root, "tool_calls", numberedCalls(list))
	}
	return string(e.bytes())
}

// numberedCalls returns the tool_calls of a whole message as the parts of a chunk.
func numberedCalls(list gjson.Result) string {
	n := 0
	parts, _ := mapList(list, func(v gjson.Result) string {
		e := callEditor{v.Raw}
		if v.IsObject() {
			e.set("index", n)
		}
		n++
		return e.raw
	})
	return parts
}

// callEditor edits the JSON of one tool call.
type callEditor struct{ raw string }

func (e *callEditor) set(path string, value any) {
	if raw, err := sjson.Set(e.raw, path, value); err == nil {
		e.raw = raw
	}
}

func (e *callEditor) remove(path string) {
	if raw, err := sjson.Delete(e.raw, path); err == nil {
		e.raw = raw
	}
}
