package integration

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

// steered is an OpenAI-compatible upstream that answers nothing until the
// test says so, and then what the test says.
type steered struct {
	t     testing.TB
	url   string             // of its API, with /v1
	calls chan *upstreamCall // that wait for the test
	end   chan struct{}      // closed when the test is over

	mu   sync.Mutex
	auto func(*upstreamCall) string
}

// upstreamCall is one call of the upstream. The test steers it from its own
// goroutine: say, finish, fail and cut return once they are done.
type upstreamCall struct {
	t      testing.TB
	header http.Header
	prompt prompt
	steps  chan func(http.ResponseWriter) bool
	acks   chan struct{}
	gone   chan struct{} // closed when the caller has cancelled it
	begun  bool
	said   strings.Builder
}

// prompt is what the upstream was asked.
type prompt struct {
	Model    string `json:"model"`
	Stream   bool   `json:"stream"`
	Messages []struct {
		Role    string `json:"role"`
		Content string `json:"content"`
	} `json:"messages"`
}

// question is the last message.
func (p prompt) question() string {
	return p.Messages[len(p.Messages)-1].Content
}

// texts are all messages, as role: content.
func (p prompt) texts() []string {
	var list []string
	for _, m := range p.Messages {
		list = append(list, m.Role+": "+m.Content)
	}
	return list
}

func newSteered(t testing.TB) *steered {
	t.Helper()
	s := &steered{t: t, calls: make(chan *upstreamCall, 4096), end: make(chan struct{})}
	srv := httptest.NewServer(s)
	s.url = srv.URL + "/v1"
	t.Cleanup(func() {
		close(s.end)
		srv.CloseClientConnections()
		srv.Close()
	})
	return s
}

// answer makes the upstream answer by itself from now on, whatever fn says.
func (s *steered) answer(fn func(*upstreamCall) string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.auto = fn
}

// echo makes it answer every question with "re: " and the question.
func (s *steered) echo() {
	s.answer(func(c *upstreamCall) string { return "re: " + c.prompt.question() })
}

// cancelled has a question asked and cancelled, which leaves it unanswered.
func (s *steered) cancelled(cl *client, session, question string) {
	s.t.Helper()
	s.mu.Lock()
	auto := s.auto
	s.auto = nil
	s.mu.Unlock()
	defer s.answer(auto)
	a := cl.ask(session, question)
	call := s.call()
	cl.cancelTurn(session)
	call.wantGone()
	a.events().rest()
}

// call waits for the next call.
func (s *steered) call() *upstreamCall {
	s.t.Helper()
	select {
	case c := <-s.calls:
		return c
	case <-time.After(patience):
		s.t.Fatal("the upstream is not called")
		return nil
	}
}

func (s *steered) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	c := &upstreamCall{
		t:      s.t,
		header: r.Header.Clone(),
		steps:  make(chan func(http.ResponseWriter) bool),
		acks:   make(chan struct{}),
		gone:   make(chan struct{}),
	}
	// read to its end, or the server does not notice that the caller goes away
	body, err := io.ReadAll(r.Body)
	if err == nil {
		err = json.Unmarshal(body, &c.prompt)
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
	s.calls <- c
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
		case <-s.end:
			return
		}
	}
}

// do runs a step where the answer is written.
func (c *upstreamCall) do(step func(http.ResponseWriter) bool) {
	c.t.Helper()
	select {
	case c.steps <- step:
		<-c.acks
	case <-c.gone:
		c.t.Fatal("the upstream's caller has gone")
	case <-time.After(patience):
		c.t.Fatal("the upstream has ended this call")
	}
}

// say sends pieces of the answer, each in a chunk of its own.
func (c *upstreamCall) say(pieces ...string) {
	c.t.Helper()
	for _, p := range pieces {
		c.do(func(w http.ResponseWriter) bool {
			c.write(w, p)
			return false
		})
	}
}

// finish ends the answer, as models do.
func (c *upstreamCall) finish(reason string) {
	c.t.Helper()
	c.do(func(w http.ResponseWriter) bool {
		c.end(w, reason)
		return true
	})
}

// fail answers with an error.
func (c *upstreamCall) fail(status int, body string) {
	c.t.Helper()
	c.do(func(w http.ResponseWriter) bool {
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(status)
		fmt.Fprint(w, body)
		return true
	})
}

// cut ends the stream in the middle.
func (c *upstreamCall) cut() {
	c.t.Helper()
	c.do(func(w http.ResponseWriter) bool { return true })
}

// wantGone waits until the caller has cancelled the call.
func (c *upstreamCall) wantGone() {
	c.t.Helper()
	select {
	case <-c.gone:
	case <-time.After(patience):
		c.t.Fatal("the upstream call goes on")
	}
}

func (c *upstreamCall) write(w http.ResponseWriter, text string) {
	c.said.WriteString(text)
	if !c.prompt.Stream {
		return
	}
	c.chunk(w, `{"index":0,"delta":{"content":`+quote(text)+`},"finish_reason":null}`, "")
}

// The usage that the upstream reports, whatever was said.
const (
	upstreamTokensIn  = 11
	upstreamTokensOut = 7
	upstreamUsage     = `{"prompt_tokens":11,"completion_tokens":7,"total_tokens":18}`
)

func (c *upstreamCall) end(w http.ResponseWriter, reason string) {
	if c.prompt.Stream {
		c.chunk(w, `{"index":0,"delta":{},"finish_reason":`+quote(reason)+`}`, "")
		c.chunk(w, "", `,"usage":`+upstreamUsage)
		fmt.Fprint(w, "data: [DONE]\n\n")
		return
	}
	w.Header().Set("Content-Type", "application/json")
	fmt.Fprintf(w, `{"id":"c1","object":"chat.completion","created":1,"model":%s,"choices":[{"index":0,"message":{"role":"assistant","content":%s},"finish_reason":%s}],"usage":%s}`,
		quote(c.prompt.Model), quote(c.said.String()), quote(reason), upstreamUsage)
}

func (c *upstreamCall) chunk(w http.ResponseWriter, choice, more string) {
	if !c.begun {
		c.begun = true
		w.Header().Set("Content-Type", "text/event-stream")
	}
	fmt.Fprintf(w, "data: {\"id\":\"c1\",\"object\":\"chat.completion.chunk\",\"created\":1,\"model\":%s,\"choices\":[%s]%s}\n\n", quote(c.prompt.Model), choice, more)
	if err := http.NewResponseController(w).Flush(); err != nil {
		c.t.Error(err)
	}
}

func quote(s string) string {
	b, err := json.Marshal(s)
	if err != nil {
		panic(err)
	}
	return string(b)
}

// gateway is an ai_gateway that calls the upstream as the model fast, once for
// each request, and waits for it as long as the test does.
func (s *steered) gateway() string {
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
`, s.url)
}

// chain is the whole chain in front of the upstream, with options of
// chat_session and limits that no test meets by accident.
func (s *steered) chain(session string) string {
	return fmt.Sprintf(`
	tenant_resolve
	chat_ratelimit {
		requests 100000 1m
	}
	chat_session {
		%s
	}
`, session) + s.gateway()
}

// asking is a request whose answer may not have begun.
type asking struct {
	t      testing.TB
	goAway func() // closes the connection
	resp   chan *http.Response
	err    chan error
}

// ask sends a message without waiting for the answer.
func (c *client) ask(session, message string) *asking {
	c.t.Helper()
	return c.start(c.request(http.MethodPost, "/chat", ask{SessionID: session, Message: message}))
}

func (c *client) start(req *http.Request) *asking {
	ctx, cancel := context.WithCancel(req.Context())
	a := &asking{t: c.t, goAway: cancel, resp: make(chan *http.Response, 1), err: make(chan error, 1)}
	c.t.Cleanup(cancel)
	go func() {
		resp, err := c.http.Do(req.WithContext(ctx))
		if err != nil {
			a.err <- err
			return
		}
		a.resp <- resp
	}()
	return a
}

// answer waits for the header of the answer.
func (a *asking) answer() *http.Response {
	a.t.Helper()
	select {
	case resp := <-a.resp:
		return resp
	case err := <-a.err:
		a.t.Fatal(err)
	case <-time.After(patience):
		a.t.Fatal("no answer")
	}
	return nil
}

// events waits for the stream to begin.
func (a *asking) events() *events {
	a.t.Helper()
	return readEvents(a.t, a.answer())
}

// text reads as many events as it takes to have read this text.
func (e *events) text(want string) []event {
	e.t.Helper()
	var list []event
	got := ""
	for got != want {
		ev, ok := e.next()
		if !ok || ev.Type != "" || !strings.HasPrefix(want, got+ev.Content) {
			e.t.Fatalf("after %q came %+v (%t), want %q", got, ev, ok, want)
		}
		got += ev.Content
		list = append(list, ev)
	}
	return list
}
