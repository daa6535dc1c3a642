package harness

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

// WireUpstream is an OpenAI-compatible upstream that looks at bytes: the test
// sees what it was asked, and says what it writes.
type WireUpstream struct {
	T     testing.TB
	url   string // of its API, with /v1
	Calls chan *WireCall
	end   chan struct{} // closed when the test is over
}

// WireCall is one call of it, which the test steers as an UpstreamCall.
type WireCall struct {
	*UpstreamCall
	Body string
}

// NewWireUpstream starts the upstream. Start it before Caddy.
func NewWireUpstream(t testing.TB) *WireUpstream {
	t.Helper()
	u := &WireUpstream{T: t, Calls: make(chan *WireCall, 64), end: make(chan struct{})}
	srv := httptest.NewServer(u)
	u.url = srv.URL + "/v1"
	t.Cleanup(func() {
		close(u.end)
		srv.CloseClientConnections()
		srv.Close()
	})
	return u
}

func (u *WireUpstream) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return // the caller broke off
	}
	c := &WireCall{Body: string(body), UpstreamCall: &UpstreamCall{
		T:      u.T,
		Header: r.Header.Clone(),
		Steps:  make(chan func(http.ResponseWriter) bool),
		Acks:   make(chan struct{}),
		Gone:   make(chan struct{}),
	}}
	u.Calls <- c
	for {
		select {
		case step := <-c.Steps:
			last := step(w)
			c.Acks <- struct{}{}
			if last {
				return
			}
		case <-r.Context().Done():
			close(c.Gone)
			return
		case <-u.end:
			return
		}
	}
}

// Call waits for the next call.
func (u *WireUpstream) Call() *WireCall {
	u.T.Helper()
	select {
	case c := <-u.Calls:
		return c
	case <-time.After(Patience):
		u.T.Fatal("the upstream is not called")
		return nil
	}
}

// Write sends bytes as they are, at once. The first ones begin the answer.
func (c *WireCall) Write(contentType, text string) {
	c.T.Helper()
	c.do(func(w http.ResponseWriter) bool {
		if !c.begun {
			c.begun = true
			w.Header().Set("Content-Type", contentType)
			w.Header().Set("X-Upstream", "kept")
		}
		fmt.Fprint(w, text)
		if err := http.NewResponseController(w).Flush(); err != nil {
			c.T.Error(err)
		}
		return false
	})
}

// Event sends one event of a stream, event by event.
func (c *WireCall) Event(data ...string) {
	c.T.Helper()
	for _, d := range data {
		c.Write("text/event-stream", "data: "+d+"\n\n")
	}
}

// Stream sends a whole stream.
func (c *WireCall) Stream(data ...string) {
	c.T.Helper()
	c.Event(append(data, "[DONE]")...)
	c.Cut()
}

// Document sends a whole document.
func (c *WireCall) Document(doc string) {
	c.T.Helper()
	c.Write("application/json", doc)
	c.Cut()
}

// Answer says text, in the way that was asked for.
func (c *WireCall) Answer(text string) {
	c.T.Helper()
	if gjson.Get(c.Body, "stream").Bool() {
		c.Stream(ChunkOf(`{"role":"assistant","content":`+Quote(text)+`}`), EndOf("stop"))
		return
	}
	c.Document(WholeOf(`{"role":"assistant","content":`+Quote(text)+`}`, "stop"))
}

// Messages are the messages of the request, as JSON.
func (c *WireCall) Messages() []string {
	var list []string
	for _, m := range gjson.Get(c.Body, "messages").Array() {
		list = append(list, m.Raw)
	}
	return list
}

// Said are they in short: role: content.
func (c *WireCall) Said() []string {
	var list []string
	for _, m := range gjson.Get(c.Body, "messages").Array() {
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

// ChunkOf is a chunk with a delta.
func ChunkOf(d string) string {
	return `{"id":"c1","object":"chat.completion.chunk","created":1,"model":"up","choices":[{"index":0,"delta":` + d + `,"finish_reason":null}]}`
}

// EndOf is the chunk with the finish reason.
func EndOf(reason string) string {
	return `{"id":"c1","object":"chat.completion.chunk","created":1,"model":"up","choices":[{"index":0,"delta":{},"finish_reason":` + Quote(reason) + `}]}`
}

// WholeOf is an answer that is not streamed.
func WholeOf(message, reason string) string {
	return `{"id":"c1","object":"chat.completion","created":1,"model":"up","choices":[{"index":0,"message":` + message +
		`,"finish_reason":` + Quote(reason) + `}],"usage":{"prompt_tokens":11,"completion_tokens":7,"total_tokens":18}}`
}

// Proxied is chat_session in front of a plain reverse_proxy.
func (u *WireUpstream) Proxied(options string) string {
	return "tenant_resolve\nchat_session {\n" + options + "\n}\nreverse_proxy " + strings.TrimPrefix(strings.TrimSuffix(u.url, "/v1"), "http://") + "\n"
}

// Gateway is chat_session in front of a gateway with the model fast.
func (u *WireUpstream) Gateway(options string) string {
	return "tenant_resolve\nchat_session {\n" + options + "\n}\n" + (&Steered{URL: u.url}).Gateway()
}

// Remember starts a completion with a session.
func (c *Client) Remember(session string, body any, header ...string) *Pending {
	c.T.Helper()
	return c.Start(c.Request(http.MethodPost, CompletionsPath, body, append([]string{"X-Session-Id", session}, header...)...))
}

// MessagesBody is a request with messages, and what follows them.
func MessagesBody(messages string, more ...string) string {
	return `{"model":"fast","messages":[` + messages + `]` + strings.Join(more, "") + `}`
}

// UserSays is a request with one message of the user's.
func UserSays(text string, more ...string) string {
	return MessagesBody(`{"role":"user","content":`+Quote(text)+`}`, more...)
}

// Streamed is the member that asks MessagesBody for a stream.
const Streamed = `,"stream":true`

// Whole reads an answer that has begun to its end, as an OpenAI client does.
func (a *Pending) Whole() Completion {
	a.t.Helper()
	return ReadCompletion(a.t, a.Answer())
}

// Turn has a completion asked and answered.
func (u *WireUpstream) Turn(cl *Client, session, body, text string) Completion {
	u.T.Helper()
	a := cl.Remember(session, body)
	u.Call().Answer(text)
	return a.Whole()
}

// Abort breaks the connection.
func (c *WireCall) Abort() {
	c.T.Helper()
	c.do(func(w http.ResponseWriter) bool {
		conn, _, err := http.NewResponseController(w).Hijack()
		if err != nil {
			c.T.Error(err)
			return true
		}
		conn.Close()
		return true
	})
}
