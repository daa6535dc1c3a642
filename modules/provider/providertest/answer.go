package providertest

import (
	"context"
	"errors"
	"io"
	"testing"

	"github.com/tidwall/gjson"

	"github.com/caddy-chat/caddy-chat/modules/provider"
)

// Answer is what a provider made of an answer.
type Answer struct {
	Expected
	Counted     *provider.Usage
	OutputBytes int
	Content     bool
	Chunks      int

	// Err is what a stream ended with; nil where that was its honest end.
	Err error
}

// request is a request that every dialect can express.
func request() *provider.Request {
	return &provider.Request{
		Model:   "some-model",
		Body:    []byte(`{"model":"alias","messages":[{"role":"user","content":"hi"}]}`),
		TraceID: "trace-1",
	}
}

// Stream asks p for a stream and reads it to its end.
func Stream(ctx context.Context, t testing.TB, p provider.Provider) Answer {
	t.Helper()
	s, err := p.Stream(ctx, request())
	if err != nil {
		return Answer{Err: err}
	}
	defer s.Close()
	var a Answer
	calls := make(map[int64]int)
	for {
		c, err := s.Next()
		if err != nil {
			if !errors.Is(err, io.EOF) {
				a.Err = err
			}
			if _, again := s.Next(); again == nil {
				t.Errorf("a stream that ended with %v goes on", err)
			}
			return a
		}
		a.add(t, c, calls)
	}
}

func (a *Answer) add(t testing.TB, c *provider.Chunk, calls map[int64]int) {
	t.Helper()
	root := gjson.ParseBytes(c.Raw)
	if !gjson.ValidBytes(c.Raw) || !root.IsObject() {
		t.Errorf("a chunk is no JSON object: %q", c.Raw)
	}
	for _, b := range c.Raw {
		if b == '\n' || b == '\r' {
			t.Errorf("a chunk has more than one line: %q", c.Raw)
			break
		}
	}
	if got := root.Get("object").Str; got != "chat.completion.chunk" {
		t.Errorf("a chunk's object is %q", got)
	}
	if c.Choices != (root.Get("choices.#").Int() > 0) {
		t.Errorf("Choices is %v: %s", c.Choices, c.Raw)
	}
	a.Chunks++
	a.facts(c.Facts)
	for _, choice := range root.Get("choices").Array() {
		delta := choice.Get("delta")
		if content := delta.Get("content"); content.IsArray() {
			t.Errorf("content is still a list: %s", c.Raw)
		}
		a.Reasoning += reasoning(delta)
		a.Refusal += delta.Get("refusal").String()
		for _, call := range delta.Get("tool_calls").Array() {
			if call.Get("index").Type != gjson.Number {
				t.Errorf("a tool call has no index: %s", call.Raw)
			}
			a.call(call, calls)
		}
	}
}

func (a *Answer) facts(f provider.Facts) {
	a.Text += f.Text
	a.OutputBytes += f.OutputBytes
	a.Content = a.Content || f.Content
	if f.FinishReason != "" {
		a.Finish = f.FinishReason
	}
	if f.Usage != nil {
		a.Counted = f.Usage
	}
}

func (a *Answer) call(call gjson.Result, calls map[int64]int) {
	index := call.Get("index").Int()
	i, ok := calls[index]
	if !ok {
		i = len(a.ToolCalls)
		calls[index] = i
		a.ToolCalls = append(a.ToolCalls, ToolCall{})
	}
	c := &a.ToolCalls[i]
	if id := call.Get("id").String(); id != "" {
		c.ID = id
	}
	c.Name += call.Get("function.name").String()
	c.Arguments += call.Get("function.arguments").String()
}

// reasoning is the first spelling that holds something.
func reasoning(message gjson.Result) string {
	for _, name := range [...]string{"reasoning_content", "reasoning", "reasoning_text"} {
		if s := message.Get(name).String(); s != "" {
			return s
		}
	}
	return ""
}

// Complete asks p for a whole answer.
func Complete(ctx context.Context, t testing.TB, p provider.Provider) Answer {
	t.Helper()
	c, err := p.Complete(ctx, request())
	if err != nil {
		return Answer{Err: err}
	}
	if !gjson.ValidBytes(c.Body) {
		t.Errorf("the answer is no JSON: %q", c.Body)
	}
	if got := gjson.GetBytes(c.Body, "object").Str; got != "chat.completion" {
		t.Errorf("the answer's object is %q", got)
	}
	var a Answer
	a.facts(c.Facts)
	message := gjson.GetBytes(c.Body, "choices.0.message")
	a.Reasoning = reasoning(message)
	a.Refusal = message.Get("refusal").String()
	for _, call := range message.Get("tool_calls").Array() {
		a.ToolCalls = append(a.ToolCalls, ToolCall{
			ID:        call.Get("id").String(),
			Name:      call.Get("function.name").String(),
			Arguments: call.Get("function.arguments").String(),
		})
	}
	return a
}
