// Package native passes answers on in the API that the client has asked, byte for
// byte. What the gateway needs to know of them is read on the side.
package native

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"net/http"
	"strings"

	"github.com/tidwall/gjson"

	"github.com/caddy-chat/caddy-chat/modules/provider"
	"github.com/caddy-chat/caddy-chat/modules/provider/dialect"
	"github.com/caddy-chat/caddy-chat/modules/provider/upstream"
)

// Reader reads the facts of an answer's events, in the order in which they come.
type Reader interface {
	// Plain reads the text of an event in the API's most common shape. It returns false
	// for any other event, also for one that may not be valid JSON. It saves Read the
	// parsing of nearly all events.
	Plain(data []byte, f *provider.Facts) bool

	// Read reads an event into f, which is empty. last says that the answer ends
	// with this event. After an error, which is what the event reports, there is
	// nothing more to read.
	Read(event gjson.Result, f *provider.Facts) (last bool, err error)

	// Finished reports whether the answer is complete.
	Finished() bool
}

// ReadDocument reads the facts of an answer that is one document.
type ReadDocument func(document gjson.Result, f *provider.Facts) error

// stream passes on a stream.
type stream struct {
	events  *dialect.Events
	reader  Reader
	whole   ReadDocument // nil where only a stream is an answer
	chunk   provider.Chunk
	halves  provider.Halves
	skipped int
	marked  bool  // the last event was read
	err     error // what the stream ends with
}

// NewStream returns the stream of an answer. Nothing of it may have been read yet. read reads
// a document, which will do as well if one is assembled of the stream.
func NewStream(ctx context.Context, resp *http.Response, r Reader, preq *provider.Request, read ReadDocument) provider.Stream {
	s := &stream{events: dialect.NewEvents(ctx, resp), reader: r}
	if preq.Assembled {
		s.whole = read
	}
	s.events.KeepRaw()
	return s
}

// Next returns an event as a chunk.
func (s *stream) Next() (*provider.Chunk, error) {
	for s.err == nil {
		passed, err := s.read()
		s.err = err
		if passed {
			return &s.chunk, nil
		}
	}
	return nil, s.err
}

// read reads one event into the chunk. passed says that the client gets it.
func (s *stream) read() (passed bool, err error) {
	ev, err := s.events.Next()
	if err != nil {
		return false, s.events.Ended(err, s.reader.Finished())
	}
	s.chunk = provider.Chunk{Native: ev.Raw}
	failed := strings.HasSuffix(ev.Type, "error") // Anthropic's errors may be named by their type
	if len(ev.Raw) > 0 && !failed && !s.halves.Open() && s.reader.Plain(ev.Data, &s.chunk.Facts) {
		s.chunk.Plain = true
		return true, nil
	}
	data := s.halves.Join(ev.Data)
	if !json.Valid(data) || bytes.TrimSpace(data)[0] != '{' {
		if failed {
			return false, s.failure(data)
		}
		s.skipped++
		return false, provider.Lost(data, s.reader.Finished())
	}
	if len(ev.Raw) == 0 {
		return s.document(data)
	}
	event := gjson.ParseBytes(data)
	if failed || TellsFailure(event) {
		return false, s.failure(data)
	}
	last, err := s.reader.Read(event, &s.chunk.Facts)
	switch {
	case err != nil && s.reader.Finished():
		return false, io.EOF
	case err != nil:
		return false, err
	case last:
		s.marked = true
		return true, io.EOF
	}
	return true, nil
}

// TellsFailure reports whether an event says that the answer has failed, whatever its type:
// what it says is for the log, and not for the client.
func TellsFailure(event gjson.Result) bool {
	e := event.Get("error")
	return e.Exists() && e.Type != gjson.Null || strings.HasSuffix(event.Get("type").Str, "error")
}

// failure returns the failure that an event reports. It cannot undo an answer that is
// complete.
func (s *stream) failure(event []byte) error {
	if s.reader.Finished() {
		return io.EOF
	}
	return provider.NewError(0, event)
}

// document reads the answer of a server that has sent a document in place of a stream: the
// only chunk, or a failure.
func (s *stream) document(body []byte) (passed bool, err error) {
	if s.whole != nil {
		s.chunk.Native, s.chunk.Document = body, true
		if err := s.whole(gjson.ParseBytes(body), &s.chunk.Facts); err != nil {
			return false, err
		}
		return true, io.EOF
	}
	if _, _, _, ok := provider.ErrorOf(body); ok {
		return false, provider.NewError(0, body)
	}
	return false, upstream.NoStream()
}

// Skipped counts the events that were left out because they were not JSON.
func (s *stream) Skipped() int { return s.skipped }

// Close ends the call.
func (s *stream) Close() error { return s.events.Close(s.marked) }

// Complete returns the answer in a response that is one document.
func Complete(ctx context.Context, resp *http.Response, read ReadDocument) (*provider.Completion, error) {
	body, err := upstream.ReadAll(ctx, resp.Body)
	if err != nil {
		return nil, err
	}
	if upstream.KindOf(body) != upstream.KindJSON || !json.Valid(body) {
		return nil, upstream.BadAnswer(resp, "not a JSON document")
	}
	c := &provider.Completion{Native: body}
	if err := read(gjson.ParseBytes(body), &c.Facts); err != nil {
		return nil, err
	}
	return c, nil
}

// Interface guard
var _ provider.Stream = (*stream)(nil)
