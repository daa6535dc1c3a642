package customtool

import (
	"strings"

	"github.com/tidwall/gjson"

	"github.com/caddy-chat/caddy-chat/modules/provider"
	"github.com/caddy-chat/caddy-chat/modules/splice"
)

// call is a call of a custom tool, or a part of one.
type call struct {
	Index  *int    `json:"index,omitempty"`
	ID     string  `json:"id,omitempty"`
	Type   string  `json:"type,omitempty"`
	Custom content `json:"custom"`
}

type content struct {
	Name  string `json:"name,omitempty"`
	Input string `json:"input"`
}

// Completion returns a whole answer with calls of the custom tools in place of those of
// their functions.
func (t Tools) Completion(c *provider.Completion) *provider.Completion {
	if t == nil || !c.ToolCalls {
		return c
	}
	var edits []splice.Edit
	each(gjson.GetBytes(c.Body, "choices"), func(choice gjson.Result) {
		each(choice.Get("message.tool_calls"), func(v gjson.Result) {
			if name := v.Get("function.name").Str; t[name] {
				edits = append(edits, replaced(v, call{
					ID: v.Get("id").Str, Type: "custom", Custom: content{name, Input(provider.ArgumentsOf(v.Get("function.arguments")))},
				}))
			}
		})
	})
	told := *c
	told.Body = splice.Apply(c.Body, edits)
	return &told
}

// replaced replaces a call. What its provider wants back stays with it.
func replaced(v gjson.Result, c call) splice.Edit {
	value := string(provider.Encode(c))
	if extra := v.Get("extra_content"); extra.Exists() {
		value = strings.TrimSuffix(value, "}") + `,"extra_content":` + extra.Raw + "}"
	}
	return splice.Edit{From: v.Index, To: v.Index + len(v.Raw), Value: value}
}

// Stream returns a stream with calls of the custom tools in place of those of their
// functions. The input of a call comes when it is whole.
func (t Tools) Stream(s provider.Stream) provider.Stream {
	if t == nil {
		return s
	}
	return &stream{Stream: s, tools: t, choices: make(map[int64]*choice)}
}

type stream struct {
	provider.Stream
	tools   Tools
	choices map[int64]*choice
}

// choice is what a choice has called so far.
type choice struct {
	tracker provider.CallTracker
	open    map[int]*strings.Builder // the arguments of calls of custom tools
	told    map[int]bool             // those whose input was told
}

// Next returns the next chunk.
func (s *stream) Next() (*provider.Chunk, error) {
	c, err := s.Stream.Next()
	if err != nil || !c.ToolCalls && (c.FinishReason == "" || len(s.choices) == 0) {
		return c, err
	}
	var edits []splice.Edit
	each(gjson.GetBytes(c.Raw, "choices"), func(v gjson.Result) { edits = append(edits, s.choice(v)...) })
	if edits == nil {
		return c, nil
	}
	told := *c
	told.Raw = splice.Apply(c.Raw, edits)
	return &told, nil
}

// choice returns the edits of a chunk's choice.
func (s *stream) choice(v gjson.Result) (edits []splice.Edit) {
	n := v.Get("index").Int()
	c := s.choices[n]
	if c == nil {
		c = &choice{open: make(map[int]*strings.Builder), told: make(map[int]bool)}
		s.choices[n] = c
	}
	first := true
	each(v.Get("delta.tool_calls"), func(part gjson.Result) {
		p := c.tracker.Part(part, first)
		first = false
		if p.Begins && s.tools[p.Name] {
			c.open[p.At] = new(strings.Builder)
		}
		arguments := c.open[p.At]
		if arguments == nil {
			return
		}
		arguments.WriteString(p.Arguments)
		out := call{Index: &p.At, ID: p.ID, Custom: content{Name: p.Name}}
		if p.Begins {
			out.Type = "custom"
		}
		if c.tracker.Ended(p.At) {
			out.Custom.Input = c.tell(p.At)
		}
		edits = append(edits, replaced(part, out))
	})
	if v.Get("finish_reason").Str == "" {
		return edits
	}
	return append(edits, c.end(v)...)
}

// tell returns the input of a call, once.
func (c *choice) tell(at int) string {
	if c.told[at] {
		return ""
	}
	c.told[at] = true
	return Input(c.open[at].String())
}

// end tells the inputs that are not whole when the choice has finished.
func (c *choice) end(v gjson.Result) []splice.Edit {
	var rest []call
	for at := range c.tracker.Len() {
		if c.open[at] != nil && c.open[at].Len() > 0 && !c.told[at] {
			rest = append(rest, call{Index: &at, Custom: content{Input: c.tell(at)}})
		}
	}
	delta := v.Get("delta")
	if rest == nil || !delta.IsObject() {
		return nil
	}
	list := string(provider.Encode(rest))
	switch calls := delta.Get("tool_calls"); {
	case provider.IsEmpty(calls) && calls.Exists():
		return []splice.Edit{{From: calls.Index, To: calls.Index + len(calls.Raw), Value: list}}
	case calls.IsArray():
		end := calls.Index + len(calls.Raw) - 1 // the closing bracket
		return []splice.Edit{{From: end, To: end + 1, Value: "," + list[1:]}}
	}
	end := delta.Index + len(delta.Raw) - 1 // the closing brace
	list = `"tool_calls":` + list
	if !provider.IsEmpty(delta) {
		list = "," + list
	}
	return []splice.Edit{{From: end, To: end, Value: list}}
}

// Interface guard
var _ provider.Stream = (*stream)(nil)
