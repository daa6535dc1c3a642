package chatsession

import (
	"strings"

	"github.com/tidwall/gjson"
)

// maxCalls is how many tool calls of an answer are kept.
const maxCalls = 1 << 10

// toolCalls assembles the tool calls of an answer from the parts in its chunks.
type toolCalls struct {
	list []*toolCall
	size int // of all calls, in bytes
}

type toolCall struct {
	index     gjson.Result // may be missing
	id, kind  string
	name      string
	arguments strings.Builder
	more      []member // extensions of a provider, such as a signature
}

// member is a member of a JSON object. Its value is JSON.
type member struct{ name, value string }

// addParts adds the tool calls of a chunk.
func (c *toolCalls) addParts(parts gjson.Result) {
	for i, part := range parts.Array() {
		call := c.find(part, i == 0)
		if call == nil {
			call = c.begin(part)
		}
		c.add(call, part)
	}
}

// addWhole adds the tool calls of a document.
func (c *toolCalls) addWhole(calls gjson.Result) {
	for _, call := range calls.Array() {
		c.add(c.begin(call), call)
	}
}

// find returns the call that a part belongs to, or nil if the part begins a new
// one. Some servers send no index. Then a new id begins a call, and a part
// without an id continues the last call if it is the first part of its chunk.
func (c *toolCalls) find(part gjson.Result, first bool) *toolCall {
	index, id := part.Get("index"), part.Get("id").String()
	for _, call := range c.list {
		switch {
		case index.Type == gjson.Number && call.index.Type == gjson.Number:
			if call.index.Num == index.Num {
				return call
			}
		case id != "" && call.id == id:
			return call
		}
	}
	if index.Type != gjson.Number && id == "" && first && len(c.list) > 0 {
		return c.list[len(c.list)-1]
	}
	return nil
}

func (c *toolCalls) begin(part gjson.Result) *toolCall {
	call := &toolCall{index: part.Get("index"), kind: "function"}
	if len(c.list) < maxCalls {
		c.list = append(c.list, call)
	}
	return call
}

// add adds a part to a call. It appends to the name and the arguments, and
// replaces everything else.
func (c *toolCalls) add(call *toolCall, part gjson.Result) {
	before := len(call.name) + call.arguments.Len()
	part.ForEach(func(k, v gjson.Result) bool {
		switch k.Str {
		case "index":
		case "id":
			if v.String() != "" {
				call.id = v.String()
			}
		case "type":
			if v.Str != "" {
				call.kind = v.Str
			}
		case "function", "custom":
			call.name += v.Get("name").Str
			for _, name := range [...]string{"arguments", "input"} {
				call.arguments.WriteString(v.Get(name).String())
			}
		default:
			call.set(member{k.Str, v.Raw})
			c.size += len(v.Raw)
		}
		return true
	})
	c.size += len(call.name) + call.arguments.Len() - before
}

func (c *toolCall) set(m member) {
	for i := range c.more {
		if c.more[i].name == m.name {
			c.more[i] = m
			return
		}
	}
	c.more = append(c.more, m)
}

// message returns the assistant's message with these calls as JSON for a model,
// or nil without calls.
func (c *toolCalls) message(text string) []byte {
	b := []byte(`{"role":"assistant","content":`)
	if text == "" {
		b = append(b, "null"...)
	} else {
		b = appendString(b, text)
	}
	b = append(b, `,"tool_calls":[`...)
	n := 0
	for _, call := range c.list {
		if call.name == "" {
			continue // the answer broke off before the name
		}
		if n > 0 {
			b = append(b, ',')
		}
		b = call.append(b)
		n++
	}
	if n == 0 {
		return nil
	}
	return append(b, "]}"...)
}

func (c *toolCall) append(b []byte) []byte {
	what, arguments := "function", "arguments"
	if c.kind == "custom" {
		what, arguments = "custom", "input"
	}
	b = appendString(append(b, `{"id":`...), c.id)
	b = appendString(append(b, `,"type":`...), c.kind)
	b = append(appendString(append(b, ','), what), ':')
	b = appendString(append(b, `{"name":`...), c.name)
	b = append(appendString(append(b, ','), arguments), ':')
	b = append(appendString(b, c.arguments.String()), '}')
	for _, m := range c.more {
		b = append(appendString(append(b, ','), m.name), ':')
		b = append(b, m.value...)
	}
	return append(b, '}')
}
