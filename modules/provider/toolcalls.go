package provider

import (
	"encoding/json"
	"maps"
	"slices"
	"strings"

	"github.com/go-json-experiment/json/jsontext"
	"github.com/tidwall/gjson"
)

// ToolCalls puts the tool calls of one choice together. The zero ToolCalls has
// none.
type ToolCalls struct {
	tracker CallTracker
	list    []*toolCall
	size    int
}

type toolCall struct {
	id, kind  string
	name      strings.Builder
	arguments strings.Builder
	more      map[string]string // extensions of a provider, such as a signature, as JSON
}

// callSize is what a call without name and arguments counts in sizes.
const callSize = len(`{"id":"","type":"function","function":{"name":"","arguments":""}},`)

// AddParts adds the tool_calls of a chunk's delta.
func (c *ToolCalls) AddParts(parts gjson.Result) {
	first := true
	each(parts, func(v gjson.Result) {
		c.add(c.tracker.Part(v, first), v)
		first = false
	})
}

// AddWhole adds the tool_calls of a document's message.
func (c *ToolCalls) AddWhole(calls gjson.Result) {
	each(calls, func(v gjson.Result) { c.add(c.tracker.Whole(v), v) })
}

// each calls f with every object in a list.
func each(list gjson.Result, f func(gjson.Result)) {
	if !list.IsArray() {
		return
	}
	list.ForEach(func(_, v gjson.Result) bool {
		if v.IsObject() {
			f(v)
		}
		return true
	})
}

// Len returns the number of calls, unfinished ones included.
func (c *ToolCalls) Len() int { return len(c.list) }

// Size returns the size of all calls in bytes.
func (c *ToolCalls) Size() int { return c.size }

// add adds a part. It appends to the name and the arguments, and replaces
// everything else.
func (c *ToolCalls) add(p CallPart, part gjson.Result) {
	if p.At >= maxCalls {
		return
	}
	if p.At == len(c.list) {
		c.list = append(c.list, &toolCall{kind: "function"})
		c.size += callSize
	}
	call := c.list[p.At]
	if p.ID != "" {
		call.id = p.ID
	}
	call.name.WriteString(p.Name)
	call.arguments.WriteString(p.Arguments)
	c.size += len(p.ID) + len(p.Name) + len(p.Arguments)
	part.ForEach(func(k, v gjson.Result) bool {
		switch k.Str {
		case "index", "id", "function", "custom":
		case "type":
			if v.Str != "" {
				call.kind = v.Str
			}
		default:
			c.size += call.set(k.Str, v)
		}
		return true
	})
}

// set replaces an extension, and returns how many bytes were added.
func (c *toolCall) set(name string, v gjson.Result) int {
	old, ok := c.more[name]
	if ok && v.Type == gjson.Null {
		return 0
	}
	if c.more == nil {
		c.more = make(map[string]string)
	}
	c.more[name] = strings.Clone(v.Raw)
	return len(v.Raw) - len(old)
}

// AppendJSON appends the calls as a list, or nothing without calls. It leaves
// out those whose answer broke off before the name.
func (c *ToolCalls) AppendJSON(b []byte) []byte {
	begin := len(b)
	for _, call := range c.list {
		if call.name.Len() > 0 {
			b = call.append(append(b, ','))
		}
	}
	if len(b) == begin {
		return b
	}
	b[begin] = '['
	return append(b, ']')
}

// MarshalJSON implements json.Marshaler.
func (c *ToolCalls) MarshalJSON() ([]byte, error) {
	if b := c.AppendJSON(nil); b != nil {
		return b, nil
	}
	return []byte("[]"), nil
}

func (c *toolCall) append(b []byte) []byte {
	what, arguments, text := "function", "arguments", c.arguments.String()
	if c.kind == "custom" {
		what, arguments = "custom", "input"
	} else if strings.TrimSpace(text) == "" {
		text = "{}" // clients and providers parse it
	}
	b = appendQuoted(append(b, `{"id":`...), c.id)
	b = appendQuoted(append(b, `,"type":`...), c.kind)
	b = append(appendQuoted(append(b, ','), what), ':')
	b = appendQuoted(append(b, `{"name":`...), c.name.String())
	b = append(appendQuoted(append(b, ','), arguments), ':')
	b = append(appendQuoted(b, text), '}')
	for _, name := range slices.Sorted(maps.Keys(c.more)) {
		b = append(appendQuoted(append(b, ','), name), ':')
		b = append(b, c.more[name]...)
	}
	return append(b, '}')
}

// appendQuoted appends s as a JSON string, with invalid UTF-8 replaced.
func appendQuoted(b []byte, s string) []byte {
	b, _ = jsontext.AppendQuote(b, s)
	return b
}

// Interface guard
var _ json.Marshaler = (*ToolCalls)(nil)
