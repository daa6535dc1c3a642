package openai

import (
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/tidwall/sjson"

	"github.com/caddy-chat/caddy-chat/modules/provider"
)

// beginning is how a server is asked to continue the last message, the
// assistant's.
type beginning int

const (
	// beginPlain sends just the message.
	beginPlain beginning = iota

	// beginPrefix marks the message as a prefix: Mistral and DeepSeek.
	beginPrefix

	// beginFinal asks with members of the request: vLLM and SGLang.
	beginFinal
)

// Begin returns a request with preq.Continue, if there is one, as its last message.
// It fails if an answer to the request cannot be continued.
func Begin(preq *provider.Request) (*provider.Request, error) { return begin(preq, beginPlain) }

func begin(preq *provider.Request, how beginning) (*provider.Request, error) {
	if preq.Continue == "" {
		return preq, nil
	}
	if !preq.Continuable() {
		return nil, provider.Unsupported("messages", "an answer to this request cannot be continued")
	}
	body, err := sjson.SetBytes(preq.Body, "messages.-1", begunMessage{Role: "assistant", Content: preq.Continue, Prefix: how == beginPrefix})
	if err == nil && how == beginFinal {
		body, err = sjson.SetBytes(body, "continue_final_message", true)
		if err == nil {
			body, err = sjson.SetBytes(body, "add_generation_prompt", false)
		}
	}
	if err != nil {
		return nil, fmt.Errorf("editing the request: %w", err)
	}
	return preq.With(body), nil
}

type begunMessage struct {
	Role    string `json:"role"`
	Content string `json:"content"`
	Prefix  bool   `json:"prefix,omitempty"`
}

// errNoEcho returns the failure of a server that should have repeated the begun
// answer before it continues, but did not: where it continues is unknown.
func errNoEcho() error {
	return provider.BadAnswer(errors.New("the answer does not begin with the text it was to continue"))
}

// withoutEcho returns a whole answer without the begun answer, which Mistral
// repeats.
func withoutEcho(c *provider.Completion, begun string) (*provider.Completion, error) {
	text, ok := strings.CutPrefix(c.Text, begun)
	if !ok {
		return nil, errNoEcho()
	}
	body, err := sjson.SetBytes(c.Body, "choices.0.message.content", text)
	if err != nil {
		return nil, fmt.Errorf("editing the answer: %w", err)
	}
	f, _ := provider.ParseCompletion(body)
	return &provider.Completion{Body: body, Facts: f}, nil
}

// echoed removes the begun answer from a stream that repeats it.
type echoed struct {
	provider.Stream
	rest string // not repeated yet
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
		return nil, fmt.Errorf("editing a chunk: %w", err)
	}
	f, _ := provider.ParseChunk(raw)
	return &provider.Chunk{Raw: raw, Facts: f}, nil
}
