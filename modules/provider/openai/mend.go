package openai

import (
	"bytes"
	"strconv"
	"strings"

	"github.com/tidwall/gjson"
	"github.com/tidwall/sjson"

	"github.com/caddy-chat/caddy-chat/modules/provider"
)

// mender gives chunks OpenAI's shape where a server deviates from it so far
// that clients break, and leaves all others as they are. It lasts for one
// stream, whose tool calls it numbers.
type mender struct {
	choices map[int64]*choice
}

// choice is what is known of one choice of a stream.
type choice struct {
	calls    []string // the ids of its tool calls, by index
	finished bool
}

// finished says that every choice that was begun has its finish reason.
func (m *mender) finished() bool {
	for _, c := range m.choices {
		if !c.finished {
			return false
		}
	}
	return len(m.choices) > 0
}

// chunk mends one chunk, a JSON object; ok is false where it has nothing in it that a client would look for.
func (m *mender) chunk(raw []byte) (mended []byte, ok bool, err error) {
	e := editor{raw: oneLine(raw)}
	root := gjson.ParseBytes(e.raw)
	choices := root.Get("choices")
	if !choices.IsArray() {
		if !root.Get("usage").IsObject() && !root.Get("x_groq").IsObject() {
			return nil, false, nil
		}
		e.setRaw("choices", "[]")
	}
	if root.Get("object").Str != "chat.completion.chunk" {
		e.set("object", "chat.completion.chunk")
	}
	for i, c := range choices.Array() {
		m.choice(&e, "choices."+strconv.Itoa(i), c)
	}
	return e.raw, true, e.err
}

func (m *mender) choice(e *editor, path string, c gjson.Result) {
	state := m.of(c.Get("index").Int())
	if c.Get("finish_reason").String() != "" {
		state.finished = true
	}
	delta := c.Get("delta")
	if !delta.IsObject() {
		e.setRaw(path+".delta", "{}")
	}
	path += ".delta"
	mendContent(e, path, delta)
	alone := true
	for i, call := range delta.Get("tool_calls").Array() {
		id := call.Get("id").String()
		index := call.Get("index")
		if index.Type == gjson.Number {
			state.name(int(index.Int()), id)
		} else {
			e.set(path+".tool_calls."+strconv.Itoa(i)+".index", state.number(id, alone))
		}
		alone = false
	}
}

func (m *mender) of(index int64) *choice {
	c := m.choices[index]
	if c == nil {
		if m.choices == nil {
			m.choices = make(map[int64]*choice, 1)
		}
		c = new(choice)
		m.choices[index] = c
	}
	return c
}

// maxCalls bounds the index that is believed.
const maxCalls = 1 << 10

// name remembers the id of the call with an index.
func (c *choice) name(index int, id string) {
	if index < 0 || index > maxCalls {
		return
	}
	for len(c.calls) <= index {
		c.calls = append(c.calls, "")
	}
	if id != "" {
		c.calls[index] = id
	}
}

// number returns the index of a tool call without one: an id that is new is
// the next call, and no id is more of the last call, unless another call
// stands before it in the same chunk.
func (c *choice) number(id string, alone bool) int {
	if id == "" && alone && len(c.calls) > 0 {
		return len(c.calls) - 1
	}
	if id != "" {
		for i, known := range c.calls {
			if known == id {
				return i
			}
		}
	}
	c.calls = append(c.calls, id)
	return len(c.calls) - 1
}

// isPreface says whether a chunk has no choices for another reason than
// OpenAI's, which is that it holds the usage. Azure tells so what it made of
// the prompt, with an id and a model that are empty: clients that look for the
// first choice of every chunk break on it.
func isPreface(raw []byte, f provider.Facts) bool {
	if f.Choices || f.Usage != nil {
		return false
	}
	root := gjson.ParseBytes(raw)
	return root.Get("choices").IsArray() && !root.Get("usage").IsObject()
}

// asChunk moves what a whole answer has in its messages to where a chunk has
// it, which some servers fill with nothing.
func asChunk(raw []byte) ([]byte, error) {
	e := editor{raw: raw}
	for i, c := range gjson.GetBytes(raw, "choices").Array() {
		message := c.Get("message")
		if !message.IsObject() {
			continue
		}
		path := "choices." + strconv.Itoa(i)
		e.setRaw(path+".delta", message.Raw)
		e.delete(path + ".message")
	}
	return e.raw, e.err
}

// mendCompletion gives a whole answer OpenAI's shape.
func mendCompletion(raw []byte) ([]byte, error) {
	e := editor{raw: raw}
	root := gjson.ParseBytes(raw)
	if root.Get("object").Str != "chat.completion" {
		e.set("object", "chat.completion")
	}
	for i, c := range root.Get("choices").Array() {
		mendContent(&e, "choices."+strconv.Itoa(i)+".message", c.Get("message"))
	}
	return e.raw, e.err
}

// mendContent makes a string of a content that is a list of parts. Thinking
// among them moves to where the others have it.
func mendContent(e *editor, path string, message gjson.Result) {
	content := message.Get("content")
	if !content.IsArray() {
		return
	}
	e.set(path+".content", provider.TextOf(content))
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
		e.set(path+".reasoning_content", thoughts.String())
	}
}

// oneLine takes line breaks out of a JSON text. They can only stand between
// its tokens: within a string they would be escaped.
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

// editor makes edits until one fails. It never changes the bytes that it was
// given.
type editor struct {
	raw []byte
	err error
}

func (e *editor) set(path string, value any) {
	if e.err == nil {
		e.raw, e.err = sjson.SetBytes(e.raw, path, value)
	}
}

func (e *editor) setRaw(path, value string) {
	if e.err == nil {
		e.raw, e.err = sjson.SetRawBytes(e.raw, path, []byte(value))
	}
}

func (e *editor) delete(path string) {
	if e.err == nil {
		e.raw, e.err = sjson.DeleteBytes(e.raw, path)
	}
}
