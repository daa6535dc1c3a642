package echo

import (
	"context"
	"io"
	"strings"
	"time"
	"unicode"

	"github.com/tidwall/gjson"

	"github.com/caddy-chat/caddy-chat/modules/provider"
	"github.com/caddy-chat/caddy-chat/modules/provider/dialect"
)

// answer is the reply to a request.
type answer struct {
	words  []string // with the white space around them
	finish string
	usage  provider.Usage
}

func newAnswer(req *provider.Request) answer {
	a := answer{finish: "stop"}
	var question string
	gjson.GetBytes(req.Body, "messages").ForEach(func(_, m gjson.Result) bool {
		text := provider.TextOf(m.Get("content"))
		a.usage.Input += countWords(text)
		if m.Get("role").Str == dialect.RoleUser {
			question = text
		}
		return true
	})
	a.words = split(question)
	for _, name := range [...]string{"max_tokens", "max_completion_tokens"} {
		limit := gjson.GetBytes(req.Body, name).Int()
		if limit > 0 && int64(len(a.words)) > limit {
			a.words = a.words[:limit]
			a.finish = "length"
		}
	}
	a.usage.Output = countWords(a.text())
	return a
}

func (a *answer) text() string { return strings.Join(a.words, "") }

func countWords(text string) int64 { return int64(len(strings.Fields(text))) }

// split cuts text after every word. The parts joined are the text: each holds
// its word and the white space before it, and the last one also the white space
// at the end.
func split(text string) []string {
	var words []string
	for text != "" {
		begin := strings.IndexFunc(text, func(r rune) bool { return !unicode.IsSpace(r) })
		if begin < 0 {
			break
		}
		end := strings.IndexFunc(text[begin:], unicode.IsSpace)
		if end < 0 {
			return append(words, text)
		}
		words = append(words, text[:begin+end])
		text = text[begin+end:]
	}
	switch {
	case text == "":
	case len(words) == 0:
		words = append(words, text)
	default:
		words[len(words)-1] += text
	}
	return words
}

// stream sends an answer: a chunk with the role, one for each word, one with
// the finish reason and one with the usage.
type stream struct {
	ctx    context.Context
	req    *provider.Request
	answer answer
	chunks *dialect.Answer
	delay  time.Duration
	said   int // chunks so far
}

// Next returns the next chunk. Every word but the first comes after the delay.
func (s *stream) Next() (*provider.Chunk, error) {
	if err := context.Cause(s.ctx); err != nil {
		return nil, err
	}
	word, words := s.said-1, len(s.answer.words)
	if 0 < word && word < words {
		if err := s.wait(); err != nil {
			return nil, err
		}
	}
	s.said++
	switch {
	case word < 0:
		return s.chunks.Chunk(dialect.Output{}, ""), nil
	case word < words:
		return s.chunks.Chunk(dialect.Text(s.answer.words[word]), ""), nil
	case word == words:
		return s.chunks.Chunk(dialect.Output{}, s.answer.finish), nil
	case word == words+1:
		return s.chunks.UsageChunk(s.answer.usage), nil
	}
	return nil, io.EOF
}

// wait waits until the delay is over or the context ends.
func (s *stream) wait() error {
	if s.delay <= 0 {
		return nil
	}
	if s.req.BeforeRead != nil {
		s.req.BeforeRead()
	}
	timer := time.NewTimer(s.delay)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-s.ctx.Done():
		return context.Cause(s.ctx)
	}
}

func (s *stream) Skipped() int { return 0 }

func (s *stream) Close() error { return nil }

// Interface guard
var _ provider.Stream = (*stream)(nil)
