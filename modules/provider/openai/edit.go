package openai

import (
	"bytes"
	"slices"
	"strings"

	"github.com/tidwall/gjson"
)

// editor edits a JSON document. The edits are gathered and applied in one pass, so
// that any number of them takes time in proportion to the document. It never changes
// the original bytes.
type editor struct {
	raw   []byte
	root  gjson.Result
	edits []edit
}

// edit replaces the bytes from one offset to another.
type edit struct {
	from, to int
	value    string
}

func newEditor(raw []byte) *editor { return &editor{raw: raw, root: gjson.ParseBytes(raw)} }

// set sets a member of an object in the document to a string.
func (e *editor) set(object gjson.Result, name, value string) {
	e.setRaw(object, name, quoted(value))
}

// setRaw sets a member of an object in the document to a JSON value, and adds a new
// member at the end. It does nothing to what is not an object. A member must not be
// set twice.
func (e *editor) setRaw(object gjson.Result, name, value string) {
	if !object.IsObject() {
		return
	}
	if old := object.Get(name); old.Exists() {
		e.edits = append(e.edits, edit{old.Index, old.Index + len(old.Raw), value})
		return
	}
	end := object.Index + len(object.Raw) - 1 // the closing brace
	member := `"` + name + `":` + value
	if !isEmpty(object) || e.addsAt(end) {
		member = "," + member
	}
	e.edits = append(e.edits, edit{end, end, member})
}

// addsAt reports whether the latest edit adds something at an offset.
func (e *editor) addsAt(offset int) bool {
	return len(e.edits) > 0 && e.edits[len(e.edits)-1].from == offset
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
		e.edits = append(e.edits, edit{from, to, ""})
		return false
	})
}

// rename renames a member of an object.
func (e *editor) rename(object gjson.Result, name, to string) {
	object.ForEach(func(k, _ gjson.Result) bool {
		if k.Str != name {
			return true
		}
		e.edits = append(e.edits, edit{k.Index, k.Index + len(k.Raw), `"` + to + `"`})
		return false
	})
}

// bytes returns the edited document, which is the original one without any edits.
func (e *editor) bytes() []byte {
	if len(e.edits) == 0 {
		return e.raw
	}
	return splice(e.raw, e.edits)
}

// splice applies edits, which must not overlap. Those at the same offset keep their
// order.
func splice(raw []byte, edits []edit) []byte {
	slices.SortStableFunc(edits, func(a, b edit) int { return a.from - b.from })
	size := len(raw)
	for _, e := range edits {
		size += len(e.value)
	}
	out := make([]byte, 0, size)
	at := 0
	for _, e := range edits {
		out = append(append(out, raw[at:e.from]...), e.value...)
		at = e.to
	}
	return append(out, raw[at:]...)
}
