package openai

import (
	"bytes"
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/google/uuid"
	"github.com/tidwall/gjson"

	"github.com/caddy-chat/caddy-chat/modules/provider"
)

// mender repairs the chunks of one stream if they deviate from OpenAI's format so
// far that clients break, and leaves all others unchanged. It also numbers the
// tool calls.
type mender struct {
	id      string // of the first chunk, or generated
	first   []byte // the first chunk with choices, mended
	choices map[int64]*choice
}

// choice is the state of one choice of a stream.
type choice struct {
	calls    calls
	finished bool
}

// finished reports whether every choice that has begun has its finish reason.
func (m *mender) finished() bool {
	for _, c := range m.choices {
		if !c.finished {
			return false
		}
	}
	return len(m.choices) > 0
}

// begun reports whether there was a chunk.
func (m *mender) begun() bool { return m.id != "" }

// midway reports whether choice 0 is the only one, and has begun but not finished.
func (m *mender) midway() bool {
	return m.first != nil && len(m.choices) == 1 && m.choices[0] != nil && !m.choices[0].finished
}

// takes reports whether a regular chunk belongs to this answer and needs no
// mending. If so, it updates the mender's state.
func (m *mender) takes(c *provider.Scanned, raw []byte) bool {
	switch {
	case m.begun():
		if c.ID != m.id || c.FinishReason != "" && m.choices[0].calls.tracker.Len() > 0 {
			return false
		}
	case c.ID == "" || !c.Role:
		return false
	default:
		m.id, m.first = c.ID, bytes.Clone(raw)
	}
	choice, _ := m.of(0)
	choice.finished = c.FinishReason != ""
	return true
}

// chunk mends a chunk, a JSON object. ok is false if the chunk has nothing for a
// client.
func (m *mender) chunk(raw []byte) (mended []byte, ok bool) {
	e := newEditor(oneLine(raw))
	choices := e.root.Get("choices")
	if !choices.IsArray() {
		if !e.root.Get("usage").IsObject() && !e.root.Get("x_groq").IsObject() {
			return nil, false
		}
		e.setRaw(e.root, "choices", "[]")
	}
	if e.root.Get("object").Str != "chat.completion.chunk" {
		e.set(e.root, "object", "chat.completion.chunk")
	}
	// clients ignore or refuse a chunk with the id of another answer
	id := e.root.Get("id").Str
	if m.id == "" {
		m.id = cmp.Or(id, newID())
	}
	if id != m.id {
		e.set(e.root, "id", m.id)
	}
	for _, c := range choices.Array() {
		m.choice(e, c)
	}
	mended = e.bytes()
	if m.first == nil && len(m.choices) > 0 {
		m.first = bytes.Clone(mended)
	}
	return mended, true
}

func (m *mender) choice(e *editor, c gjson.Result) {
	state, begins := m.of(c.Get("index").Int())
	reason := provider.FinishOf(c)
	state.finished = state.finished || reason != ""
	switch sent := c.Get("finish_reason"); {
	case reason != "" && (sent.Type != gjson.String || sent.Str != reason):
		e.set(c, "finish_reason", reason)
	case reason == "" && sent.Exists() && sent.Type != gjson.Null:
		e.setRaw(c, "finish_reason", "null")
	}
	delta := c.Get("delta")
	begins = begins && delta.Get("role").Str == ""
	switch {
	case !delta.IsObject() && begins:
		e.setRaw(c, "delta", `{"role":"assistant"}`)
	case !delta.IsObject():
		e.setRaw(c, "delta", state.calls.lastDelta(reason))
	case begins:
		e.set(delta, "role", "assistant")
	}
	mendContent(e, delta)
	list, changed := "[]", false
	if v := delta.Get("tool_calls"); v.IsArray() {
		list, changed = state.calls.mend(v)
	}
	if rest := state.calls.rest(reason); changed || rest != "" {
		e.setRaw(delta, "tool_calls", joinLists(list, rest))
	}
	call := delta.Get("function_call")
	if args := call.Get("arguments"); args.Exists() && args.Type != gjson.String {
		e.set(call, "arguments", provider.ArgumentsOf(args))
	}
}

// of returns the state of a choice, and whether the choice begins here.
func (m *mender) of(index int64) (c *choice, begins bool) {
	if c := m.choices[index]; c != nil {
		return c, false
	}
	if m.choices == nil {
		m.choices = make(map[int64]*choice, 1)
	}
	c = new(choice)
	m.choices[index] = c
	return c, true
}

// over reports whether all choices in a chunk already had their finish reason.
func (m *mender) over(raw []byte) bool {
	over := true
	gjson.GetBytes(raw, "choices").ForEach(func(_, c gjson.Result) bool {
		state := m.choices[c.Get("index").Int()]
		over = state != nil && state.finished
		return over
	})
	return over
}

// close returns a chunk with the finish reasons that the server did not send, or
// nil if none is missing.
func (m *mender) close() []byte {
	if m.first == nil || m.finished() {
		return nil
	}
	var missing []string
	for _, index := range slices.Sorted(maps.Keys(m.choices)) {
		c := m.choices[index]
		if c.finished {
			continue
		}
		c.finished = true
		reason := finishReason(c.calls.tracker.Len() > 0)
		missing = append(missing, fmt.Sprintf(`{"delta":%s,"finish_reason":%q,"index":%d}`, c.calls.lastDelta(reason), reason, index))
	}
	e := newEditor(m.first)
	e.remove(e.root, "usage")
	e.setRaw(e.root, "choices", "["+strings.Join(missing, ",")+"]")
	return e.bytes()
}

// finishReason returns the finish reason in place of one that the server did not
// send.
func finishReason(calls bool) string {
	if calls {
		return "tool_calls"
	}
	return "stop"
}

// newID returns the id for an answer whose server sent none.
func newID() string { return "chatcmpl-" + uuid.NewString() }

// isPreface reports whether a chunk has neither choices nor a usage. Azure begins
// with one, which has the content filter's result for the prompt, an empty id and
// an empty model. Clients that expect a choice in every chunk break on it.
func isPreface(raw []byte, f provider.Facts) bool {
	if f.Choices > 0 || f.Usage != nil {
		return false
	}
	root := gjson.ParseBytes(raw)
	return root.Get("choices").IsArray() && !root.Get("usage").IsObject()
}

// asChunk returns a whole answer as one chunk: each message becomes the delta,
// which some servers send, too, but empty.
func asChunk(raw []byte) []byte {
	e := newEditor(raw)
	for _, c := range e.root.Get("choices").Array() {
		message := c.Get("message")
		switch {
		case !message.IsObject():
		case c.Get("delta").Exists():
			e.setRaw(c, "delta", numbered(message))
			e.remove(c, "message")
		default:
			e.rename(c, "message", "delta")
			if list := message.Get("tool_calls"); list.IsArray() {
				e.setRaw(message, "tool_calls", numberedCalls(list))
			}
		}
	}
	return e.bytes()
}

// mendCompletion repairs a whole answer as mender does a chunk. root is raw,
// parsed.
func mendCompletion(raw []byte, root gjson.Result) []byte {
	e := &editor{raw: raw, root: root}
	if e.root.Get("object").Str != "chat.completion" {
		e.set(e.root, "object", "chat.completion")
	}
	if e.root.Get("id").Str == "" {
		e.set(e.root, "id", newID())
	}
	for _, c := range e.root.Get("choices").Array() {
		message := c.Get("message")
		mendContent(e, message)
		calls := message.Get("tool_calls")
		if calls.IsArray() {
			if mended, changed := mendWhole(calls); changed {
				e.setRaw(message, "tool_calls", mended)
			}
		}
		if call := message.Get("function_call"); call.IsObject() {
			mendWholeArguments(e, call)
		}
		reason := cmp.Or(provider.FinishOf(c), finishReason(calls.IsArray() && calls.Get("#").Int() > 0))
		if sent := c.Get("finish_reason"); c.IsObject() && (sent.Type != gjson.String || sent.Str != reason) {
			e.set(c, "finish_reason", reason)
		}
	}
	return e.bytes()
}

// mendContent turns a content that is a list of parts into a string. It moves
// thinking parts to reasoning_content.
func mendContent(e *editor, message gjson.Result) {
	content := message.Get("content")
	if !content.IsArray() {
		return
	}
	e.set(message, "content", provider.TextOf(content))
	if message.Get("reasoning_content").Exists() {
		return
	}
	var thoughts strings.Builder
	for _, part := range content.Array() {
		switch t := part.Get("thinking"); {
		case t.Type == gjson.String:
			thoughts.WriteString(t.Str)
		case t.IsArray():
			thoughts.WriteString(provider.TextOf(t))
		}
	}
	if thoughts.Len() > 0 {
		e.set(message, "reasoning_content", thoughts.String())
	}
}

// oneLine returns valid JSON without line breaks. They can only be between tokens,
// since those in strings are escaped.
func oneLine(raw []byte) []byte {
	if !bytes.ContainsAny(raw, "\r\n") {
		return raw
	}
	line := make([]byte, len(raw))
	for i, b := range raw {
		if b == '\n' || b == '\r' {
			b = ' '
		}
		line[i] = b
	}
	return line
}
