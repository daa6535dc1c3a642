package anthropic

import (
	"bytes"

	"github.com/tidwall/gjson"

	"github.com/caddy-chat/caddy-chat/modules/splice"
)

// mark is the value of cache_control that tells Anthropic to cache the prompt up to there.
const mark = `{"type":"ephemeral"}`

// marked returns a request with marks for the prompt cache: at the end of the system
// prompt, which covers the tools and which other conversations share, or of the tools;
// and one for the whole request, which Anthropic moves to the conversation's last block.
// What was sent before stays as it was byte for byte. A request with a mark of its own is
// not changed.
func marked(body []byte) []byte {
	root := gjson.ParseBytes(body)
	if bytes.Contains(body, []byte(`"cache_control"`)) && hasMark(root) {
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
