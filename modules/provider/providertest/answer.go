package providertest

import (
	"bytes"
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
	Model       string // that answered
	Skipped     int    // events that were left out

	// Err is what a stream ended with; nil for its honest end.
	Err error
}

// reading is an answer that is being read.
type reading struct {
	Answer
	id       string
	calls    map[int64]int // the place in ToolCalls of each index
	finished map[int64]bool
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
	return streamOf(ctx, t, p, request())
}

func streamOf(ctx context.Context, t testing.TB, p provider.Provider, req *provider.Request) Answer {
	t.Helper()
	s, err := p.Stream(ctx, req)
	if err != nil {
		return Answer{Err: err}
	}
	defer s.Close()
	r := reading{calls: make(map[int64]int), finished: make(map[int64]bool)}
	for {
		c, err := s.Next()
		if err == nil {
			r.add(t, c)
			continue
		}
		if !errors.Is(err, io.EOF) {
			r.Err = err
		}
		r.Skipped = s.Skipped()
		if _, again := s.Next(); again == nil {
			t.Errorf("a stream that ended with %v goes on", err)
		}
		return r.Answer
	}
}

func (r *reading) add(t testing.TB, c *provider.Chunk) {
	t.Helper()
	root := gjson.ParseBytes(c.Raw)
	if !gjson.ValidBytes(c.Raw) || !root.IsObject() {
		t.Errorf("a chunk is not a JSON object: %q", c.Raw)
	}
	if bytes.ContainsAny(c.Raw, "\r\n") {
		t.Errorf("a chunk has more than one line: %q", c.Raw)
	}
	if got := root.Get("object").Str; got != "chat.completion.chunk" {
		t.Errorf("a chunk's object is %q", got)
	}
	if c.Choices != int(root.Get("choices.#").Int()) {
		t.Errorf("Choices is %d: %s", c.Choices, c.Raw)
	}
	if r.Chunks == 0 {
		r.id = root.Get("id").Str
	}
	if id := root.Get("id").Str; id == "" || id != r.id {
		t.Errorf("a chunk of %q has the id %q", r.id, id)
	}
	r.Chunks++
	r.facts(c.Facts)
	for _, choice := range root.Get("choices").Array() {
		r.choice(t, choice)
	}
}

func (r *reading) choice(t testing.TB, choice gjson.Result) {
	t.Helper()
	index, delta := choice.Get("index").Int(), choice.Get("delta")
	finished, begun := r.finished[index]
	if !begun && delta.Get("role").Str != "assistant" {
		t.Errorf("an answer begins without a role: %s", choice.Raw)
	}
	finishes := choice.Get("finish_reason").Type == gjson.String
	if finished && finishes {
		t.Errorf("an answer finishes twice: %s", choice.Raw)
	}
	r.finished[index] = finished || finishes
	if content := delta.Get("content"); content.IsArray() {
		t.Errorf("content is still a list: %s", choice.Raw)
	}
	r.Reasoning += reasoning(delta)
	r.Refusal += delta.Get("refusal").String()
	for _, call := range delta.Get("tool_calls").Array() {
		if call.Get("index").Type != gjson.Number {
			t.Errorf("a tool call has no index: %s", call.Raw)
		}
		r.call(t, call)
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
	if f.Model != "" {
		a.Model = f.Model
	}
}

func (r *reading) call(t testing.TB, call gjson.Result) {
	t.Helper()
	index := call.Get("index").Int()
	i, ok := r.calls[index]
	if !ok {
		i = len(r.ToolCalls)
		r.calls[index] = i
		r.ToolCalls = append(r.ToolCalls, ToolCall{})
		if int(index) != i || call.Get("type").Str != "function" {
			t.Errorf("call %d begins with %s", i, call.Raw)
		}
	}
	c := &r.ToolCalls[i]
	if id := call.Get("id").String(); id != "" {
		c.ID = id
	}
	c.Name += call.Get("function.name").String()
	c.Arguments += call.Get("function.arguments").String()
}

// reasoning returns the first spelling that holds something.
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
	return completionOf(ctx, t, p, request())
}

func completionOf(ctx context.Context, t testing.TB, p provider.Provider, req *provider.Request) Answer {
	t.Helper()
	c, err := p.Complete(ctx, req)
	if err != nil {
		return Answer{Err: err}
	}
	if !gjson.ValidBytes(c.Body) {
		t.Errorf("the answer is not JSON: %q", c.Body)
	}
	if got := gjson.GetBytes(c.Body, "object").Str; got != "chat.completion" {
		t.Errorf("the answer's object is %q", got)
	}
	if gjson.GetBytes(c.Body, "id").Str == "" {
		t.Errorf("the answer has no id: %s", c.Body)
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
