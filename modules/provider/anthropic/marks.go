package anthropic

import (
	"bytes"
	"fmt"

	"github.com/tidwall/gjson"
	"github.com/tidwall/sjson"

	"github.com/caddy-chat/caddy-chat/modules/splice"
)

// mark is the value of cache_control that tells Anthropic to cache the prompt up to there.
const mark = `{"type":"ephemeral"}`

// maxMarks is how many marks a request may have.
const maxMarks = 4

var markName = []byte(`"cache_control"`)

// unmarked removes the oldest marks from the messages of a request that has too many: clients
// mark the end of each turn, and a session puts the earlier ones in front. What is cached does
// not depend on them.
func unmarked(body []byte) []byte {
	if bytes.Count(body, markName) <= maxMarks {
		return body
	}
	root := gjson.ParseBytes(body)
	left := maxMarks - len(marksIn(root.Get("tools"), "tools")) - len(marksIn(root.Get("system"), "system"))
	if root.Get("cache_control").IsObject() {
		left--
	}
	marks := marksIn(root.Get("messages"), "messages")
	for _, path := range marks[:max(0, len(marks)-max(0, left))] {
		if rest, err := sjson.DeleteBytes(body, path); err == nil {
			body = rest
		}
	}
	return body
}

// marksIn returns the paths of the marks in a list of blocks, or of what has blocks.
func marksIn(list gjson.Result, path string) (paths []string) {
	if !list.IsArray() {
		return nil
	}
	for i, b := range list.Array() {
		at := fmt.Sprintf("%s.%d", path, i)
		paths = append(paths, marksIn(b.Get("content"), at+".content")...)
		if b.Get("cache_control").IsObject() {
			paths = append(paths, at+".cache_control")
		}
	}
	return paths
}

// marked returns a request with marks for the prompt cache: at the end of the system
// prompt, which covers the tools and which other conversations share, or of the tools;
// and one for the whole request, which Anthropic moves to the conversation's last block.
// What was sent before stays as it was byte for byte. A request with a mark of its own is
// not changed.
func marked(body []byte) []byte {
	root := gjson.ParseBytes(body)
	if bytes.Contains(body, markName) && hasMark(root) {
		return body
	}
	o := splice.Of(body)
	if !markEnd(o, root.Get("system"), "system") {
		markEnd(o, root.Get("tools"), "tools")
	}
	o.Set(root.Get("cache_control"), "cache_control", mark)
	return o.Bytes()
}

// hasMark reports whether a request, or a part of it that can, has a mark.
func hasMark(root gjson.Result) bool {
	found := root.Get("cache_control").IsObject()
	var in func(list gjson.Result)
	in = func(list gjson.Result) {
		if !list.IsArray() {
			return
		}
		list.ForEach(func(_, v gjson.Result) bool {
			found = found || v.Get("cache_control").IsObject()
			in(v.Get("content"))
			return !found
		})
	}
	for _, name := range [...]string{"tools", "system", "messages"} {
		in(root.Get(name))
	}
	return found
}

// markEnd marks the last object of a list, or a text, and reports whether it did.
func markEnd(o *splice.Object, v gjson.Result, name string) bool {
	if v.Type == gjson.String && v.Str != "" {
		o.Set(v, name, `[{"type":"text","text":`+v.Raw+`,"cache_control":`+mark+`}]`)
		return true
	}
	if !v.IsArray() {
		return false
	}
	list := v.Array()
	if len(list) == 0 {
		return false
	}
	last := list[len(list)-1]
	if !last.IsObject() || last.Get("defer_loading").Bool() { // which no mark may stand at
		return false
	}
	block := splice.Of([]byte(last.Raw))
	block.Set(gjson.Parse(last.Raw).Get("cache_control"), "cache_control", mark)
	o.Set(last, "", string(block.Bytes()))
	return true
}
