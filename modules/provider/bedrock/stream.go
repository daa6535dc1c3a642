package bedrock

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"

	"github.com/tidwall/gjson"

	"github.com/caddy-chat/caddy-chat/modules/provider"
	"github.com/caddy-chat/caddy-chat/modules/provider/dialect"
	"github.com/caddy-chat/caddy-chat/modules/provider/upstream"
)

// stream reads the answer of ConverseStream chunk by chunk.
type stream struct {
	ctx    context.Context
	body   io.ReadCloser
	frames *frames // nil until the first bytes show what the body is
	answer *dialect.Answer

	blocks   map[int64]*part
	halves   provider.Halves
	calls    int         // how many tool calls were begun
	thoughts []reasoning // complete ones

	finished bool            // the stop reason was read
	usage    *provider.Usage // of a whole answer in one document, to be returned after it
	counted  bool            // the usage, which comes last, was returned
	skipped  int
	err      error // what the stream ended with
}

// part is an open content block.
type part struct {
	call      int // the index of the tool call, -1 for other blocks
	arguments bool
	thought   reasoning
}

// newStream begins to read an answer. Nothing of it may have been read yet.
func newStream(ctx context.Context, resp *http.Response, model string, names *dialect.Names) *stream {
	return &stream{ctx: ctx, body: resp.Body, answer: dialect.NewAnswer("", model, names), blocks: make(map[int64]*part)}
}

// Next returns the next chunk.
func (s *stream) Next() (*provider.Chunk, error) {
	if s.err != nil {
		return nil, s.err
	}
	chunk, err := s.next()
	if err != nil {
		s.err = err
		return nil, err
	}
	return chunk, nil
}

func (s *stream) next() (*provider.Chunk, error) {
	if s.frames == nil && !s.finished {
		begin, rest, err := upstream.Peek(s.body)
		if err != nil {
			return nil, s.ended(err)
		}
		if upstream.KindOf(begin) == upstream.KindJSON {
			return s.whole(rest)
		}
		s.frames = newFrames(rest)
	}
	if u := s.usage; u != nil {
		s.usage, s.counted = nil, true
		return s.answer.UsageChunk(*u), nil
	}
	for !s.counted && s.frames != nil {
		f, err := s.frames.next()
		if err != nil {
			return nil, s.ended(err)
		}
		chunk, err := s.read(f)
		if err != nil && s.finished {
			break // a finished answer stays finished
		}
		if err != nil || chunk != nil {
			return chunk, err
		}
	}
	return nil, io.EOF
}

// whole reads the answer of a server that did not stream, or that failed.
func (s *stream) whole(r io.Reader) (*provider.Chunk, error) {
	doc, err := upstream.ReadAll(s.ctx, r)
	if err != nil {
		return nil, err
	}
	a, err := readAnswer(doc)
	if err != nil {
		return nil, err
	}
	s.finished, s.usage = true, a.usage
	return s.answer.Chunk(a.output, a.finish), nil
}

// read reads a message; nil if it has nothing for the client.
func (s *stream) read(f frame) (*provider.Chunk, error) {
	switch f.headers[":message-type"] {
	case "event":
		return s.event(f.headers[":event-type"], f.payload)
	case "exception":
		return nil, failure(f.headers[":exception-type"], f.payload)
	case "error":
		said, _ := json.Marshal(map[string]string{"message": f.headers[":error-message"]})
		return nil, failure(f.headers[":error-code"], said)
	}
	return nil, nil
}

// event reads an event. Its payload is an object, whose member p is padding: it
// hides the length of the texts from eavesdroppers.
func (s *stream) event(typ string, payload []byte) (*provider.Chunk, error) {
	var read func(gjson.Result) (*provider.Chunk, error)
	switch typ {
	case "contentBlockStart":
		read = s.begin
	case "contentBlockDelta":
		read = s.delta
	case "contentBlockStop":
		read = s.end
	case "messageStop":
		read = s.stop
	case "metadata":
		read = s.count
	}
	if read == nil || s.finished && typ != "metadata" {
		return nil, nil
	}
	payload = s.halves.Join(payload)
	root := gjson.ParseBytes(payload)
	if !json.Valid(payload) || !root.IsObject() {
		s.skipped++
		return nil, provider.Lost(payload, s.finished)
	}
	return read(root)
}

// block returns the block that an event belongs to.
func (s *stream) block(ev gjson.Result) *part {
	index := ev.Get("contentBlockIndex").Int()
	p := s.blocks[index]
	if p == nil {
		p = &part{call: -1}
		s.blocks[index] = p
	}
	return p
}

func (s *stream) begin(ev gjson.Result) (*provider.Chunk, error) {
	use := ev.Get("start.toolUse")
	if !use.IsObject() {
		return nil, nil
	}
	s.block(ev).call = s.calls
	o := dialect.CallBegin(s.calls, use.Get("toolUseId").Str, use.Get("name").Str)
	if s.calls == 0 {
		o.Calls[0].Extra = extraOf(s.thoughts)
	}
	s.calls++
	return s.answer.Chunk(o, ""), nil
}

func (s *stream) delta(ev gjson.Result) (*provider.Chunk, error) {
	b := s.block(ev)
	d := ev.Get("delta")
	if text := d.Get("text").Str; text != "" {
		return s.answer.Chunk(dialect.Text(text), ""), nil
	}
	if r := d.Get("reasoningContent"); r.IsObject() {
		return s.think(b, r), nil
	}
	input := d.Get("toolUse.input").Str
	if input == "" {
		return nil, nil
	}
	if b.call < 0 {
		s.skipped++ // of a call that never began
		return nil, nil
	}
	b.arguments = true
	return s.answer.Chunk(dialect.CallArguments(b.call, input), ""), nil
}

// think adds to a thought. The client sees only its text.
func (s *stream) think(b *part, r gjson.Result) *provider.Chunk {
	b.thought.Redacted += r.Get("redactedContent").Str
	text, signature := r.Get("text").Str, r.Get("signature").Str
	if text == "" && signature == "" {
		return nil
	}
	if b.thought.Text == nil {
		b.thought.Text = new(signedText)
	}
	b.thought.Text.Text += text
	b.thought.Text.Signature += signature
	if text == "" {
		return nil
	}
	return s.answer.Chunk(dialect.Reasoning(text), "")
}

func (s *stream) end(ev gjson.Result) (*provider.Chunk, error) {
	b := s.block(ev)
	delete(s.blocks, ev.Get("contentBlockIndex").Int())
	if b.thought.sealed() {
		s.thoughts = append(s.thoughts, b.thought)
	}
	if b.call < 0 || b.arguments {
		return nil, nil
	}
	// Clients parse the arguments, even of a call without any.
	return s.answer.Chunk(dialect.CallArguments(b.call, "{}"), ""), nil
}

func (s *stream) stop(ev gjson.Result) (*provider.Chunk, error) {
	finish, err := finishOf(ev.Get("stopReason").Str, s.calls > 0)
	if err != nil {
		return nil, err
	}
	s.finished = true
	return s.answer.Chunk(dialect.Output{}, finish), nil
}

func (s *stream) count(ev gjson.Result) (*provider.Chunk, error) {
	u := usageOf(ev.Get("usage"))
	if u == nil {
		return nil, nil
	}
	s.counted = s.finished
	return s.answer.UsageChunk(*u), nil
}

// ended returns what the stream ends with when reading fails with err.
func (s *stream) ended(err error) error {
	if errors.Is(err, errFrame) {
		err = provider.BadAnswer(err)
	}
	return upstream.Ended(s.ctx, err, s.finished)
}

// Skipped counts the events that were left out.
func (s *stream) Skipped() int { return s.skipped }

// Close ends the call. After a finished answer the connection is kept for the
// next call.
func (s *stream) Close() error { return upstream.Close(s.body, s.finished) }

// Interface guards
var _ provider.Stream = (*stream)(nil)
