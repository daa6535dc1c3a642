package openai

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"

	"github.com/caddy-chat/caddy-chat/modules/provider"
	"github.com/caddy-chat/caddy-chat/modules/provider/upstream"
	"github.com/caddy-chat/caddy-chat/modules/sse"
)

// stream reads an answer chunk by chunk.
type stream struct {
	ctx     context.Context
	preq    *provider.Request // nil if it did not ask for a stream
	body    io.ReadCloser
	dec     *sse.Decoder // nil until the first bytes show what the body is
	mend    mender
	halves  provider.Halves
	scan    provider.Scanner
	regular provider.Chunk // the last regular chunk
	skipped int
	judge   provider.Judge
	marked  bool  // [DONE] was seen
	err     error // what the stream ended with
}

// newStream returns a stream that reads events from body.
func newStream(ctx context.Context, body io.ReadCloser) *stream {
	return &stream{ctx: ctx, body: body, dec: sse.NewDecoder(body, upstream.MaxEvent)}
}

// openStream returns the stream of a response. It does not read from an event
// stream yet, whose first event may take long, but it looks at any other body.
func openStream(ctx context.Context, resp *http.Response, preq *provider.Request) (provider.Stream, error) {
	if sse.IsStream(resp.Header) {
		return &stream{ctx: ctx, preq: preq, body: resp.Body}, nil
	}
	begin, rest, err := upstream.Peek(resp.Body)
	if err != nil {
		return nil, upstream.Failure(ctx, fmt.Errorf("reading the answer: %w", err))
	}
	s := &stream{ctx: ctx, preq: preq, body: resp.Body}
	switch upstream.KindOf(begin) {
	case upstream.KindSSE:
		s.dec = sse.NewDecoder(rest, upstream.MaxEvent)
		return s, nil
	case upstream.KindJSON:
		chunk, err := s.whole(rest)
		if err != nil {
			return nil, err
		}
		resp.Body.Close()
		return &oneChunk{chunk: chunk}, nil
	}
	return nil, upstream.BadAnswer(resp, "not an event stream")
}

// Next returns the next chunk.
func (s *stream) Next() (*provider.Chunk, error) {
	if s.err != nil {
		return nil, s.err
	}
	chunk, err := s.next()
	if err != nil {
		s.err = err
		return nil, blame(err, s.preq)
	}
	return chunk, nil
}

func (s *stream) next() (*provider.Chunk, error) {
	if s.dec == nil {
		begin, rest, err := upstream.Peek(s.body)
		if err != nil {
			return nil, s.ended(err)
		}
		switch upstream.KindOf(begin) {
		case upstream.KindJSON:
			chunk, err := s.whole(rest)
			s.err = io.EOF
			return chunk, err
		case upstream.KindOther:
			return nil, upstream.NoStream()
		}
		s.dec = sse.NewDecoder(rest, upstream.MaxEvent)
	}
	for {
		ev, err := s.dec.Next()
		if err != nil {
			return nil, s.ended(err)
		}
		data := bytes.TrimSpace(ev.Data)
		switch {
		case len(data) == 0:
			continue
		case string(data) == provider.EndMark:
			s.marked = true
			return s.last()
		}
		if chunk := s.asItCame(ev.Type, data); chunk != nil {
			return chunk, nil
		}
		chunk, err := s.chunk(ev.Type, data)
		switch {
		case err != nil:
			return nil, err
		case chunk == nil:
			s.skipped++
		case len(chunk.Raw) > 0:
			return chunk, nil
		}
	}
}

// last returns a chunk with the finish reasons that are missing at [DONE], or
// io.EOF if none is. An answer that says nothing is given none.
func (s *stream) last() (*provider.Chunk, error) {
	if err := s.judge.End(); err != nil {
		return nil, err
	}
	raw := s.mend.close()
	if raw == nil {
		return nil, io.EOF
	}
	s.err = io.EOF
	raw = s.halves.Join(raw)
	f, _ := provider.ParseChunk(raw)
	return &provider.Chunk{Raw: raw, Facts: f}, nil
}

// asItCame returns a regular chunk, or nil for any other event. Its JSON is
// unchanged except that a "usage":null is cut out.
func (s *stream) asItCame(event string, data []byte) *provider.Chunk {
	if event == "error" || s.halves.Open() || s.mend.begun() && !s.mend.midway() {
		return nil
	}
	c, ok := s.scan.Scan(data)
	if !ok || !s.mend.takes(&c, data) {
		return nil
	}
	_ = s.judge.Hear(&c.Facts)                             // a regular chunk reports no failure
	data = append(data[:c.UsageFrom], data[c.UsageTo:]...) // the event's bytes may be changed
	s.regular = provider.Chunk{Raw: data, Facts: c.Facts, Regular: c.FinishReason == "", Plain: c.Plain}
	return &s.regular
}

// chunk returns the chunk of an event. It returns nil for data that is not a
// chunk, and a chunk without Raw for one that clients must not see.
func (s *stream) chunk(event string, data []byte) (*provider.Chunk, error) {
	data = s.halves.Join(data)
	if event == "error" || mayBeError(data) {
		if _, _, _, ok := provider.ErrorOf(data); ok || event == "error" {
			if s.mend.finished() {
				return nil, io.EOF
			}
			return nil, provider.NewError(0, data)
		}
	}
	f, ok := provider.ParseChunk(data)
	if !ok {
		return nil, provider.Lost(data, s.mend.finished())
	}
	if f.Choices > 0 && s.mend.over(data) {
		// Choices after their finish reason do not belong to the answer. Clients
		// would append their text, or overwrite the finish reason.
		if f.Usage == nil {
			return new(provider.Chunk), nil
		}
		e := newEditor(data)
		e.setRaw(e.root, "choices", "[]")
		data, f = e.bytes(), provider.Facts{Model: f.Model, Usage: f.Usage}
	}
	if isPreface(data, f) {
		return new(provider.Chunk), nil
	}
	if err := s.judge.Hear(&f); err != nil {
		return nil, err
	}
	raw, ok := s.mend.chunk(data)
	if !ok {
		return nil, nil
	}
	return &provider.Chunk{Raw: raw, Facts: f}, nil
}

// whole reads the body of a server that did not stream, and returns it as one
// chunk, or the error in it.
func (s *stream) whole(r io.Reader) (*provider.Chunk, error) {
	body, err := upstream.ReadAll(s.ctx, r)
	if err != nil {
		return nil, err
	}
	c, err := completion(body)
	if err != nil {
		return nil, err
	}
	raw, _ := s.mend.chunk(asChunk(c.Body))
	return &provider.Chunk{Raw: raw, Facts: c.Facts}, nil
}

// ended returns the error of the stream when reading fails with err.
func (s *stream) ended(err error) error { return upstream.Ended(s.ctx, err, s.mend.finished()) }

// Skipped returns how many events were left out.
func (s *stream) Skipped() int { return s.skipped }

// Close ends the call.
func (s *stream) Close() error {
	return upstream.Close(s.body, s.marked)
}

// oneChunk is the stream of a server that did not stream.
type oneChunk struct {
	chunk *provider.Chunk
}

func (s *oneChunk) Next() (*provider.Chunk, error) {
	if s.chunk == nil {
		return nil, io.EOF
	}
	chunk := s.chunk
	s.chunk = nil
	return chunk, nil
}

func (s *oneChunk) Skipped() int { return 0 }

func (s *oneChunk) Close() error { return nil }

// Interface guards
var (
	_ provider.Stream = (*stream)(nil)
	_ provider.Stream = (*oneChunk)(nil)
)
