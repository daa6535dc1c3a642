package idempotency

import (
	"errors"
	"io"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/tidwall/gjson"

	"github.com/caddy-chat/caddy-chat/integration/harness"
	"github.com/caddy-chat/caddy-chat/modules/sse"
)

const headerKey = "Idempotency-Key"

// site is a chain that accepts keys: requests of one kind, with one handler at
// the end.
type site struct {
	kind    string // "chat" is POST /chat, "session" and "plain" are POST /v1/chat/completions with and without a session
	handler string // "gateway", "cached" (a gateway with a cache), or "proxy" (reverse_proxy)

	t   *testing.T
	up  *harness.Upstream
	c   *harness.Caddy
	ann *harness.Client
}

// onSites runs a test on every site, or only on sites of the given kinds.
func onSites(t *testing.T, options string, test func(*site), kinds ...string) {
	t.Parallel()
	for _, s := range []site{
		{kind: "chat", handler: "gateway"},
		{kind: "chat", handler: "proxy"},
		{kind: "session", handler: "gateway"},
		{kind: "session", handler: "cached"},
		{kind: "session", handler: "proxy"},
		{kind: "plain", handler: "gateway"},
		{kind: "plain", handler: "cached"},
	} {
		if len(kinds) > 0 && !slices.Contains(kinds, s.kind) {
			continue
		}
		t.Run(s.kind+" with "+s.handler, func(t *testing.T) {
			s.t, s.up = t, harness.NewUpstream(t)
			config := s.up.Sessions(options)
			switch s.handler {
			case "cached":
				config = strings.Replace(config, "retries 0", "retries 0\ncache 1h", 1)
			case "proxy":
				config = s.up.Proxied(options)
			}
			s.c = harness.Start(t, harness.PlainTenants, config+"\n\tlog\n")
			s.ann = harness.NewClient(s.c, "acme", "ann")
			test(&s)
		})
	}
}

// run runs a subtest on the site, which must leave no call behind.
func (s *site) run(name string, test func(*site)) {
	s.t.Run(name, func(t *testing.T) {
		sub, ann := *s, *s.ann
		sub.t, ann.T, sub.ann = t, t, &ann
		sub.up = s.up.For(t)
		test(&sub)
		s.up.WantNoCall(t)
	})
}

// streamedAndWhole runs a subtest with streamed and whole answers.
func (s *site) streamedAndWhole(name string, test func(s *site, stream bool)) {
	s.run(name+"/streamed", func(s *site) { test(s, true) })
	s.run(name+"/whole", func(s *site) { test(s, false) })
}

// sessions reports whether the site keeps the turns of sessions.
func (s *site) sessions() bool { return s.kind != "plain" }

// request is a message with a key.
type request struct {
	key, session, text string
	stream             bool
	header             []string
}

// request is a message in a new session.
func (s *site) request(key, text string, stream bool) request {
	return request{key: key, session: harness.NewSession(), text: text, stream: stream}
}

// with returns the request with more headers.
func (q request) with(header ...string) request {
	q.header = header
	return q
}

// build makes the request of the site's kind, without its key.
func (s *site) build(cl *harness.Client, q request) *http.Request {
	if s.kind == "chat" {
		return cl.Request(http.MethodPost, "/chat", harness.ChatRequest{SessionID: q.session, Message: q.text, Stream: &q.stream}, q.header...)
	}
	more := ""
	if q.stream {
		more = harness.Streamed
	}
	req := cl.Request(http.MethodPost, harness.CompletionsPath, harness.UserSays(q.text, more), q.header...)
	if s.kind == "session" {
		req.Header.Set("X-Session-Id", q.session)
	}
	return req
}

// askAs sends a request as a client.
func (s *site) askAs(cl *harness.Client, q request) *asking {
	s.t.Helper()
	req := s.build(cl, q)
	req.Header.Set(headerKey, q.key)
	return &asking{s.t, cl.Start(req)}
}

// ask sends a request as ann.
func (s *site) ask(q request) *asking {
	s.t.Helper()
	return s.askAs(s.ann, q)
}

// asking is a request whose answer may not have begun.
type asking struct {
	t *testing.T
	*harness.Pending
}

// answer is an answer of any kind.
type answer struct {
	status               int
	header               http.Header
	parts                []string // the events of a stream, or a document
	text, finish         string
	done                 bool // whether a stream has its end mark
	code, message, param string
}

// reading is an answer that is being read.
type reading struct {
	answer
	t    *testing.T
	body io.ReadCloser
	dec  *sse.Decoder
}

// read waits for the answer to begin.
func (a *asking) read() *reading {
	a.t.Helper()
	resp := a.Answer()
	r := &reading{t: a.t, body: resp.Body}
	r.status, r.header = resp.StatusCode, resp.Header
	if strings.HasPrefix(resp.Header.Get("Content-Type"), "text/event-stream") {
		r.dec = sse.NewDecoder(resp.Body, 0)
	}
	return r
}

// whole reads the answer to its end.
func (a *asking) whole() answer {
	a.t.Helper()
	return a.read().rest()
}

// upTo reads until the text is want.
func (r *reading) upTo(want string) {
	r.t.Helper()
	for r.text != want {
		if r.dec == nil || !r.next() || !strings.HasPrefix(want, r.text) {
			r.t.Fatalf("status %d, text %q, want %q", r.status, r.text, want)
		}
	}
}

func (r *reading) rest() answer {
	r.t.Helper()
	defer r.body.Close()
	if r.dec == nil {
		r.document()
		return r.answer
	}
	for r.next() {
	}
	return r.answer
}

func (r *reading) document() {
	r.t.Helper()
	body, err := io.ReadAll(r.body)
	if err != nil {
		r.t.Fatal(err)
	}
	doc := gjson.ParseBytes(body)
	part := string(body)
	if data := doc.Get("data"); data.Exists() {
		part = data.Raw // a native answer, beside the trace id
	}
	r.parts = append(r.parts, part)
	r.text = doc.Get("data.message").Str + doc.Get("choices.0.message.content").Str
	r.finish = doc.Get("data.finishReason").Str + doc.Get("choices.0.finish_reason").Str
	r.fail(doc.Get("error"))
}

func (r *reading) fail(e gjson.Result) {
	r.code, r.message, r.param = e.Get("code").Str, e.Get("message").Str, e.Get("param").Str
}

// next reads an event of a stream.
func (r *reading) next() bool {
	r.t.Helper()
	ev, err := r.dec.Next()
	if err != nil {
		if !errors.Is(err, io.EOF) {
			r.t.Errorf("reading the stream: %v", err)
		}
		return false
	}
	data := string(ev.Data)
	r.parts = append(r.parts, strings.Join([]string{ev.ID, ev.Type, data}, " "))
	doc := gjson.Parse(data)
	switch {
	case data == "[DONE]":
		r.done = true
	case ev.Type == "done":
		r.done, r.finish = true, doc.Get("finishReason").Str
	case ev.Type == "error":
		r.fail(doc)
	case doc.Get("error").Exists():
		r.fail(doc.Get("error"))
	default:
		r.text += doc.Get("content").Str + doc.Get("choices.0.delta.content").Str
		if reason := doc.Get("choices.0.finish_reason").Str; reason != "" {
			r.finish = reason
		}
	}
	return true
}

// wantText checks that an answer is complete.
func (s *site) wantText(a answer, text string) {
	s.t.Helper()
	streamed := strings.HasPrefix(a.header.Get("Content-Type"), "text/event-stream")
	if a.status != http.StatusOK || a.text != text || a.code != "" || a.finish == "" || streamed != a.done {
		s.t.Errorf("status %d, text %.200q, finish %q, error %q; want %.200q, complete\n%.2000q", a.status, a.text, a.finish, a.code, text, a.parts)
	}
}

// wantSame checks that an answer repeats the first one.
func (s *site) wantSame(a, first answer) {
	s.t.Helper()
	if a.status != first.status || !slices.Equal(a.parts, first.parts) {
		s.t.Errorf("got %d %.2000q\nwant %d %.2000q", a.status, a.parts, first.status, first.parts)
	}
}

// wantRefused checks that a request is refused.
func (s *site) wantRefused(a answer, status int, code string) {
	s.t.Helper()
	if a.status != status || a.code != code {
		s.t.Errorf("got %d %s (%s), want %d %s", a.status, a.code, a.message, status, code)
	}
}

// wantReused checks that the request is refused because its key was used.
func (s *site) wantReused(q request) {
	s.t.Helper()
	a := s.ask(q).whole()
	s.wantRefused(a, http.StatusUnprocessableEntity, "idempotency_key_reused")
	if !strings.Contains(a.message, "send a new one") {
		s.t.Errorf("the message is %q", a.message)
	}
	if s.kind == "chat" {
		return
	}
	if kind := gjson.Get(a.parts[0], "error.type").Str; kind != "invalid_request_error" || a.param != headerKey {
		s.t.Errorf("the error lacks OpenAI's members: %s", a.parts[0])
	}
}

// wantHistory checks a session's messages, if the site has sessions.
func (s *site) wantHistory(session string, want ...string) {
	s.t.Helper()
	if s.sessions() {
		harness.WantList(s.t, "history", harness.Contents(s.ann.History(session)), want)
	}
}
