package echo

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"time"
	"unicode"

	"github.com/google/uuid"
	"github.com/tidwall/gjson"

	"github.com/caddy-chat/caddy-chat/modules/provider"
)

// answer is what is said to a request.
type answer struct {
	id      string
	created int64
	model   string
	words   []string // with the white space around them
	finish  string
	usage   usage
}

type usage struct {
	PromptTokens     int `json:"prompt_tokens"`
	CompletionTokens int `json:"completion_tokens"`
	TotalTokens      int `json:"total_tokens"`
}

func newAnswer(req *provider.Request) answer {
	a := answer{
		id:      "chatcmpl-" + uuid.NewString(),
		created: time.Now().Unix(),
		model:   req.Model,
		finish:  "stop",
	}
	var question string
	gjson.GetBytes(req.Body, "messages").ForEach(func(_, m gjson.Result) bool {
		text := provider.TextOf(m.Get("content"))
		a.usage.PromptTokens += len(strings.Fields(text))
		if m.Get("role").Str == "user" {
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
	a.usage.CompletionTokens = len(strings.Fields(strings.Join(a.words, "")))
	a.usage.TotalTokens = a.usage.PromptTokens + a.usage.CompletionTokens
	return a
}

// split cuts text after every word, so that the parts joined are the text:
// each has its word and the white space before it, the last one also what
// comes after.
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

// object is a chat.completion or a chunk of one.
type object struct {
	ID      string   `json:"id"`
	Object  string   `json:"object"`
	Created int64    `json:"created"`
	Model   string   `json:"model"`
	Choices []choice `json:"choices"`
	Usage   *usage   `json:"usage,omitempty"`
}

type choice struct {
	Index        int      `json:"index"`
	Message      *message `json:"message,omitempty"`
	Delta        *message `json:"delta,omitempty"`
	FinishReason *string  `json:"finish_reason"`
}

type message struct {
	Role    string  `json:"role,omitempty"`
	Content *string `json:"content,omitempty"`
}

func (a *answer) completion() ([]byte, error) {
	text := strings.Join(a.words, "")
	return a.marshal("chat.completion", &a.usage, choice{
		Message:      &message{Role: "assistant", Content: &text},
		FinishReason: &a.finish,
	})
}

func (a *answer) chunk(role string, content *string, finish *string) ([]byte, error) {
	return a.marshal("chat.completion.chunk", nil, choice{
		Delta:        &message{Role: role, Content: content},
		FinishReason: finish,
	})
}

func (a *answer) marshal(kind string, u *usage, choices ...choice) ([]byte, error) {
	if choices == nil {
		choices = []choice{}
	}
	b, err := json.Marshal(object{
		ID:      a.id,
		Object:  kind,
		Created: a.created,
		Model:   a.model,
		Choices: choices,
		Usage:   u,
	})
	if err != nil {
		return nil, fmt.Errorf("making the answer: %w", err)
	}
	return b, nil
}

// stream says an answer: a chunk with the role, one for each word, one with
// the finish reason, one with the usage.
type stream struct {
	ctx    context.Context
	req    *provider.Request
	answer answer
	delay  time.Duration
	said   int // chunks so far
}

// Next returns the next chunk, after the delay where it is not the first word.
func (s *stream) Next() (*provider.Chunk, error) {
	if err := context.Cause(s.ctx); err != nil {
		return nil, err
	}
	words := len(s.answer.words)
	var raw []byte
	var err error
	switch n := s.said - 1; {
	case n < 0:
		raw, err = s.answer.chunk("assistant", new(string), nil)
	case n < words:
		if n > 0 {
			err = s.wait()
		}
		if err == nil {
			raw, err = s.answer.chunk("", &s.answer.words[n], nil)
		}
	case n == words:
		raw, err = s.answer.chunk("", nil, &s.answer.finish)
	case n == words+1:
		raw, err = s.answer.marshal("chat.completion.chunk", &s.answer.usage)
	default:
		return nil, io.EOF
	}
	if err != nil {
		return nil, err
	}
	s.said++
	f, _ := provider.ParseChunk(raw)
	return &provider.Chunk{Raw: raw, Facts: f}, nil
}

// wait waits for as long as the delay says, or until the context ends.
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
