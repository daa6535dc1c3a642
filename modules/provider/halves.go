package provider

import (
	"bytes"
	"encoding/json"
	"slices"
	"strconv"
	"strings"
	"unicode/utf16"
	"unicode/utf8"

	"github.com/tidwall/gjson"
)

// Halves joins the characters of a stream that its server cuts in two: an emoji
// is a surrogate pair in UTF-16, and tokens end anywhere. It carries the half at
// the end of a string over to the same string of a later event. Without it, each
// half would become a replacement character. The zero Halves is ready to use.
type Halves struct {
	open map[string]string // the half that ended a string, as it is in JSON, by path
}

// Open reports whether a half is waiting for the other one.
func (h *Halves) Open() bool { return len(h.open) > 0 }

// Join returns an event, a JSON object, without the half at the end of any string,
// and with the one that an earlier event ended with. An event without either is
// returned as it is. A choice that finishes keeps its last half, as a replacement
// character.
func (h *Halves) Join(event []byte) []byte {
	if !h.Open() && !hasHalf(event) || !json.Valid(event) {
		return event
	}
	j := joiner{Halves: h, event: event}
	root := gjson.ParseBytes(event)
	j.value(blockName(root), root, 0, false)
	root.Get("choices").ForEach(func(_, c gjson.Result) bool {
		if c.Get("finish_reason").String() != "" {
			j.finish(c)
		}
		return true
	})
	return j.edited()
}

// hasHalf reports whether an event may have half a character: the escape of a
// surrogate, or bytes that are not UTF-8.
func hasHalf(event []byte) bool {
	return bytes.Contains(event, []byte(`\ud`)) || bytes.Contains(event, []byte(`\uD`)) || !utf8.Valid(event)
}

const (
	maxJoinDepth = 12     // how deep strings are looked for
	maxJoinPath  = 1 << 8 // and below which names, in bytes
	maxHalves    = 1 << 7 // how many may wait at a time
)

// joiner edits one event.
type joiner struct {
	*Halves
	event []byte
	edits []edit
}

// edit replaces the bytes of an event from one offset to another.
type edit struct {
	from, to int
	with     string
}

func (j *joiner) edited() []byte {
	slices.SortStableFunc(j.edits, func(a, b edit) int { return a.from - b.from })
	var out []byte
	at := 0
	for _, e := range j.edits {
		out = append(append(out, j.event[at:e.from]...), e.with...)
		at = e.to
	}
	if out == nil {
		return j.event
	}
	return append(out, j.event[at:]...)
}

// value joins the strings in a value. An element of a list is known by its index,
// since its place in the list may be another one in every event.
func (j *joiner) value(path string, v gjson.Result, depth int, last bool) {
	switch {
	case depth > maxJoinDepth || len(path) > maxJoinPath:
	case v.Type == gjson.String:
		j.string(path, v, last)
	case v.IsObject() || v.IsArray():
		v.ForEach(func(k, e gjson.Result) bool {
			name := k.String()
			if v.IsArray() {
				name = indexName(e)
			}
			if path == ".choices" {
				last = e.Get("finish_reason").String() != ""
			}
			j.value(path+"."+name, e, depth+1, last)
			return true
		})
	}
}

// blockName returns the name of the block that an event of Claude's API is about.
func blockName(event gjson.Result) string {
	return event.Get("index").Raw + event.Get("contentBlockIndex").Raw
}

// indexName returns the index of an element as a part of a path.
func indexName(v gjson.Result) string { return strconv.FormatInt(max(indexIn(v), 0), 10) }

// string joins one string. The last one of its choice keeps its half.
func (j *joiner) string(path string, v gjson.Result, last bool) {
	text := v.Raw[1 : len(v.Raw)-1]
	begin, waiting := j.open[path]
	if text == "" && !last || !waiting && !hasHalf([]byte(text)) {
		return
	}
	delete(j.open, path)
	before := text
	if waiting {
		text = joined(begin, text)
	}
	if n := halfAtEnd(text); n > 0 && len(j.open) < maxHalves {
		half := text[len(text)-n:]
		text = text[:len(text)-n]
		if last {
			text += replacement
		} else {
			j.keep(path, half)
		}
	}
	if text != before {
		j.edits = append(j.edits, edit{v.Index, v.Index + len(v.Raw), `"` + text + `"`})
	}
}

func (j *joiner) keep(path, half string) {
	if j.open == nil {
		j.open = make(map[string]string)
	}
	j.open[path] = half
}

// replacement is what half a character becomes without the other half.
const replacement = "\ufffd"

// joined returns a half and the text that follows it.
func joined(half, text string) string {
	if half[0] == '\\' {
		if isLow(text) {
			return half + text
		}
		return replacement + text
	}
	r, _ := utf8.DecodeRuneInString(half + text)
	if r != utf8.RuneError || !utf8.FullRuneInString(half+text) {
		return half + text
	}
	return replacement + text
}

// isLow reports whether a JSON string begins with the second half of a pair.
func isLow(text string) bool {
	r, ok := unit(text)
	return ok && r >= 0xdc00 && r <= 0xdfff
}

// unit returns the UTF-16 code unit of the escape that a JSON string begins with.
func unit(text string) (rune, bool) {
	if !strings.HasPrefix(text, `\u`) {
		return 0, false
	}
	p := scan{b: []byte(text[:min(len(text), 6)]), i: 2}
	return p.hex4()
}

// halfAtEnd returns the length of the half that a JSON string ends with, or 0.
func halfAtEnd(text string) int {
	if n := len(text) - 6; n >= 0 {
		r, ok := unit(text[n:])
		escaped := 0 // backslashes in front
		for n > escaped && text[n-1-escaped] == '\\' {
			escaped++
		}
		if ok && utf16.IsSurrogate(r) && r < 0xdc00 && escaped%2 == 0 {
			return 6
		}
	}
	for n := 1; n < utf8.UTFMax && n <= len(text); n++ {
		if c := text[len(text)-n]; utf8.RuneStart(c) {
			if c >= utf8.RuneSelf && !utf8.FullRuneInString(text[len(text)-n:]) {
				return n
			}
			break
		}
	}
	return 0
}

// finish ends the text of a choice that has its finish reason but no more text.
func (j *joiner) finish(c gjson.Result) {
	prefix := ".choices." + indexName(c) + "."
	var members []string
	for path := range j.open {
		if name, ok := strings.CutPrefix(path, prefix+"delta."); ok && messageRules[name] != nil {
			members = append(members, `"`+name+`":"`+replacement+`"`)
		}
		if strings.HasPrefix(path, prefix) {
			delete(j.open, path)
		}
	}
	if delta := c.Get("delta"); len(members) > 0 && delta.IsObject() {
		text := strings.Join(members, ",")
		if len(delta.Map()) > 0 {
			text += ","
		}
		j.edits = append(j.edits, edit{delta.Index + 1, delta.Index + 1, text})
	}
}
