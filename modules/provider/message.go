package provider

import (
	"encoding/json"
	"maps"
	"strings"

	"github.com/tidwall/gjson"
)

// Message puts the message of one choice together from its deltas. Text is added
// up, and everything else is the last word: servers repeat labels in every delta,
// and some send what they said so far. The zero Message is empty.
type Message struct {
	Calls   ToolCalls
	members object
	size    int
	depth   int // of the object that is merged
}

// maxMergeDepth is how deep objects are merged. What is deeper is the last word
// as a whole.
const maxMergeDepth = 8

// object is a JSON object. Its values are *text, *legacyCall, *elements, object or
// json.RawMessage, or nil for null.
type object map[string]any

// rule returns the value of a member to which v is added. old is nil if there is
// none yet, or if it is null.
type rule func(m *Message, old any, v gjson.Result) any

// rules are those of an object's members. All others are the last word.
type rules map[string]rule

var messageRules = rules{
	"content":           addContent,
	"refusal":           addContent,
	"reasoning_content": addText,
	"reasoning":         addText,
	"reasoning_text":    addText,
	"thinking":          addText,
	"reasoning_details": addPieces,
	"thinking_blocks":   addPieces,
	"function_call":     addLegacyCall,
	"audio":             within(rules{"data": addText, "transcript": addText}),
	"annotations":       addNew,
	"images":            addNew,
}

// choiceRules are those of what is beside a choice's message.
var choiceRules = rules{
	"logprobs":  within(rules{"content": addElements, "refusal": addElements}),
	"token_ids": addElements,

	// Beside the delta, some servers send the message so far, which adds nothing.
	"delta": ignore, "message": ignore, "index": ignore, "finish_reason": ignore,
}

// pieceRules are those of a piece of reasoning.
var pieceRules = rules{"text": addText, "summary": addText, "thinking": addText}

// Add adds a chunk's delta.
func (m *Message) Add(delta gjson.Result) { m.add(delta, m.Calls.AddParts) }

// AddWhole adds the message of a document.
func (m *Message) AddWhole(message gjson.Result) { m.add(message, m.Calls.AddWhole) }

func (m *Message) add(v gjson.Result, calls func(gjson.Result)) {
	if !v.IsObject() {
		return
	}
	if m.members == nil {
		m.members = make(object)
	}
	calls(v.Get("tool_calls"))
	m.merge(m.members, v, messageRules)
	delete(m.members, "tool_calls")
}

// AddText adds to one of the members that are text.
func (m *Message) AddText(member, s string) {
	if s == "" {
		return
	}
	if m.members == nil {
		m.members = make(object)
	}
	m.members[member] = messageRules[member](m, m.members[member], gjson.Result{Type: gjson.String, Str: s})
}

// Size returns the size of all members but the calls and the visible text, in
// bytes.
func (m *Message) Size() int { return m.size }

// Forget removes everything but the calls.
func (m *Message) Forget() { m.members, m.size = nil, 0 }

// Member returns the JSON of a member, or nil if it is missing or null.
func (m *Message) Member(name string) []byte {
	v := m.members[name]
	if v == nil {
		return nil
	}
	b := Encode(v)
	if string(b) == "null" {
		return nil
	}
	return b
}

// finished returns the message as a document has it.
func (m *Message) finished() object {
	o := maps.Clone(m.members)
	if o == nil {
		o = make(object)
	}
	if o["role"] == nil {
		o["role"] = "assistant"
	}
	calls := m.Calls.AppendJSON(nil)
	if calls != nil {
		o["tool_calls"] = json.RawMessage(calls)
	}
	if t, ok := o["content"].(*text); !ok && o["content"] == nil || ok && t.Len() == 0 && calls != nil {
		o["content"] = nil
	}
	return o
}

// merge adds members to an object. A null or an empty string says nothing new.
func (m *Message) merge(to object, more gjson.Result, by rules) {
	m.depth++
	defer func() { m.depth-- }()
	more.ForEach(func(k, v gjson.Result) bool {
		name := k.String()
		old, ok := to[name]
		if v.Type == gjson.Null {
			if !ok {
				to[strings.Clone(name)] = nil
			}
			return true
		}
		add := by[name]
		if add == nil {
			add = lastWord
		}
		to[strings.Clone(name)] = add(m, old, v)
		return true
	})
}

func ignore(*Message, any, gjson.Result) any { return nil }

func lastWord(m *Message, old any, v gjson.Result) any {
	if v.Type == gjson.String && v.Str == "" && old != nil {
		return old
	}
	if v.IsObject() && m.depth < maxMergeDepth {
		return within(nil)(m, old, v)
	}
	raw, _ := old.(json.RawMessage)
	m.size += len(v.Raw) - len(raw)
	return json.RawMessage(v.Raw)
}

// within returns the rule of an object whose members have rules.
func within(by rules) rule {
	return func(m *Message, old any, v gjson.Result) any {
		if !v.IsObject() {
			return old
		}
		o, ok := old.(object)
		if !ok {
			o = make(object)
		}
		m.merge(o, v, by)
		return o
	}
}

// text is a string that is appended to.
type text struct{ strings.Builder }

// MarshalJSON implements json.Marshaler.
func (t *text) MarshalJSON() ([]byte, error) { return appendQuoted(nil, t.String()), nil }

// addContent adds to the visible text.
func addContent(m *Message, old any, v gjson.Result) any {
	size := m.size
	defer func() { m.size = size }()
	return addText(m, old, v)
}

// addText appends a string. A content may also be a list of parts, or become one.
func addText(m *Message, old any, v gjson.Result) any {
	switch old := old.(type) {
	case *elements:
		if v.Type == gjson.String && v.Str != "" {
			part := append(appendQuoted([]byte(`{"type":"text","text":`), v.Str), '}')
			return addElements(m, old, gjson.ParseBytes(append(append([]byte{'['}, part...), ']')))
		}
		return addElements(m, old, v)
	case *text:
		if v.IsArray() && old.Len() == 0 {
			return addElements(m, nil, v)
		}
		if v.IsArray() {
			list := addText(m, new(elements), gjson.Result{Type: gjson.String, Str: old.String()})
			return addElements(m, list, v)
		}
		old.WriteString(v.String())
		m.size += len(v.String())
		return old
	}
	if v.Type != gjson.String {
		if v.IsArray() {
			return addElements(m, nil, v)
		}
		return lastWord(m, old, v)
	}
	t := new(text)
	t.WriteString(v.Str)
	m.size += len(v.Str)
	return t
}

// elements is a list that is appended to.
type elements struct {
	list []any
	at   map[string]int // where to find an element
}

// MarshalJSON implements json.Marshaler.
func (e *elements) MarshalJSON() ([]byte, error) {
	if e.list == nil {
		return []byte("[]"), nil
	}
	return json.Marshal(e.list)
}

func elementsOf(old any) *elements {
	e, ok := old.(*elements)
	if !ok {
		e = &elements{at: make(map[string]int)}
	}
	return e
}

// addElements appends all elements.
func addElements(m *Message, old any, v gjson.Result) any {
	if !v.IsArray() {
		return old
	}
	e := elementsOf(old)
	v.ForEach(func(_, v gjson.Result) bool {
		e.list = append(e.list, json.RawMessage(v.Raw))
		m.size += len(v.Raw)
		return true
	})
	return e
}

// addNew appends the elements that are not in the list yet. Some servers send a
// list whole in every delta, and others each element once.
func addNew(m *Message, old any, v gjson.Result) any {
	if !v.IsArray() {
		return old
	}
	e := elementsOf(old)
	v.ForEach(func(_, v gjson.Result) bool {
		if _, ok := e.at[v.Raw]; !ok {
			e.at[strings.Clone(v.Raw)] = len(e.list)
			e.list = append(e.list, json.RawMessage(v.Raw))
			m.size += len(v.Raw)
		}
		return true
	})
	return e
}

// addPieces adds pieces of reasoning. A piece continues the one of its index and
// type. Without an index it continues the last one if it is the first of its
// chunk, unless that was signed.
func addPieces(m *Message, old any, v gjson.Result) any {
	if !v.IsArray() {
		return old
	}
	e, first := elementsOf(old), true
	v.ForEach(func(_, v gjson.Result) bool {
		at := e.find(v, first)
		first = false
		if at < 0 {
			at = len(e.list)
			e.list = append(e.list, make(object))
		}
		if v.Get("index").Exists() {
			e.at[pieceKey(v)] = at
		}
		if o, ok := e.list[at].(object); ok && v.IsObject() {
			m.merge(o, v, pieceRules)
		}
		return true
	})
	return e
}

func pieceKey(v gjson.Result) string { return v.Get("index").Raw + " " + v.Get("type").Str }

func (e *elements) find(v gjson.Result, first bool) int {
	at, ok := e.at[pieceKey(v)]
	if !v.Get("index").Exists() {
		at = len(e.list) - 1
		ok = first && at >= 0 && e.list[at].(object).continuedBy(v)
	}
	if !ok || e.list[at].(object).contradicts(v) {
		return -1
	}
	return at
}

// continuedBy reports whether an unsigned piece without an index has this type.
func (o object) continuedBy(v gjson.Result) bool {
	return !o.says("signature") && !o.says("data") && o.label("type") == v.Get("type").Str
}

// contradicts reports whether a piece must be another one: its id or its sealed
// data differ.
func (o object) contradicts(v gjson.Result) bool {
	for _, name := range [...]string{"id", "data"} {
		if s := v.Get(name).Str; s != "" && o.says(name) && o.label(name) != s {
			return true
		}
	}
	return false
}

func (o object) says(name string) bool { return o.label(name) != "" }

// label returns a member that is a string.
func (o object) label(name string) string {
	raw, _ := o[name].(json.RawMessage)
	return gjson.ParseBytes(raw).Str
}

// legacyCall is a function_call, which tool calls have replaced.
type legacyCall struct {
	call      trackedCall
	arguments strings.Builder
}

func addLegacyCall(m *Message, old any, v gjson.Result) any {
	if !v.IsObject() {
		return old
	}
	c, ok := old.(*legacyCall)
	if !ok {
		c = new(legacyCall)
	}
	args := ArgumentsOf(v.Get("arguments"))
	m.size += len(c.call.addName(v.Get("name").Str)) + len(args)
	c.call.begun = c.call.begun || args != ""
	c.arguments.WriteString(args)
	return c
}

// MarshalJSON implements json.Marshaler.
func (c *legacyCall) MarshalJSON() ([]byte, error) {
	if len(c.call.name) == 0 && c.arguments.Len() == 0 {
		return []byte("null"), nil // some servers send all members, empty
	}
	args := c.arguments.String()
	if args == "" {
		args = "{}"
	}
	b := appendQuoted([]byte(`{"name":`), string(c.call.name))
	return append(appendQuoted(append(b, `,"arguments":`...), args), '}'), nil
}

// Interface guards
var (
	_ json.Marshaler = (*text)(nil)
	_ json.Marshaler = (*elements)(nil)
	_ json.Marshaler = (*legacyCall)(nil)
)
