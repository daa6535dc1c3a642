package ollama

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"

	"github.com/caddy-chat/caddy-chat/modules/provider"
	"github.com/caddy-chat/caddy-chat/modules/provider/dialect"
	"github.com/caddy-chat/caddy-chat/modules/provider/upstream"
)

// answerStream reads an answer, line by line or all at once.
type answerStream struct {
	ctx     context.Context
	resp    *http.Response
	lines   *lines
	halves  provider.Halves
	answer  *dialect.Answer
	calls   int             // tool calls so far
	usage   *provider.Usage // to be returned next
	skipped int
	begun   bool   // a document was read
	said    bool   // and belonged to an answer
	strange []byte // the lines before it, which together may be one document
	done    bool   // the last document was read
	err     error  // what the stream ended with
}

func newStream(ctx context.Context, resp *http.Response, model string) *answerStream {
	return &answerStream{
		ctx:    ctx,
		resp:   resp,
		lines:  newLines(resp.Body),
		answer: dialect.NewAnswer("", model, nil),
	}
}

// Next returns the next chunk.
func (s *answerStream) Next() (*provider.Chunk, error) {
	if u := s.usage; u != nil {
		s.usage = nil
		return s.answer.UsageChunk(*u), nil
	}
	for s.err == nil {
		p, err := s.part()
		if err != nil {
			s.err = err
			break
		}
		if c := s.chunk(p); c != nil {
			return c, nil
		}
	}
	return nil, s.err
}

// chunk makes a chunk of a document; nil if the document says nothing.
func (s *answerStream) chunk(p *part) *provider.Chunk {
	switch o := p.output; {
	case p.done:
		s.usage = p.usage
		return s.answer.Chunk(o, finishOf(p.finish, s.calls > 0))
	case o.Text == "" && o.Reasoning == "" && len(o.Calls) == 0:
		return nil
	default:
		return s.answer.Chunk(o, "")
	}
}

// whole puts the remaining documents together.
func (s *answerStream) whole() (*provider.Completion, error) {
	var whole dialect.Whole
	for {
		p, err := s.part()
		switch {
		case errors.Is(err, provider.ErrCut):
			return nil, &provider.Error{Reason: provider.ReasonUnavailable, Err: err}
		case err != nil:
			return nil, err
		}
		whole.Add(p.output)
		if p.done {
			return s.answer.Completion(&whole, finishOf(p.finish, s.calls > 0), p.usage), nil
		}
	}
}

// part reads the next valid document. io.EOF only comes after the last one.
func (s *answerStream) part() (*part, error) {
	if s.done {
		return nil, io.EOF
	}
	for {
		line, err := s.lines.next()
		if err != nil {
			return s.ended(err)
		}
		p, ok, err := readPart(s.halves.Join(line))
		if err != nil {
			return nil, err
		}
		if ok {
			s.begun, s.strange = true, nil
			s.said = s.said || p.answers
			return s.take(p), nil
		}
		s.skipped++
		if err := provider.Lost(line, false); err != nil && s.begun {
			return nil, err
		}
		if !s.begun && len(s.strange)+len(line) < upstream.MaxEvent {
			s.strange = append(append(s.strange, line...), '\n')
		}
	}
}

// take counts a document's calls and notes what else it says of the answer.
func (s *answerStream) take(p *part) *part {
	for i := range p.output.Calls {
		p.output.Calls[i].Index = s.calls
		s.calls++
	}
	if p.model != "" {
		s.answer.SetModel(p.model)
	}
	s.done = p.done
	return p
}

// ended returns what the stream ends with when reading fails with err.
func (s *answerStream) ended(err error) (*part, error) {
	switch {
	case s.ctx.Err() != nil || !errors.Is(err, io.EOF):
		return nil, upstream.Ended(s.ctx, err, s.done)
	case s.begun && !s.said:
		return nil, upstream.BadAnswer(s.resp, "not an answer of Ollama's")
	case s.begun || len(s.strange) == 0:
		return nil, provider.ErrCut
	}
	p, ok, err := readPart(s.strange)
	switch {
	case err != nil:
		return nil, err
	case ok && p.done:
		s.skipped = 0
		return s.take(p), nil
	case upstream.KindOf(s.strange) == upstream.KindJSON && !json.Valid(s.strange):
		return nil, provider.ErrCut
	}
	return nil, upstream.BadAnswer(s.resp, "not JSON")
}

// Skipped counts the lines that were left out.
func (s *answerStream) Skipped() int { return s.skipped }

// Close ends the call.
func (s *answerStream) Close() error { return upstream.Close(s.resp.Body, s.done) }

// lines reads the lines that are not empty, whatever their line ends.
type lines struct {
	r   *bufio.Reader
	buf []byte
}

func newLines(r io.Reader) *lines { return &lines{r: bufio.NewReaderSize(r, 8<<10)} }

// next returns the next line as soon as its line end was read, valid until the
// following call. The last line needs no line end. If reading fails, a line
// without one is dropped.
func (l *lines) next() ([]byte, error) {
	l.buf = l.buf[:0]
	for {
		piece, err := l.r.ReadSlice('\n')
		l.buf = append(l.buf, piece...)
		if len(l.buf) > upstream.MaxEvent {
			return nil, provider.TooLong("a line of the answer", upstream.MaxEvent)
		}
		if errors.Is(err, bufio.ErrBufferFull) {
			continue
		}
		line := bytes.TrimSpace(bytes.TrimPrefix(l.buf, []byte("\xef\xbb\xbf")))
		switch {
		case len(line) > 0 && (err == nil || errors.Is(err, io.EOF)):
			return line, nil
		case err != nil:
			return nil, err
		}
		l.buf = l.buf[:0]
	}
}

// Interface guard
var _ provider.Stream = (*answerStream)(nil)
