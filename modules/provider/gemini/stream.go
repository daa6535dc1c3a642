package gemini

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"strings"

	"github.com/tidwall/gjson"

	"github.com/caddy-chat/caddy-chat/modules/provider"
	"github.com/caddy-chat/caddy-chat/modules/provider/dialect"
)

// stream turns an answer's documents into chunks. Gemini has no end mark: an
// answer is complete once its finish reason was read.
type stream struct {
	events  *dialect.Events
	answer  answer
	chunks  *dialect.Answer // nil until the first document, which has the answer's id
	model   string
	names   *dialect.Names
	ready   []dialect.Output
	halves  provider.Halves
	skipped int
	err     error // what the stream ended with

	finished bool           // the finish reason was returned
	told     provider.Usage // what was returned last
}

// newStream begins to read a model's answer.
func newStream(ctx context.Context, resp *http.Response, model string, names *dialect.Names) *stream {
	return &stream{events: dialect.NewEvents(ctx, resp), model: modelID(model), names: names}
}

// Next returns the next chunk.
func (s *stream) Next() (*provider.Chunk, error) {
	for {
		if chunk := s.chunk(); chunk != nil {
			return chunk, nil
		}
		if s.err != nil {
			return nil, s.err
		}
		s.err = s.read()
	}
}

// chunk makes a chunk of what was read; nil if nothing is left. The finish
// reason comes after all content, and the usage after that.
func (s *stream) chunk() *provider.Chunk {
	if len(s.ready) > 0 {
		o := s.ready[0]
		s.ready = s.ready[1:]
		return s.chunks.Chunk(o, "")
	}
	if s.answer.finish == "" {
		return nil
	}
	if !s.finished {
		s.finished = true
		return s.chunks.Chunk(dialect.Output{}, s.answer.finish)
	}
	if u := s.answer.usage; u != nil && *u != s.told {
		s.told = *u
		return s.chunks.UsageChunk(*u)
	}
	return nil
}

// read reads the next event. Its error is what the stream ends with.
func (s *stream) read() error {
	ev, err := s.events.Next()
	if err != nil {
		return s.ended(err)
	}
	ev.Data = s.halves.Join(ev.Data)
	if !json.Valid(ev.Data) {
		s.skipped++
		return provider.Lost(ev.Data, s.answer.finish != "")
	}
	docs := []gjson.Result{gjson.ParseBytes(ev.Data)}
	if docs[0].IsArray() {
		// Gemini streams like this if events were not asked for.
		docs = docs[0].Array()
	}
	for _, doc := range docs {
		if err := s.document(doc, ev.Type == "error"); err != nil {
			return s.ended(err)
		}
	}
	return nil
}

func (s *stream) document(doc gjson.Result, isError bool) error {
	if !doc.IsObject() {
		s.skipped++
		return nil
	}
	if !doc.Get("candidates").Exists() || doc.Get("error").Exists() {
		if _, _, _, ok := provider.ErrorOf([]byte(doc.Raw)); ok || isError {
			return provider.NewError(0, []byte(doc.Raw))
		}
	}
	if s.chunks == nil {
		s.chunks = dialect.NewAnswer(strings.Clone(doc.Get("responseId").Str), s.model, s.names)
	}
	if model := doc.Get("modelVersion").Str; model != "" {
		s.chunks.SetModel(strings.Clone(model))
	}
	outputs, err := s.answer.read(doc)
	s.ready = append(s.ready, outputs...)
	return err
}

func (s *stream) ended(err error) error { return s.events.Ended(err, s.answer.finish != "") }

// Skipped counts the events that were left out.
func (s *stream) Skipped() int { return s.skipped }

// Close ends the call.
func (s *stream) Close() error { return s.events.Close(s.answer.finish != "") }

// assemble puts a whole answer together.
func assemble(s *stream) (*provider.Completion, error) {
	var whole dialect.Whole
	for {
		err := s.read()
		for _, o := range s.ready {
			whole.Add(o)
		}
		s.ready = nil
		switch {
		case errors.Is(err, io.EOF):
			return s.chunks.Completion(&whole, s.answer.finish, s.answer.usage), nil
		case errors.Is(err, provider.ErrCut):
			return nil, provider.BadAnswer(errors.New("the answer has no end"))
		case err != nil:
			return nil, err
		}
	}
}

var _ provider.Stream = (*stream)(nil) // interface guard
