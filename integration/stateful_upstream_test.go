package integration

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/tidwall/gjson"
)

// wireUpstream is an OpenAI-compatible upstream that looks at bytes: the test
// sees what it was asked, and says what it writes.
type wireUpstream struct {
	t     testing.TB
	url   string // of its API, with /v1
	calls chan *wireCall
	end   chan struct{} // closed when the test is over
}

// wireCall is one call of it, which the test steers as an upstreamCall.
type wireCall struct {
	*upstreamCall
	body string
}

func newWireUpstream(t testing.TB) *wireUpstream {
	t.Helper()
	u := &wireUpstream{t: t, calls: make(chan *wireCall, 64), end: make(chan struct{})}
	srv := httptest.NewServer(u)
	u.url = srv.URL + "/v1"
	t.Cleanup(func() {
		close(u.end)
		srv.CloseClientConnections()
		srv.Close()
	})
	return u
}

func (u *wireUpstream) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return // the caller broke off
	}
	c := &wireCall{body: string(body), upstreamCall: &upstreamCall{
		t:      u.t,
		header: r.Header.Clone(),
		steps:  make(chan func(http.ResponseWriter) bool),
		acks:   make(chan struct{}),
		gone:   make(chan struct{}),
	}}
	u.calls <- c
	for {
		select {
		case step := <-c.steps:
			last := step(w)
			c.acks <- struct{}{}
			if last {
				return
			}
		case <-r.Context().Done():
			close(c.gone)
			return
		case <-u.end:
			return
		}
	}
}

// call waits for the next call.
func (u *wireUpstream) call() *wireCall {
	u.t.Helper()
	select {
	case c := <-u.calls:
		return c
	case <-time.After(patience):
		u.t.Fatal("the upstream is not called")
		return nil
	}
}

// write sends bytes as they are, at once. The first ones begin the answer.
func (c *wireCall) write(contentType, text string) {
	c.t.Helper()
	c.do(func(w http.ResponseWriter) bool {
		if !c.begun {
			c.begun = true
			w.Header().Set("Content-Type", contentType)
			w.Header().Set("X-Upstream", "kept")
		}
		fmt.Fprint(w, text)
		if err := http.NewResponseController(w).Flush(); err != nil {
			c.t.Error(err)
		}
		return false
	})
}

// event sends one event of a stream, event by event.
func (c *wireCall) event(data ...string) {
	c.t.Helper()
	for _, d := range data {
		c.write("text/event-stream", "data: "+d+"\n\n")
	}
}

// stream sends a whole stream.
func (c *wireCall) stream(data ...string) {
	c.t.Helper()
	c.event(append(data, "[DONE]")...)
	c.cut()
}

// document sends a whole document.
func (c *wireCall) document(doc string) {
	c.t.Helper()
	c.write("application/json", doc)
	c.cut()
}

// answer says text, in the way that was asked for.
func (c *wireCall) answer(text string) {
	c.t.Helper()
	if gjson.Get(c.body, "stream").Bool() {
		c.stream(chunkOf(`{"role":"assistant","content":`+quote(text)+`}`), endOf("stop"))
		return
	}
	c.document(wholeOf(`{"role":"assistant","content":`+quote(text)+`}`, "stop"))
}

// messages are the messages of the request, as JSON.
func (c *wireCall) messages() []string {
	var list []string
	for _, m := range gjson.Get(c.body, "messages").Array() {
		list = append(list, m.Raw)
	}
	return list
}

// said are they in short: role: content.
func (c *wireCall) said() []string {
	var list []string
	for _, m := range gjson.Get(c.body, "messages").Array() {
		s := m.Get("role").Str + ": " + m.Get("content").Str
		for _, call := range m.Get("tool_calls").Array() {
			s += " +" + call.Get("id").Str
		}
		if id := m.Get("tool_call_id").Str; id != "" {
			s += " -" + id
		}
		list = append(list, s)
	}
	return list
}

func chunkOf(d string) string {
	return `{"id":"c1","object":"chat.completion.chunk","created":1,"model":"up","choices":[{"index":0,"delta":` + d + `,"finish_reason":null}]}`
}

func endOf(reason string) string {
	return `{"id":"c1","object":"chat.completion.chunk","created":1,"model":"up","choices":[{"index":0,"delta":{},"finish_reason":` + quote(reason) + `}]}`
}

func wholeOf(message, reason string) string {
	return `{"id":"c1","object":"chat.completion","created":1,"model":"up","choices":[{"index":0,"message":` + message +
		`,"finish_reason":` + quote(reason) + `}],"usage":{"prompt_tokens":11,"completion_tokens":7,"total_tokens":18}}`
}

// proxied is chat_session in front of a plain reverse_proxy.
func (u *wireUpstream) proxied(options string) string {
	return "tenant_resolve\nchat_session {\n" + options + "\n}\nreverse_proxy " + strings.TrimPrefix(strings.TrimSuffix(u.url, "/v1"), "http://") + "\n"
}

// gateway is chat_session in front of a gateway with the model fast.
func (u *wireUpstream) gateway(options string) string {
	return "tenant_resolve\nchat_session {\n" + options + "\n}\n" + (&steered{url: u.url}).gateway()
}

// remember starts a completion with a session.
func (c *client) remember(session string, body any, header ...string) *asking {
	c.t.Helper()
	return c.start(c.request(http.MethodPost, completions, body, append([]string{"X-Session-Id", session}, header...)...))
}

// messagesBody is a request with messages, and what follows them.
func messagesBody(messages string, more ...string) string {
	return `{"model":"fast","messages":[` + messages + `]` + strings.Join(more, "") + `}`
}

// userSays is a request with one message of the user's.
func userSays(text string, more ...string) string {
	return messagesBody(`{"role":"user","content":`+quote(text)+`}`, more...)
}

const streamed = `,"stream":true`

// whole reads an answer that has begun to its end, as an OpenAI client does.
func (a *asking) whole() completion {
	a.t.Helper()
	return readCompletion(a.t, a.answer())
}

// turn has a completion asked and answered.
func (u *wireUpstream) turn(cl *client, session, body, text string) completion {
	u.t.Helper()
	a := cl.remember(session, body)
	u.call().answer(text)
	return a.whole()
}
