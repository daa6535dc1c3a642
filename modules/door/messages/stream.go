package messages

import (
	"bytes"
	"encoding/json"
	"strconv"
	"strings"

	"github.com/go-json-experiment/json/jsontext"
	"github.com/tidwall/gjson"

	"github.com/caddy-chat/caddy-chat/modules/author"
	"github.com/caddy-chat/caddy-chat/modules/door"
	"github.com/caddy-chat/caddy-chat/modules/items"
	"github.com/caddy-chat/caddy-chat/modules/provider"
)

// stream writes the events of a message. Its blocks follow one another, with one open
// at a time.
type stream struct {
	estimate int64 // of the input

	begun  bool
	id     string
	open   string // the kind of the open block; empty without one
	index  int    // of the open block, else of the next
	delta  []byte // what the deltas of the open block begin with
	calls  calls
	late   []piece           // what waits for the end of a call
	blocks []json.RawMessage // thinking_blocks
	by     string            // the model that has written the reasoning
	finish string
	stop   string // the sequence that has stopped the model
	served served
	told   bool // the provider's own events have told the stop reason
	over   bool // the end was sent, or a failure
}

// piece is text or reasoning, or the seal of an item of reasoning, which is redacted.
type piece struct{ kind, text string }

// Chunk implements door.Stream.
func (s *stream) Chunk(b []byte, c *provider.Chunk) []byte {
	if c.Native != nil {
		s.follow(c.Native)
		return append(b, c.Native...)
	}
	b = s.begin(b, c)
	if c.Reasoning != "" {
		if s.by == "" {
			s.by = author.Of(deltaOf(c))
		}
		b = s.say(b, piece{kindThinking, c.Reasoning})
	}
	if c.Text != "" {
		b = s.say(b, piece{kindText, c.Text})
	}
	if c.More {
		b = s.more(b, c)
	}
	if c.FinishReason != "" {
		s.finish, s.stop = c.FinishReason, stoppedBy(gjson.GetBytes(c.Raw, "choices.#(index==0)"))
	}
	return b
}

// more adds what is neither text nor reasoning.
func (s *stream) more(b []byte, c *provider.Chunk) []byte {
	if c.ToolCalls {
		b = s.toolCalls(b, c.Raw)
	}
	delta := deltaOf(c)
	for _, block := range delta.Get(items.Member).Array() {
		if !items.IsReasoning(block) {
			s.blocks = append(s.blocks, json.RawMessage(strings.Clone(block.Raw)))
			continue
		}
		if s.by == "" {
			s.by = author.Of(delta)
		}
		b = s.say(b, piece{kindRedacted, sealItem(block, s.by)})
	}
	return b
}

func deltaOf(c *provider.Chunk) gjson.Result {
	return gjson.GetBytes(c.Raw, "choices.#(index==0).delta")
}

// begin appends the first event, unless it was sent.
func (s *stream) begin(b []byte, c *provider.Chunk) []byte {
	if s.begun {
		return b
	}
	s.begun = true
	s.id = idOf(gjson.GetBytes(c.Raw, "id").String())
	m := answer{ID: s.id, Type: "message", Role: roleAssistant, Model: c.Model, Content: []any{}, Usage: usage{Input: s.estimate}}
	b = append(b, "event: message_start\ndata: {\"type\":\"message_start\",\"message\":"...)
	return append(append(b, provider.Encode(m)...), "}\n\n"...)
}

// say adds a piece, or keeps it if the open call has not ended: it could not be
// opened again.
func (s *stream) say(b []byte, p piece) []byte {
	if s.open == kindTool && !s.calls.ended() {
		s.late = append(s.late, p)
		return b
	}
	b = s.sayLate(b)
	return s.add(b, p)
}

func (s *stream) sayLate(b []byte) []byte {
	for _, p := range s.late {
		b = s.add(b, p)
	}
	s.late = s.late[:0]
	return b
}

// add adds a piece to the open block, or opens one of its kind. A seal signs the thinking in
// front of it, or else is a block of its own.
func (s *stream) add(b []byte, p piece) []byte {
	switch {
	case p.kind == kindRedacted && s.open == kindThinking:
		return s.closeSigned(b, p.text)
	case p.kind == kindRedacted:
		b = s.start(s.close(b), kindRedacted, provider.Encode(redactedBlock{kindRedacted, p.text}))
		return s.close(b)
	}
	if s.open != p.kind {
		b = s.close(b)
		b = s.start(b, p.kind, []byte(empty[p.kind]))
	}
	return s.addDelta(b, p.text)
}

// empty are blocks as they are opened.
var empty = map[string]string{
	kindText:     `{"type":"text","text":""}`,
	kindThinking: `{"type":"thinking","thinking":"","signature":""}`,
}

// addDelta adds to the open block.
func (s *stream) addDelta(b []byte, text string) []byte {
	b = append(b, s.delta...)
	b, _ = jsontext.AppendQuote(b, text) // its only error is that it replaced what is not UTF-8
	return append(b, "}}\n\n"...)
}

// start opens a block.
func (s *stream) start(b []byte, kind string, block []byte) []byte {
	b = append(b, "event: content_block_start\ndata: {\"type\":\"content_block_start\",\"index\":"...)
	b = strconv.AppendInt(b, int64(s.index), 10)
	b = append(append(b, `,"content_block":`...), block...)
	s.opened(kind)
	return append(b, "}\n\n"...)
}

// deltas are the types of the deltas, and the names of their members.
var deltas = map[string]string{
	kindText:     `"text_delta","text":`,
	kindThinking: `"thinking_delta","thinking":`,
	kindTool:     `"input_json_delta","partial_json":`,
}

// opened notes that a block is open.
func (s *stream) opened(kind string) {
	s.open = kind
	s.delta = append(appendDelta(s.delta[:0], s.index), deltas[kind]...)
}

func appendDelta(b []byte, index int) []byte {
	b = append(b, "event: content_block_delta\ndata: {\"type\":\"content_block_delta\",\"index\":"...)
	return append(strconv.AppendInt(b, int64(index), 10), `,"delta":{"type":`...)
}

// close closes the open block, if there is one.
func (s *stream) close(b []byte) []byte { return s.closeSigned(b, "") }

// closeSigned closes the open block, with this signature if it is thinking. Without one it
// says who has written it.
func (s *stream) closeSigned(b []byte, signature string) []byte {
	if s.open == "" {
		return b
	}
	if s.open == kindThinking {
		if signature == "" {
			signature = unsigned(s.by)
		}
		b = append(appendDelta(b, s.index), `"signature_delta","signature":"`+signature+"\"}}\n\n"...)
	}
	b = append(b, "event: content_block_stop\ndata: {\"type\":\"content_block_stop\",\"index\":"...)
	b = strconv.AppendInt(b, int64(s.index), 10)
	s.open = ""
	s.index++
	return append(b, "}\n\n"...)
}

// follow reads from the provider's own events where the answer is, in case it goes on
// with chat completions.
func (s *stream) follow(events []byte) {
	for line := range bytes.Lines(events) {
		data, ok := bytes.CutPrefix(line, []byte("data:"))
		data = bytes.TrimSpace(data)
		if !ok || bytes.HasPrefix(data, []byte(`{"type":"content_block_delta"`)) {
			continue
		}
		root := gjson.ParseBytes(data)
		switch typeOf(root) {
		case "message_start":
			s.begun, s.id = true, strings.Clone(root.Get("message.id").Str)
		case "content_block_start":
			s.index = int(root.Get("index").Int())
			s.opened(strings.Clone(typeOf(root.Get("content_block"))))
			s.served.follow(root.Get("content_block"))
		case "content_block_stop":
			s.open, s.index = "", int(root.Get("index").Int())+1
		case "message_delta":
			s.told = s.told || root.Get("delta.stop_reason").Str != ""
		case "message_stop", "error":
			s.over = true
		}
	}
}

// End implements door.Stream.
func (s *stream) End(b []byte, u provider.Usage) []byte {
	if s.over {
		return b
	}
	b = s.begin(b, new(provider.Chunk))
	b = s.nextCalls(b, true)
	b = s.sayLate(b)
	b = s.close(b)
	b = s.signed(b)
	if !s.told {
		for _, block := range s.served.results() {
			b = s.close(s.start(b, typeOf(gjson.ParseBytes(block)), block))
		}
		b = append(b, "event: message_delta\ndata: {\"type\":\"message_delta\",\"delta\":"...)
		b = append(b, provider.Encode(endingOf(s.finish, s.stop))...)
		b = append(append(b, `,"usage":`...), provider.Encode(usageOf(u))...)
		b = append(b, "}\n\n"...)
	}
	s.over = true
	return append(b, "event: message_stop\ndata: {\"type\":\"message_stop\"}\n\n"...)
}

// signed appends the signed reasoning, which comes when the rest has been sent. Clients
// keep the data of such a block unread, and send it back.
func (s *stream) signed(b []byte) []byte {
	if len(s.blocks) == 0 {
		return b
	}
	return s.add(b, piece{kindRedacted, door.Seal(sealed{Blocks: s.blocks})})
}

// Fail implements door.Stream.
func (s *stream) Fail(b []byte, f door.Failure) []byte {
	s.over = true
	b = append(b, "event: error\ndata: "...)
	b = append(b, provider.Encode(failure{"error", detail{f.Type, f.Message}, f.TraceID})...)
	return append(b, "\n\n"...)
}

type failure struct {
	Type      string `json:"type"` // always "error"
	Error     detail `json:"error"`
	RequestID string `json:"request_id,omitempty"`
}

type detail struct {
	Type    string `json:"type"`
	Message string `json:"message"`
}
