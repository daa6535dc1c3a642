package harness

import (
	"net/http"
	"strings"
	"time"

	"github.com/tidwall/gjson"
)

// Asked is a request that an upstream received.
type Asked struct {
	At     time.Time
	Method string
	Path   string
	Header http.Header
	Body   string
}

// Get returns a member of the body, by its path.
func (a Asked) Get(path string) gjson.Result { return gjson.Get(a.Body, path) }

// Streams reports whether the request asks for a stream.
func (a Asked) Streams() bool { return a.Get("stream").Bool() }

// Question returns the content of the last message.
func (a Asked) Question() string { return a.Get("messages.@reverse.0.content").Str }

// Messages returns the messages as JSON.
func (a Asked) Messages() []string {
	var list []string
	for _, m := range a.Get("messages").Array() {
		list = append(list, m.Raw)
	}
	return list
}

// Said returns the messages in short, as role: content, with the ids of the
// tool calls that they make (+id) or answer (-id).
func (a Asked) Said() []string {
	var list []string
	for _, m := range a.Get("messages").Array() {
		words := []string{m.Get("role").Str + ": " + m.Get("content").Str}
		for _, call := range m.Get("tool_calls").Array() {
			words = append(words, "+"+call.Get("id").Str)
		}
		if id := m.Get("tool_call_id").Str; id != "" {
			words = append(words, "-"+id)
		}
		list = append(list, strings.Join(words, " "))
	}
	return list
}
