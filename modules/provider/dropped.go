package provider

import (
	"regexp"
	"slices"

	"github.com/tidwall/gjson"
)

// Dropped are the names of what a request has and its provider could not be given. A
// header lists them. Some are the client's words, and there may be one for each of its
// tools.
type Dropped []string

// nameable are the names that may stand in the header: one has no comma, so that it
// cannot pass for two.
var nameable = regexp.MustCompile(`^[A-Za-z0-9_.-]{1,64}$`)

// maxDropped bounds the header, and the time it takes to find a name.
const maxDropped = 32

// Add notes a name once.
func (d *Dropped) Add(name string) {
	if len(*d) < maxDropped && nameable.MatchString(name) && !slices.Contains(*d, name) {
		*d = append(*d, name)
	}
}

// Others notes the members of an object that are none of those that a translation has
// read, so that nothing is left out in silence. path is the object's own name, without
// the indices of lists. What is empty says nothing.
func (d *Dropped) Others(object gjson.Result, path string, read ...string) {
	if !object.IsObject() {
		return
	}
	object.ForEach(func(name, v gjson.Result) bool {
		if !slices.Contains(read, name.Str) && !IsEmpty(v) {
			d.Add(path + "." + name.Str)
		}
		return len(*d) < maxDropped
	})
}

// IsEmpty reports whether a value is null, or an empty string, list or object.
func IsEmpty(v gjson.Result) bool {
	switch v.Type {
	case gjson.Null:
		return true
	case gjson.String:
		return v.Str == ""
	}
	empty := v.IsArray() || v.IsObject()
	v.ForEach(func(_, _ gjson.Result) bool {
		empty = false
		return false
	})
	return empty
}
