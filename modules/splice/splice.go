// Package splice changes JSON documents. All bytes that are not changed stay as they
// are: order, white space and the spelling of numbers. Prompt caches depend on it.
package splice

import (
	"bytes"
	"slices"

	"github.com/tidwall/gjson"
)

// Edit replaces the bytes from one offset to another.
type Edit struct {
	From, To int
	Value    string
}

// Apply applies edits, which must not overlap. Those at the same offset keep their
// order. It takes time in proportion to the document.
func Apply(raw []byte, edits []Edit) []byte {
	slices.SortStableFunc(edits, func(a, b Edit) int { return a.From - b.From })
	size := len(raw)
	for _, e := range edits {
		size += len(e.Value)
	}
	out := make([]byte, 0, size)
	at := 0
	for _, e := range edits {
		out = append(append(out, raw[at:e.From]...), e.Value...)
		at = e.To
	}
	return append(out, raw[at:]...)
}

// Object replaces and adds members of one JSON object.
type Object struct {
	raw   []byte
	edits []Edit
	added []byte
}

// Of returns an Object with these bytes, which it never changes in place.
func Of(raw []byte) *Object { return &Object{raw: raw} }

// Set replaces an old value, which gjson has found in the object, or adds a member at
// the end if there is no old value. value is JSON.
func (o *Object) Set(old gjson.Result, name, value string) {
	if old.Exists() {
		o.edits = append(o.edits, Edit{old.Index, old.Index + len(old.Raw), value})
		return
	}
	o.added = append(append(append(o.added, `,"`...), name...), `":`...)
	o.added = append(o.added, value...)
}

// SetStream makes a request one for a stream, unless it is.
func (o *Object) SetStream(m Members) {
	if m.Stream.Type != gjson.True {
		o.Set(m.Stream, "stream", "true")
	}
}

// Bytes returns the changed object.
func (o *Object) Bytes() []byte {
	end := bytes.LastIndexByte(o.raw, '}')
	added := o.added
	if len(added) > 0 && bytes.HasSuffix(bytes.TrimRight(o.raw[:end], " \t\r\n"), []byte{'{'}) {
		added = added[1:] // no comma before the first member
	}
	if len(added) > 0 {
		o.edits = append(o.edits, Edit{end, end, string(added)})
	}
	return Apply(o.raw, o.edits)
}
