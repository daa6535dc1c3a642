package harness

import (
	"errors"
	"io"
	"maps"
	"net/http"
	"slices"
	"testing"
	"time"

	"github.com/tidwall/gjson"

	"github.com/caddy-chat/caddy-chat/modules/provider"
	"github.com/caddy-chat/caddy-chat/modules/provider/providertest"
	"github.com/caddy-chat/caddy-chat/modules/sse"
)

// TimeUp returns a channel that fires when a test has waited long enough.
func TimeUp(t testing.TB) <-chan time.Time {
	timer := time.NewTimer(Patience)
	t.Cleanup(func() { timer.Stop() })
	return timer.C
}

// Question is a chat completions request.
type Question struct {
	Model         string         `json:"model,omitempty"`
	Messages      []Message      `json:"messages"`
	Stream        bool           `json:"stream,omitempty"`
	StreamOptions map[string]any `json:"stream_options,omitempty"`
}

// Message is a message of a Question.
type Message struct {
	Role    string `json:"role"`
	Content string `json:"content"`
}

// NewQuestion asks a model for an answer to "hi".
func NewQuestion(model string) Question {
	return Question{Model: model, Messages: []Message{{"user", "hi"}}}
}

func (q Question) Streamed() Question {
	q.Stream = true
	return q
}

func (q Question) WithUsage() Question {
	q.StreamOptions = map[string]any{"include_usage": true}
	return q.Streamed()
}

// CompletionsPath is the path for chat completions.
const CompletionsPath = "/v1/chat/completions"

// Completion is an answer as an OpenAI client reads it.
type Completion struct {
	Status int
	Header http.Header
	Frames []string
	providertest.Answer
	Usage gjson.Result // as received
	Code  string       // of the error, if any
	Error string       // its message
	Done  bool         // a stream ended with its end mark
	Calls map[int64]*providertest.ToolCall
}

// Complete asks for a completion and reads the whole answer, as an OpenAI
// client does.
func (c *Client) Complete(q any, header ...string) Completion {
	c.T.Helper()
	return ReadCompletion(c.T, c.Do(http.MethodPost, CompletionsPath, q, header...))
}

// ReadCompletion reads an answer to its end.
func ReadCompletion(t testing.TB, resp *http.Response) Completion {
	t.Helper()
	a := Completion{Status: resp.StatusCode, Header: resp.Header}
	if resp.Header.Get("Content-Type") != "text/event-stream" {
		a.document(t, ReadAll(t, resp))
		return a
	}
	defer resp.Body.Close()
	dec := sse.NewDecoder(resp.Body, 0)
	for {
		ev, err := dec.Next()
		if err != nil {
			if !errors.Is(err, io.EOF) {
				t.Errorf("reading the stream: %v", err)
			}
			return a
		}
		a.frame(t, string(ev.Data))
	}
}

// frame adds one event of a stream.
func (a *Completion) frame(t testing.TB, data string) {
	t.Helper()
	if a.Done || a.Err != nil {
		t.Errorf("after the end came %s", data)
	}
	a.Frames = append(a.Frames, data)
	if data == "[DONE]" {
		a.Done = true
		return
	}
	root := gjson.Parse(data)
	if root.Get("error").Exists() {
		a.fail(root)
		return
	}
	if !gjson.Valid(data) || root.Get("object").Str != "chat.completion.chunk" || !root.Get("choices").IsArray() {
		t.Errorf("not a chunk: %s", data)
	}
	a.take(t, root, "delta")
}

// document reads an answer that is not streamed.
func (a *Completion) document(t testing.TB, body string) {
	t.Helper()
	a.Frames = append(a.Frames, body)
	root := gjson.Parse(body)
	if root.Get("error").Exists() {
		a.fail(root)
		return
	}
	if !gjson.Valid(body) || root.Get("object").Str != "chat.completion" {
		t.Errorf("not a completion: %s", body)
	}
	a.take(t, root, "message")
}

func (a *Completion) fail(root gjson.Result) {
	a.Code, a.Error = root.Get("error.code").Str, root.Get("error.message").Str
	a.Err = &provider.Error{Message: a.Error}
}

// take adds to the first choice: it appends text, and tells tool calls apart by
// their index.
func (a *Completion) take(t testing.TB, root gjson.Result, where string) {
	t.Helper()
	parse := provider.ParseChunk
	if where == "message" {
		parse = provider.ParseCompletion
	}
	facts, _ := parse([]byte(root.Raw))
	a.OutputBytes += facts.OutputBytes
	a.Content = a.Content || facts.Content
	if u := root.Get("usage"); u.IsObject() {
		a.Usage = u
		if !u.Get("estimated").Bool() {
			a.Counted = facts.Usage
		}
	}
	choice := root.Get("choices.0")
	message := choice.Get(where)
	for name, to := range map[string]*string{"content": &a.Text, "refusal": &a.Refusal} {
		switch v := message.Get(name); v.Type {
		case gjson.String:
			*to += v.Str
		case gjson.Null:
		default:
			t.Errorf("%s is not a string: %s", name, message.Raw)
		}
	}
	for _, name := range []string{"reasoning_content", "reasoning", "reasoning_text"} {
		if s := message.Get(name).String(); s != "" {
			a.Reasoning += s
			break
		}
	}
	if reason := choice.Get("finish_reason").String(); reason != "" {
		a.Finish = reason
	}
	for i, call := range message.Get("tool_calls").Array() {
		index := call.Get("index")
		if where == "delta" && index.Type != gjson.Number {
			t.Errorf("a tool call has no index: %s", call.Raw)
		}
		if where == "message" {
			index.Num = float64(i)
		}
		a.call(int64(index.Num), call)
	}
}

func (a *Completion) call(index int64, call gjson.Result) {
	if a.Calls == nil {
		a.Calls = make(map[int64]*providertest.ToolCall)
	}
	c := a.Calls[index]
	if c == nil {
		c = new(providertest.ToolCall)
		a.Calls[index] = c
	}
	if id := call.Get("id").Str; id != "" {
		c.ID = id
	}
	c.Name += call.Get("function.name").Str
	c.Arguments += call.Get("function.arguments").Str
}

// Recorded returns the answer in the form of recordings, which count a refusal
// as text.
func (a *Completion) Recorded() providertest.Answer {
	out := a.Answer
	out.Text += out.Refusal
	for _, index := range slices.Sorted(maps.Keys(a.Calls)) {
		out.ToolCalls = append(out.ToolCalls, *a.Calls[index])
	}
	if out.Err == nil && a.Header.Get("Content-Type") == "text/event-stream" && !a.Done {
		out.Err = provider.ErrCut
	}
	return out
}

// WantRefused checks that an answer is an error with that status and code.
func (a *Completion) WantRefused(t testing.TB, status int, code string) {
	t.Helper()
	if a.Status != status || a.Code != code {
		t.Errorf("got %d %s (%s), want %d %s", a.Status, a.Code, a.Error, status, code)
	}
}

// WantCut checks that a stream ended with an error frame and nothing after it.
func (a *Completion) WantCut(t testing.TB, text, code string) {
	t.Helper()
	if a.Status != http.StatusOK || a.Text != text || a.Code != code || a.Done {
		t.Errorf("status %d, text %q, error %q, end mark %v; want text %q and the error %s alone\n%v",
			a.Status, a.Text, a.Code, a.Done, text, code, a.Frames)
	}
}

// WantWhole checks that a stream is complete.
func (a *Completion) WantWhole(t testing.TB, text string) {
	t.Helper()
	if a.Status != http.StatusOK || a.Text != text || a.Finish != "stop" || a.Code != "" || !a.Done {
		t.Errorf("status %d, text %q, finish %q, error %q, end mark %v; want text %q, complete\n%v",
			a.Status, a.Text, a.Finish, a.Code, a.Done, text, a.Frames)
	}
}

// QuestionOf returns a question with that text.
func QuestionOf(text string) Question {
	q := NewQuestion("fast")
	q.Messages[0].Content = text
	return q
}
