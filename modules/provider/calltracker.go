package provider

import (
	"bytes"
	"encoding/json"
	"strconv"
	"strings"

	"github.com/tidwall/gjson"
)

// maxCalls is how many tool calls of a choice are told apart. It bounds the memory
// of a stream that only begins calls; no model makes as many.
const maxCalls = 1 << 16

// CallTracker tells the tool calls of one streamed choice apart, and what each
// part adds to its call. The zero CallTracker is ready to use.
//
// Servers disagree on how parts name their call. By its index, which may repeat
// for the next call, begin with 1, be a string or be missing; by its id, which
// may repeat in every part or come late; or not at all.
type CallTracker struct {
	calls   []trackedCall // in the order of their first parts
	byIndex map[int64]int // the latest call of an index
	byID    map[string]int
}

type trackedCall struct {
	id    string
	index int64 // the server's; -1 without one
	name  []byte
	args  jsonEnd
	begun bool // it has arguments
}

// CallPart is what a part adds to its call.
type CallPart struct {
	// At is the call's number, counted from 0. Begins says that the part is the
	// call's first.
	At     int
	Begins bool

	// ID is the call's id, if this part is the first to have one. Name and
	// Arguments are to be appended. Arguments holds a custom tool's input, too.
	ID        string
	Name      string
	Arguments string
}

// Len returns the number of calls.
func (t *CallTracker) Len() int { return len(t.calls) }

// Ended reports whether the arguments of a call are a whole JSON object, behind which
// nothing can follow.
func (t *CallTracker) Ended(at int) bool { return at < len(t.calls) && t.calls[at].args.whole }

// Part places a part of a tool call. first says that the part is the first one of
// its chunk. Parts of more calls than can be told apart are placed behind the last
// one.
func (t *CallTracker) Part(part gjson.Result, first bool) CallPart {
	p := readPart(part)
	at := t.find(&p, first)
	if at >= 0 && t.calls[at].endsBefore(&p) {
		at = -1
	}
	if at < 0 {
		return t.begin(&p)
	}
	return t.add(at, &p)
}

// Whole places a call of a document, where every element is a call of its own.
func (t *CallTracker) Whole(call gjson.Result) CallPart {
	p := readPart(call)
	return t.begin(&p)
}

// find returns the call that a part belongs to, or -1 if the part begins a new
// one. An id that is new begins a call if it comes with a name, even where the
// index repeats: some servers number every call 0. Without a name, it is only
// another id for the same call: some servers make one up for every part.
func (t *CallTracker) find(p *callPart, first bool) int {
	numbered, hasNumber := t.byIndex[p.index]
	known, isKnown := t.byID[p.id]
	switch {
	case hasNumber && p.id != "" && t.calls[numbered].id == p.id:
		return numbered
	case isKnown && (hasNumber || p.index < 0 || p.name == ""):
		return known
	case hasNumber && p.id != "" && p.name != "" && t.calls[numbered].id != "":
		return -1
	case hasNumber:
		return numbered
	}
	last := len(t.calls) - 1
	if last < 0 || !first {
		return -1
	}
	c := &t.calls[last]
	continues := p.id == "" && p.index < 0 ||
		p.id == "" && p.name == "" && c.index < 0 || // its index comes late
		p.index < 0 && c.id == "" && (p.name == "" || p.name == string(c.name)) // its id comes late
	if continues {
		return last
	}
	return -1
}

// endsBefore reports whether a call ends before a part that names the same index
// or nothing. Nothing can be appended to a JSON object that is whole, so a name
// with the beginning of another one is the next call.
func (c *trackedCall) endsBefore(p *callPart) bool {
	if p.name == "" || p.custom || !c.args.whole || !strings.HasPrefix(strings.TrimLeft(p.args, " \t\r\n"), "{") {
		return false
	}
	return p.id == "" || p.id != c.id || p.name != string(c.name)
}

func (t *CallTracker) begin(p *callPart) CallPart {
	if len(t.calls) == maxCalls {
		return CallPart{At: maxCalls, Begins: true, ID: p.id, Name: p.name, Arguments: p.args}
	}
	if t.byID == nil {
		t.byID, t.byIndex = make(map[string]int, 1), make(map[int64]int, 1)
	}
	t.calls = append(t.calls, trackedCall{index: -1})
	part := t.add(len(t.calls)-1, p)
	part.Begins = true
	return part
}

func (t *CallTracker) add(at int, p *callPart) CallPart {
	c := &t.calls[at]
	part := CallPart{At: at}
	if c.index < 0 && p.index >= 0 {
		c.index = p.index
		t.byIndex[p.index] = at
	}
	if c.id == "" && p.id != "" {
		c.id, part.ID = p.id, p.id
		t.byID[p.id] = at
	}
	part.Name = c.addName(p.name)
	if p.object && c.begun {
		return part // the arguments again
	}
	c.begun = c.begun || p.args != ""
	c.args.add(p.args)
	part.Arguments = p.args
	return part
}

// addName adds a part's name, and returns what is to be appended. A name is a
// label that may be repeated, in full or as far as it is known. A few servers send
// it in pieces, but all of them before the arguments.
func (c *trackedCall) addName(name string) (added string) {
	n := len(c.name)
	switch {
	case n > 0 && c.begun:
		return ""
	case len(name) >= n && name[:n] == string(c.name):
		added = name[n:]
	default:
		added = name
	}
	c.name = append(c.name, added...)
	return added
}

// callPart is what a part says.
type callPart struct {
	id, name, args string
	index          int64 // -1 without one
	object         bool  // args were not a string
	custom         bool
}

func readPart(v gjson.Result) callPart {
	p := callPart{index: indexIn(v)}
	v.ForEach(func(k, v gjson.Result) bool {
		switch k.Str {
		case "id":
			p.id = v.String()
		case "function":
			p.name = v.Get("name").Str + p.name
			args := v.Get("arguments")
			p.args, p.object = ArgumentsOf(args)+p.args, args.IsObject()
		case "custom":
			p.name += v.Get("name").Str
			p.args += ArgumentsOf(v.Get("input"))
			p.custom = p.custom || v.Get("name").Str != "" || v.Get("input").Str != ""
		}
		return true
	})
	return p
}

// indexIn returns the index of a part, or -1 without one.
func indexIn(v gjson.Result) int64 {
	switch index := v.Get("index"); index.Type {
	case gjson.Number:
		return max(index.Int(), -1)
	case gjson.String:
		if n, err := strconv.ParseInt(index.Str, 10, 64); err == nil {
			return max(n, -1)
		}
	}
	return -1
}

// ArgumentsOf returns arguments as the string that clients expect. Some servers
// send the object itself.
func ArgumentsOf(v gjson.Result) string {
	switch v.Type {
	case gjson.String:
		return v.Str
	case gjson.Null:
		return ""
	}
	var b bytes.Buffer
	if json.Compact(&b, []byte(v.Raw)) != nil {
		return v.Raw
	}
	return b.String()
}

// jsonEnd finds the end of a JSON object that comes in pieces.
type jsonEnd struct {
	depth             int
	inString, escaped bool
	whole             bool // every bracket is closed
}

func (j *jsonEnd) add(s string) {
	for i := range len(s) {
		c := s[i]
		switch {
		case j.escaped:
			j.escaped = false
		case j.inString:
			j.escaped, j.inString = c == '\\', c != '"'
		case c == '"':
			j.inString = true
		case c == '{' || c == '[':
			j.depth++
			j.whole = false
		case c == '}' || c == ']':
			j.depth--
			j.whole = j.depth == 0
		}
	}
}
