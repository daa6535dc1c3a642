package harness

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"
)

// Steered is an OpenAI-compatible upstream that answers nothing until the
// test says so, and then what the test says.
type Steered struct {
	t     testing.TB
	URL   string             // of its API, with /v1
	Calls chan *UpstreamCall // that wait for the test
	end   chan struct{}      // closed when the test is over

	mu   sync.Mutex
	auto func(*UpstreamCall) string
}

// UpstreamCall is one call of the upstream. The test steers it from its own
// goroutine: say, finish, fail and cut return once they are done.
type UpstreamCall struct {
	T      testing.TB
	Header http.Header
	Prompt Prompt
	Steps  chan func(http.ResponseWriter) bool
	Acks   chan struct{}
	Gone   chan struct{} // closed when the caller has cancelled it
	begun  bool
	said   strings.Builder
}

// Prompt is what the upstream was asked.
type Prompt struct {
	Model    string `json:"model"`
	Stream   bool   `json:"stream"`
	Messages []struct {
		Role    string `json:"role"`
		Content string `json:"content"`
	} `json:"messages"`
}

// Question is the last message.
func (p Prompt) Question() string {
	return p.Messages[len(p.Messages)-1].Content
}

// Texts are all messages, as role: content.
func (p Prompt) Texts() []string {
	var list []string
	for _, m := range p.Messages {
		list = append(list, m.Role+": "+m.Content)
	}
	return list
}

// NewSteered starts the upstream. Start it before Caddy.
func NewSteered(t testing.TB) *Steered {
	t.Helper()
	s := &Steered{t: t, Calls: make(chan *UpstreamCall, 4096), end: make(chan struct{})}
	srv := httptest.NewServer(s)
	s.URL = srv.URL + "/v1"
	t.Cleanup(func() {
		close(s.end)
		srv.CloseClientConnections()
		srv.Close()
	})
	return s
}

// Answer makes the upstream answer by itself from now on, whatever fn says.
func (s *Steered) Answer(fn func(*UpstreamCall) string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.auto = fn
}

// Echo makes it answer every question with "re: " and the question.
func (s *Steered) Echo() {
	s.Answer(func(c *UpstreamCall) string { return "re: " + c.Prompt.Question() })
}

// Cancelled has a question asked and cancelled, which leaves it unanswered.
func (s *Steered) Cancelled(cl *Client, session, question string) {
	s.t.Helper()
	s.mu.Lock()
	auto := s.auto
	s.auto = nil
	s.mu.Unlock()
	defer s.Answer(auto)
	a := cl.Ask(session, question)
	call := s.Call()
	cl.CancelTurn(session)
	call.WantGone()
	a.Events().Rest()
}

// Call waits for the next call.
func (s *Steered) Call() *UpstreamCall {
	s.t.Helper()
	select {
	case c := <-s.Calls:
		return c
	case <-time.After(Patience):
		s.t.Fatal("the upstream is not called")
		return nil
	}
}

func (s *Steered) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	c := &UpstreamCall{
		T:      s.t,
		Header: r.Header.Clone(),
		Steps:  make(chan func(http.ResponseWriter) bool),
		Acks:   make(chan struct{}),
		Gone:   make(chan struct{}),
	}
	// read to its end, or the server does not notice that the caller goes away
	body, err := io.ReadAll(r.Body)
	if err == nil {
		err = json.Unmarshal(body, &c.Prompt)
	}
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	s.mu.Lock()
	auto := s.auto
	s.mu.Unlock()
	if auto != nil {
		c.write(w, auto(c))
		c.end(w, "stop")
		return
	}
	s.Calls <- c
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
		case <-s.end:
			return
		}
	}
}

// do runs a step where the answer is written.
func (c *UpstreamCall) do(step func(http.ResponseWriter) bool) {
	c.T.Helper()
	select {
	case c.Steps <- step:
		<-c.Acks
	case <-c.Gone:
		c.T.Fatal("the upstream's caller has gone")
	case <-time.After(Patience):
		c.T.Fatal("the upstream has ended this call")
	}
}

// Say sends pieces of the answer, each in a chunk of its own.
func (c *UpstreamCall) Say(pieces ...string) {
	c.T.Helper()
	for _, p := range pieces {
		c.do(func(w http.ResponseWriter) bool {
			c.write(w, p)
			return false
		})
	}
}

// Finish ends the answer, as models do.
func (c *UpstreamCall) Finish(reason string) {
	c.T.Helper()
	c.do(func(w http.ResponseWriter) bool {
		c.end(w, reason)
		return true
	})
}

// Fail answers with an error.
func (c *UpstreamCall) Fail(status int, body string) {
	c.T.Helper()
	c.do(func(w http.ResponseWriter) bool {
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(status)
		fmt.Fprint(w, body)
		return true
	})
}

// Cut ends the stream in the middle.
func (c *UpstreamCall) Cut() {
	c.T.Helper()
	c.do(func(w http.ResponseWriter) bool { return true })
}

// WantGone waits until the caller has cancelled the call.
func (c *UpstreamCall) WantGone() {
	c.T.Helper()
	select {
	case <-c.Gone:
	case <-time.After(Patience):
		c.T.Fatal("the upstream call goes on")
	}
}

func (c *UpstreamCall) write(w http.ResponseWriter, text string) {
	c.said.WriteString(text)
	if !c.Prompt.Stream {
		return
	}
	c.chunk(w, `{"index":0,"delta":{"content":`+Quote(text)+`},"finish_reason":null}`, "")
}

// The usage that the upstream reports, whatever was said.
const (
	UpstreamTokensIn  = 11
	UpstreamTokensOut = 7
	upstreamUsage     = `{"prompt_tokens":11,"completion_tokens":7,"total_tokens":18}`
)

func (c *UpstreamCall) end(w http.ResponseWriter, reason string) {
	if c.Prompt.Stream {
		c.chunk(w, `{"index":0,"delta":{},"finish_reason":`+Quote(reason)+`}`, "")
		c.chunk(w, "", `,"usage":`+upstreamUsage)
		fmt.Fprint(w, "data: [DONE]\n\n")
		return
	}
	w.Header().Set("Content-Type", "application/json")
	fmt.Fprintf(w, `{"id":"c1","object":"chat.completion","created":1,"model":%s,"choices":[{"index":0,"message":{"role":"assistant","content":%s},"finish_reason":%s}],"usage":%s}`,
		Quote(c.Prompt.Model), Quote(c.said.String()), Quote(reason), upstreamUsage)
}

func (c *UpstreamCall) chunk(w http.ResponseWriter, choice, more string) {
	if !c.begun {
		c.begun = true
		w.Header().Set("Content-Type", "text/event-stream")
	}
	fmt.Fprintf(w, "data: {\"id\":\"c1\",\"object\":\"chat.completion.chunk\",\"created\":1,\"model\":%s,\"choices\":[%s]%s}\n\n", Quote(c.Prompt.Model), choice, more)
	if err := http.NewResponseController(w).Flush(); err != nil {
		c.T.Error(err)
	}
}

// Quote is a string as JSON.
func Quote(s string) string {
	b, err := json.Marshal(s)
	if err != nil {
		panic(err)
	}
	return string(b)
}

// Gateway is an ai_gateway that calls the upstream as the model fast, once for
// each request, and waits for it as long as the test does.
func (s *Steered) Gateway() string {
	return fmt.Sprintf(`
	ai_gateway {
		provider openai {
			base_url %s
			api_key upstream-key
		}
		model fast {
			to openai/upstream-fast
		}
		retries 0
		rescue off
		circuit_breaker off
		try_duration 10m
		response_timeout 10m
		first_token_timeout 10m
		stall_timeout 10m
	}
`, s.URL)
}

// Chain is the whole chain in front of the upstream, with options of
// chat_session and limits that no test meets by accident.
func (s *Steered) Chain(session string) string {
	return fmt.Sprintf(`
	tenant_resolve
	chat_ratelimit {
		requests 100000 1m
	}
	chat_session {
		%s
	}
`, session) + s.Gateway()
}

// Pending is a request whose answer may not have begun.
type Pending struct {
	t      testing.TB
	GoAway func() // closes the connection
	Resp   chan *http.Response
	Err    chan error
}

// Ask sends a message without waiting for the answer.
func (c *Client) Ask(session, message string) *Pending {
	c.T.Helper()
	return c.Start(c.Request(http.MethodPost, "/chat", ChatRequest{SessionID: session, Message: message}))
}

func (c *Client) Start(req *http.Request) *Pending {
	ctx, cancel := context.WithCancel(req.Context())
	a := &Pending{t: c.T, GoAway: cancel, Resp: make(chan *http.Response, 1), Err: make(chan error, 1)}
	c.T.Cleanup(cancel)
	go func() {
		resp, err := c.HTTP.Do(req.WithContext(ctx))
		if err != nil {
			a.Err <- err
			return
		}
		a.Resp <- resp
	}()
	return a
}

// Answer waits for the header of the answer.
func (a *Pending) Answer() *http.Response {
	a.t.Helper()
	select {
	case resp := <-a.Resp:
		return resp
	case err := <-a.Err:
		a.t.Fatal(err)
	case <-time.After(Patience):
		a.t.Fatal("no answer")
	}
	return nil
}

// Events waits for the stream to begin.
func (a *Pending) Events() *Events {
	a.t.Helper()
	return ReadEvents(a.t, a.Answer())
}

// Text reads as many events as it takes to have read this text.
func (e *Events) Text(want string) []Event {
	e.t.Helper()
	var list []Event
	got := ""
	for got != want {
		ev, ok := e.Next()
		if !ok || ev.Type != "" || !strings.HasPrefix(want, got+ev.Content) {
			e.t.Fatalf("after %q came %+v (%t), want %q", got, ev, ok, want)
		}
		got += ev.Content
		list = append(list, ev)
	}
	return list
}
