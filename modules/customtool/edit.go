package customtool

import "slices"

// edit replaces a part of a document.
type edit struct {
	from, to int
	value    string
}

// applied returns a document with edits. All else stays as it was: prompt caches live on
// that.
func applied(doc []byte, edits []edit) []byte {
	slices.SortFunc(edits, func(a, b edit) int { return a.from - b.from })
	var out []byte
	at := 0
	for _, e := range edits {
		out = append(append(out, doc[at:e.from]...), e.value...)
		at = e.to
	}
	return append(out, doc[at:]...)
}
