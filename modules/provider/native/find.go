package native

import (
	"strconv"

	"github.com/tidwall/gjson"
)

// maxDepth is how deep content is searched. No API has anything that is deeper.
const maxDepth = 16

// Look looks at a member: its name, its value, and the object that has it. It may have the
// value skipped.
type Look func(name string, value, parent gjson.Result) (found, skip bool)

// Find returns the path of the first member that look finds in v, whose own path is at; an
// empty string if it finds none.
func Find(v gjson.Result, at string, look Look) string { return find(v, at, look, maxDepth) }

func find(v gjson.Result, at string, look Look, depth int) (path string) {
	if depth == 0 || !v.IsObject() && !v.IsArray() {
		return ""
	}
	i := 0
	v.ForEach(func(k, e gjson.Result) bool {
		name, found, skip := k.Str, false, false
		if v.IsArray() {
			name = strconv.Itoa(i)
			i++
		} else {
			found, skip = look(name, e, v)
		}
		switch {
		case found:
			path = at + "." + name
		case !skip:
			path = find(e, at+"."+name, look, depth-1)
		}
		return path == ""
	})
	return path
}

// IsModel finds the model of a tool, which the tenant may not be allowed to use, and whose
// price is not known. Schemas have names of the client's own.
func IsModel(name string, _, _ gjson.Result) (found, skip bool) {
	return name == "model", name == "parameters" || name == "schema" || name == "input_schema" || name == "examples" || name == "input_examples"
}
