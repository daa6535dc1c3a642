package openai

import (
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/tidwall/sjson"

	"github.com/caddy-chat/caddy-chat/modules/provider"
)

// beginning is the way to mark an assistant's message, the last one, as the
// beginning of the answer.
type beginning int

const (
	// beginPlain sends just the message.
	beginPlain beginning = iota

	// beginPrefix marks the message as a prefix: Mistral and DeepSeek.
	beginPrefix

	// beginFinal has members beside the messages that ask to continue the last
	// one: vLLM and SGLang.
	beginFinal
)

// Begin returns a request whose body ends with the begun answer, if there is
// one, as the last message. It fails if the answer to such a request cannot be
// continued.
func Begin(preq *provider.Request) (*provider.Request, error) { return begin(preq, beginPlain) }

func begin(preq *provider.Request, how beginning) (*provider.Request, error) {
	if preq.Continue == "" {
		return preq, nil
	}
	if !preq.Continuable() {
		return nil, provider.Unsupported("messages", "an answer to this request cannot be continued")
	}
	e := editor{raw: preq.Body}
	e.set("messages.-1", begunMessage{Role: "assistant", Content: preq.Continue, Prefix: how == beginPrefix})
	if how == beginFinal {
		e.set("continue_final_message", true)
		e.set("add_generation_prompt", false)
	}
	if e.err != nil {
		return nil, fmt.Errorf("editing the request: %w", e.err)
	}
	begun := *preq
	begun.Body = e.raw
	return &begun, nil
}

type begunMessage struct {
	Role    string `json:"role"`
	Content string `json:"content"`
	Prefix  bool   `json:"prefix,omitempty"`
}

// errNoEcho is the failure of a server that should have repeated the begun
// answer before it continues, but answered with something else: its place is
// unknown.
func errNoEcho() error {
	return provider.BadAnswer(errors.New("the answer does not begin with the text it was to continue"))
}

// withoutEcho removes the begun answer, which Mistral repeats, from a whole
// answer.
func withoutEcho(c *provider.Completion, begun string) (*provider.Completion, error) {
	text, ok := strings.CutPrefix(c.Text, begun)
	if !ok {
		return nil, errNoEcho()
	}
	body, err := sjson.SetBytes(c.Body, "choices.0.message.content", text)
	if err != nil {
		return nil, fmt.Errorf("mending the answer: %w", err)
	}
	f, _ := provider.ParseCompletion(body)
	return &provider.Completion{Body: body, Facts: f}, nil
}

// echoed is a stream that repeats the begun answer. It removes that.
type echoed struct {
	provider.Stream
	rest string // what is still to be repeated
	err  error  // what the stream ended with
}

// Next returns the next chunk.
func (s *echoed) Next() (*provider.Chunk, error) {
	if s.err != nil {
		return nil, s.err
	}
	chunk, err := s.Stream.Next()
	switch {
	case err == nil:
		chunk, err = s.strip(chunk)
	case errors.Is(err, io.EOF) && s.rest != "":
		err = errNoEcho()
	}
	s.err = err
	return chunk, err
}

func (s *echoed) strip(chunk *provider.Chunk) (*provider.Chunk, error) {
	if s.rest == "" {
		return chunk, nil
	}
	n := min(len(s.rest), len(chunk.Text))
	if chunk.Text[:n] != s.rest[:n] || n < len(s.rest) && chunk.FinishReason != "" {
		return nil, errNoEcho()
	}
	s.rest = s.rest[n:]
	if n == 0 {
		return chunk, nil
	}
	raw, err := sjson.SetBytes(chunk.Raw, "choices.0.delta.content", chunk.Text[n:])
	if err != nil {
		return nil, fmt.Errorf("mending a chunk: %w", err)
	}
	f, _ := provider.ParseChunk(raw)
	return &provider.Chunk{Raw: raw, Facts: f}, nil
}
