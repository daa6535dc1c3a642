package integration

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

// timeUp tells when a test has waited long enough.
func timeUp(t testing.TB) <-chan time.Time {
	timer := time.NewTimer(patience)
	t.Cleanup(func() { timer.Stop() })
	return timer.C
}

// question is a chat completions request.
type question struct {
	Model         string         `json:"model,omitempty"`
	Messages      []said         `json:"messages"`
	Stream        bool           `json:"stream,omitempty"`
	StreamOptions map[string]any `json:"stream_options,omitempty"`
}

type said struct {
	Role    string `json:"role"`
	Content string `json:"content"`
}

func newQuestion(model string) question {
	return question{Model: model, Messages: []said{{"user", "hi"}}}
}

func (q question) streamed() question {
	q.Stream = true
	return q
}

func (q question) withUsage() question {
	q.StreamOptions = map[string]any{"include_usage": true}
	return q.streamed()
}

const completions = "/v1/chat/completions"

// completion is what an OpenAI client makes of an answer.
type completion struct {
	status int
	header http.Header
	frames []string
	providertest.Answer
	usage gjson.Result // as it came
	code  string       // of the error, if any
	error string       // its message
	done  bool         // a stream ended with its end mark
	calls map[int64]*providertest.ToolCall
}

// complete asks for a completion and reads the whole answer, as an OpenAI
// client does.
func (c *client) complete(q any, header ...string) completion {
	c.t.Helper()
	return readCompletion(c.t, c.do(http.MethodPost, completions, q, header...))
}

// readCompletion reads an answer to its end.
func readCompletion(t testing.TB, resp *http.Response) completion {
	t.Helper()
	a := completion{status: resp.StatusCode, header: resp.Header}
	if resp.Header.Get("Content-Type") != "text/event-stream" {
		a.document(t, readAll(t, resp))
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

// frame takes in one event of a stream.
func (a *completion) frame(t testing.TB, data string) {
	t.Helper()
	if a.done || a.Err != nil {
		t.Errorf("after the end comes %s", data)
	}
	a.frames = append(a.frames, data)
	if data == "[DONE]" {
		a.done = true
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

// document takes in an answer that is not streamed.
func (a *completion) document(t testing.TB, body string) {
	t.Helper()
	a.frames = append(a.frames, body)
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

func (a *completion) fail(root gjson.Result) {
	a.code, a.error = root.Get("error.code").Str, root.Get("error.message").Str
	a.Err = &provider.Error{Message: a.error}
}

// take puts the first choice together: text is appended, and tool calls are
// told apart by their index.
func (a *completion) take(t testing.TB, root gjson.Result, where string) {
	t.Helper()
	parse := provider.ParseChunk
	if where == "message" {
		parse = provider.ParseCompletion
	}
	facts, _ := parse([]byte(root.Raw))
	a.OutputBytes += facts.OutputBytes
	a.Content = a.Content || facts.Content
	if u := root.Get("usage"); u.IsObject() {
		a.usage = u
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
			t.Errorf("%s is no string: %s", name, message.Raw)
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

func (a *completion) call(index int64, call gjson.Result) {
	if a.calls == nil {
		a.calls = make(map[int64]*providertest.ToolCall)
	}
	c := a.calls[index]
	if c == nil {
		c = new(providertest.ToolCall)
		a.calls[index] = c
	}
	if id := call.Get("id").Str; id != "" {
		c.ID = id
	}
	c.Name += call.Get("function.name").Str
	c.Arguments += call.Get("function.arguments").Str
}

// recorded is the answer in the form that recordings are compared with. They
// count a refusal among the text.
func (a *completion) recorded() providertest.Answer {
	out := a.Answer
	out.Text += out.Refusal
	for _, index := range slices.Sorted(maps.Keys(a.calls)) {
		out.ToolCalls = append(out.ToolCalls, *a.calls[index])
	}
	if out.Err == nil && a.header.Get("Content-Type") == "text/event-stream" && !a.done {
		out.Err = provider.ErrCut
	}
	return out
}

// wantRefused checks that an answer is an error with that status and code.
func (a *completion) wantRefused(t testing.TB, status int, code string) {
	t.Helper()
	if a.status != status || a.code != code {
		t.Errorf("got %d %s (%s), want %d %s", a.status, a.code, a.error, status, code)
	}
}

// wantCut checks that a stream ended with an error frame and nothing behind
// it.
func (a *completion) wantCut(t testing.TB, text, code string) {
	t.Helper()
	if a.status != http.StatusOK || a.Text != text || a.code != code || a.done {
		t.Errorf("status %d, text %q, error %q, end mark %v; want text %q and the error %s alone\n%v",
			a.status, a.Text, a.code, a.done, text, code, a.frames)
	}
}

// wantWhole checks that a stream is complete.
func (a *completion) wantWhole(t testing.TB, text string) {
	t.Helper()
	if a.status != http.StatusOK || a.Text != text || a.Finish != "stop" || a.code != "" || !a.done {
		t.Errorf("status %d, text %q, finish %q, error %q, end mark %v; want text %q, complete\n%v",
			a.status, a.Text, a.Finish, a.code, a.done, text, a.frames)
	}
}
