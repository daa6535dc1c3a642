package messages

import (
	"bytes"
	"encoding/json"
	"fmt"
	"slices"

	"github.com/tidwall/gjson"
	"github.com/tidwall/sjson"
)

// maxMarks is how many marks for the prompt cache a request may have.
const maxMarks = 4

var markName = []byte(`"cache_control"`)

// unmarked removes the oldest marks from messages that go in front of a body, as far as there
// are more than a request may have: clients mark the end of each turn. What is cached does
// not depend on them.
func unmarked(list []json.RawMessage, body []byte) []json.RawMessage {
	left := maxMarks
	if bytes.Contains(body, markName) {
		root := gjson.ParseBytes(body)
		if root.Get("cache_control").IsObject() {
			left--
		}
		for _, name := range [...]string{"system", "tools", "messages"} {
			left -= len(marksIn(root.Get(name), name))
		}
	}
	for i, m := range slices.Backward(list) {
		if !bytes.Contains(m, markName) {
			continue
		}
		for _, path := range slices.Backward(marksIn(gjson.GetBytes(m, "content"), "content")) {
			if left--; left >= 0 {
				continue
			}
			if rest, err := sjson.DeleteBytes(list[i], path); err == nil {
				list[i] = rest
			}
		}
	}
	return list
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
