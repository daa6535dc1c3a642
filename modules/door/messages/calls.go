package messages

import (
	"encoding/json"
	"strings"

	"github.com/tidwall/gjson"

	"github.com/caddy-chat/caddy-chat/modules/provider"
)

// calls are the tool calls of a streamed answer. Chat completions may mix the parts of
// several calls. Here one follows the other, so the next waits until the open one is
// whole.
type calls struct {
	tracker provider.CallTracker
	list    []*callSoFar
	sent    int // how many have been opened; the last of them may be open
}

// callSoFar is one call. What has been sent of its arguments is not kept.
type callSoFar struct {
	id, name string
	extra    json.RawMessage
	waiting  strings.Builder // arguments
}

// ended reports whether nothing can be added to the last call that was opened.
func (c *calls) ended() bool { return c.sent == 0 || c.tracker.Ended(c.sent-1) }

// toolCalls adds parts of calls.
func (s *stream) toolCalls(b, chunk []byte) []byte {
	first := true
	for _, p := range gjson.GetBytes(chunk, "choices.#(index==0).delta.tool_calls").Array() {
		part := s.calls.tracker.Part(p, first)
		first = false
		for part.At >= len(s.calls.list) {
			s.calls.list = append(s.calls.list, new(callSoFar))
		}
		c := s.calls.list[part.At]
		if part.ID != "" {
			c.id = part.ID
		}
		c.name += part.Name
		if extra := p.Get("extra_content"); extra.IsObject() {
			c.extra = json.RawMessage(strings.Clone(extra.Raw))
		}
		switch {
		case part.Arguments == "":
		case s.open == kindTool && part.At == s.calls.sent-1:
			b = s.addDelta(b, part.Arguments)
		default:
			c.waiting.WriteString(part.Arguments)
		}
		b = s.nextCalls(b, false)
	}
	return b
}

// nextCalls opens the calls whose turn it is, with the arguments that have come. last
// says that no more will come.
func (s *stream) nextCalls(b []byte, last bool) []byte {
	for s.calls.sent < len(s.calls.list) && (last || s.calls.ended()) {
		c := s.calls.list[s.calls.sent]
		if !last && (c.name == "" || c.id == "") {
			return b
		}
		s.calls.sent++
		if c.name == "" {
			continue // the answer broke off
		}
		b = s.close(b)
		b = s.start(b, kindTool, provider.Encode(toolUseBlock{kindTool, callID(s.id, c.id, c.extra, s.calls.sent-1), c.name, noInput}))
		if c.waiting.Len() > 0 {
			b = s.addDelta(b, c.waiting.String())
		}
	}
	return b
}

var noInput = json.RawMessage("{}")
