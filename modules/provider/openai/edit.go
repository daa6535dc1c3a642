package openai

import (
	"bytes"
	"strings"

	"github.com/tidwall/gjson"

	"github.com/caddy-chat/caddy-chat/modules/splice"
)

// editor edits a JSON document. The edits are gathered and applied in one pass, so
// that any number of them takes time in proportion to the document. It never changes
// the original bytes.
type editor struct {
	raw   []byte
	root  gjson.Result
	edits []splice.Edit
}

func newEditor(raw []byte) *editor { return &editor{raw: raw, root: gjson.ParseBytes(raw)} }

// set sets a member of an object in the document to a string.
func (e *editor) set(object gjson.Result, name, value string) {
	e.setRaw(object, name, splice.Quoted(value))
}

// setRaw sets a member of an object in the document to a JSON value, and adds a new
// member at the end. It does nothing to what is not an object. A member must not be
// set twice.
func (e *editor) setRaw(object gjson.Result, name, value string) {
	if !object.IsObject() {
		return
	}
	if old := object.Get(name); old.Exists() {
		e.edits = append(e.edits, splice.Edit{From: old.Index, To: old.Index + len(old.Raw), Value: value})
		return
	}
	end := object.Index + len(object.Raw) - 1 // the closing brace
	member := `"` + name + `":` + value
	if !isEmpty(object) || e.addsAt(end) {
		member = "," + member
	}
	e.edits = append(e.edits, splice.Edit{From: end, To: end, Value: member})
}

// addsAt reports whether the latest edit adds something at an offset.
func (e *editor) addsAt(offset int) bool {
	return len(e.edits) > 0 && e.edits[len(e.edits)-1].From == offset
}

func isEmpty(object gjson.Result) bool {
	return strings.TrimSpace(object.Raw[1:len(object.Raw)-1]) == ""
}

// remove removes a member of an object that has others.
func (e *editor) remove(object gjson.Result, name string) {
	object.ForEach(func(k, v gjson.Result) bool {
		if k.Str != name {
			return true
		}
		from, to := k.Index, v.Index+len(v.Raw)
		rest := bytes.TrimLeft(e.raw[to:], " \t\r\n")
		if rest[0] == ',' {
			to = len(e.raw) - len(rest) + 1
		} else { // the last member takes the comma before it along
			from = bytes.LastIndexByte(e.raw[:from], ',')
		}
		e.edits = append(e.edits, splice.Edit{From: from, To: to, Value: ""})
		return false
	})
}

// rename renames a member of an object.
func (e *editor) rename(object gjson.Result, name, to string) {
	object.ForEach(func(k, _ gjson.Result) bool {
		if k.Str != name {
			return true
		}
		e.edits = append(e.edits, splice.Edit{From: k.Index, To: k.Index + len(k.Raw), Value: `"` + to + `"`})
		return false
	})
}

// bytes returns the edited document, which is the original one without any edits.
func (e *editor) bytes() []byte {
	if len(e.edits) == 0 {
		return e.raw
	}
	return splice.Apply(e.raw, e.edits)
}
