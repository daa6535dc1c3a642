package anthropic

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"io"
	"net/http"

	"github.com/tidwall/gjson"

	"github.com/caddy-chat/caddy-chat/modules/provider"
	"github.com/caddy-chat/caddy-chat/modules/provider/dialect"
	"github.com/caddy-chat/caddy-chat/modules/provider/native"
	"github.com/caddy-chat/caddy-chat/modules/sse"
)

// stream reads an answer event by event. It also reads a message that came in
// one piece, because the server did not stream or was not asked to.
type stream struct {
	events  *dialect.Events
	answer  *dialect.Answer
	model   string // as the request names it
	names   *dialect.Names
	reply   reply
	pending []piece // from the last event, not yet returned
	halves  provider.Halves
	beside  bool   // chunks have the events that they are made of
	reader  reader // of those
	skipped int
	marked  bool  // Anthropic's end mark was read
	err     error // what the stream ended with
}

// piece is a part of an answer: more of its content, its end, or its usage.
type piece struct {
	output dialect.Output
	finish string
	usage  *provider.Usage

	native []byte // the event that it was made of; nil for none
}

func newStream(ctx context.Context, resp *http.Response, model string, names *dialect.Names) *stream {
	return &stream{
		events: dialect.NewEvents(ctx, resp),
		answer: dialect.NewAnswer("", model, names),
		model:  model,
		names:  names,
	}
}

// Next returns the next chunk.
func (s *stream) Next() (*provider.Chunk, error) {
	p, err := s.next()
	if err != nil {
		return nil, err
	}
	var c *provider.Chunk
	if p.usage != nil {
		c = s.answer.UsageChunk(*p.usage)
	} else {
		c = s.answer.Chunk(p.output, p.finish)
	}
	if p.native != nil {
		c.Raw = native.Beside(c.Raw, p.native)
		c.Event = sse.AppendEvent(nil, "", gjson.GetBytes(p.native, "type").Str, p.native)
		s.heard(c, p.native)
	}
	return c, nil
}

func (s *stream) next() (piece, error) {
	for len(s.pending) == 0 {
		if s.err == nil {
			s.err = s.read()
		}
		if s.err != nil && len(s.pending) == 0 {
			return piece{}, s.err
		}
	}
	p := s.pending[0]
	s.pending = s.pending[1:]
	return p, nil
}

// read reads one event and makes what it says pending, even if it is the last
// one.
func (s *stream) read() error {
	ev, err := s.events.Next()
	if err != nil {
		return s.events.Ended(err, s.reply.finished)
	}
	ev.Data = s.halves.Join(ev.Data)
	valid := json.Valid(ev.Data) && bytes.TrimSpace(ev.Data)[0] == '{'
	if !valid && ev.Type != "error" {
		s.skipped++
		return provider.Lost(ev.Data, s.reply.finished)
	}
	root := gjson.ParseBytes(ev.Data)
	if s.beside && !native.TellsFailure(root) && ev.Type != "error" {
		defer s.attach(len(s.pending), bytes.Clone(bytes.TrimSpace(ev.Data)))
	}
	index := root.Get("index").Int()
	switch typ := root.Get("type").Str; typ {
	case "message_start":
		s.begin(root.Get("message"))
	case "content_block_start":
		s.add(s.reply.open(index, root.Get("content_block")))
	case "content_block_delta":
		s.add(s.reply.more(index, root.Get("delta")))
	case "content_block_stop":
		s.add(s.reply.close(index))
	case "message_delta":
		s.add(s.reply.end(root.Get("delta"), root.Get("usage")))
	case "message_stop":
		return s.stop()
	case "message":
		s.begin(root)
		s.add(s.reply.end(root, root.Get("usage")))
		return s.stop()
	case "", "error":
		return s.failed(ev)
	}
	return nil
}

// heard adds to a chunk's facts what has no place in a chat completion: the work of a
// server's own tools, and the count of the input, with which the message begins.
func (s *stream) heard(c *provider.Chunk, event []byte) {
	var f provider.Facts
	_, _ = s.reader.Read(gjson.ParseBytes(event), &f) // a failure was returned before
	c.Content, c.OutputBytes = c.Content || f.Content, max(c.OutputBytes, f.OutputBytes)
	c.Usage = cmp.Or(c.Usage, f.Usage)
}

// attach adds an event to the first piece that was made of it, or to an empty one.
func (s *stream) attach(from int, event []byte) {
	if len(s.pending) == from {
		if !s.reply.begun {
			return
		}
		s.pending = append(s.pending, piece{})
	}
	s.pending[from].native = event
}

// stop ends the answer at Anthropic's end mark.
func (s *stream) stop() error {
	if !s.reply.begun {
		return s.events.Ended(io.EOF, false)
	}
	s.marked = true
	s.add(s.reply.stop())
	return io.EOF
}

// failed reads an event of an unknown type, which may be an error.
func (s *stream) failed(ev sse.Event) error {
	_, _, _, ok := provider.ErrorOf(ev.Data)
	switch {
	case !ok && ev.Type != "error":
		return nil
	case s.reply.finished:
		return io.EOF
	}
	return provider.NewError(0, ev.Data)
}

func (s *stream) begin(m gjson.Result) {
	if s.reply.begun {
		return // some proxies send it twice
	}
	s.answer = dialect.NewAnswer(m.Get("id").Str, cmp.Or(m.Get("model").Str, s.model), s.names)
	s.add(s.reply.begin(m))
}

func (s *stream) add(pieces []piece) {
	if len(pieces) > 0 {
		s.reply.begun = true
		s.pending = append(s.pending, pieces...)
	}
}

// Skipped counts the events that were left out.
func (s *stream) Skipped() int { return s.skipped }

// Close ends the call.
func (s *stream) Close() error { return s.events.Close(s.marked) }

// Interface guards
var _ provider.Stream = (*stream)(nil)
