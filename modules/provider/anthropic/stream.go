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
	skipped int
	marked  bool  // Anthropic's end mark was read
	err     error // what the stream ended with
}

// piece is a part of an answer: more of its content, its end, or its usage.
type piece struct {
	output dialect.Output
	finish string
	usage  *provider.Usage
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
	if p.usage != nil {
		return s.answer.UsageChunk(*p.usage), nil
	}
	return s.answer.Chunk(p.output, p.finish), nil
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
