package integration

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"
	"time"
)

// fakeProvider is an OpenAI-compatible server that answers as a test says.
type fakeProvider struct {
	t   testing.TB
	url string // its base URL

	mu     sync.Mutex
	answer http.HandlerFunc
	asked  []asked
}

// asked is a request that a fakeProvider got.
type asked struct {
	at     time.Time
	path   string
	header http.Header
	body   string
}

// newFakeProvider starts a provider. Start it before Caddy, which is then
// stopped first.
func newFakeProvider(t testing.TB, answer http.HandlerFunc) *fakeProvider {
	t.Helper()
	f := &fakeProvider{t: t, answer: answer}
	srv := httptest.NewServer(f)
	t.Cleanup(srv.Close)
	f.url = srv.URL + "/v1"
	return f
}

func (f *fakeProvider) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return // the caller has gone
	}
	f.mu.Lock()
	f.asked = append(f.asked, asked{time.Now(), r.URL.Path, r.Header.Clone(), string(body)})
	answer := f.answer
	f.mu.Unlock()
	r.Body = io.NopCloser(bytes.NewReader(body))
	answer(w, r)
}

// answers sets what every further request is answered with.
func (f *fakeProvider) answers(answer http.HandlerFunc) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.answer = answer
}

// count is how often the provider was asked.
func (f *fakeProvider) count() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return len(f.asked)
}

// last is the request that came last.
func (f *fakeProvider) last() asked {
	f.t.Helper()
	f.mu.Lock()
	defer f.mu.Unlock()
	if len(f.asked) == 0 {
		f.t.Fatal("the provider was not asked")
	}
	return f.asked[len(f.asked)-1]
}

// document answers with one body.
func document(status int, body string, header ...string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		for i := 0; i+1 < len(header); i += 2 {
			w.Header().Set(header[i], header[i+1])
		}
		w.WriteHeader(status)
		_, _ = io.WriteString(w, body)
	}
}

// sends streams events, and ends the answer.
func sends(events ...string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) { sendEvents(w, events) }
}

// sendsAndStalls streams events, and then nothing for good.
func sendsAndStalls(events ...string) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		sendEvents(w, events)
		<-r.Context().Done()
	}
}

// silent never answers.
func silent(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() }

func sendEvents(w http.ResponseWriter, events []string) {
	w.Header().Set("Content-Type", "text/event-stream")
	w.WriteHeader(http.StatusOK)
	_ = http.NewResponseController(w).Flush()
	for _, ev := range events {
		_, _ = io.WriteString(w, ev)
		_ = http.NewResponseController(w).Flush()
	}
}

// gate is an answer whose events leave one at a time, when the test says so,
// and which ends when events is closed.
type gate struct {
	asked  chan struct{} // gets a value when the header has gone out
	events chan string
}

func newGate() *gate {
	return &gate{asked: make(chan struct{}, 8), events: make(chan string)}
}

func (g *gate) serve(w http.ResponseWriter, r *http.Request) {
	sendEvents(w, nil)
	g.asked <- struct{}{}
	for {
		select {
		case <-r.Context().Done():
			return
		case ev, ok := <-g.events:
			if !ok {
				return
			}
			_, _ = io.WriteString(w, ev)
			_ = http.NewResponseController(w).Flush()
		}
	}
}

// say lets one event out.
func (g *gate) say(t testing.TB, event string) {
	t.Helper()
	select {
	case g.events <- event:
	case <-timeUp(t):
		t.Fatalf("the upstream's request is gone, and nobody takes %q", event)
	}
}

// delta is the event of a chunk with that delta.
func delta(d string) string {
	return fmt.Sprintf(`data: {"id":"c-1","object":"chat.completion.chunk","created":1700000000,"model":"up-1","choices":[{"index":0,"delta":%s,"finish_reason":null}]}`, d) + "\n\n"
}

// content is the event of a chunk with text.
func content(text string) string {
	quoted, _ := json.Marshal(text)
	return delta(fmt.Sprintf(`{"content":%s}`, quoted))
}

// The other events of an answer.
var (
	role     = delta(`{"role":"assistant","content":""}`)
	finished = `data: {"id":"c-1","object":"chat.completion.chunk","created":1700000000,"model":"up-1","choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}` + "\n\n"
	counted  = `data: {"id":"c-1","object":"chat.completion.chunk","created":1700000000,"model":"up-1","choices":[],"usage":{"prompt_tokens":7,"completion_tokens":3,"total_tokens":10}}` + "\n\n"
	endMark  = "data: [DONE]\n\n"
)

// wholeAnswer is an answer that is not streamed.
const wholeAnswer = `{"id":"c-1","object":"chat.completion","created":1700000000,"model":"up-1","choices":[{"index":0,"message":{"role":"assistant","content":"Hello"},"finish_reason":"stop"}],"usage":{"prompt_tokens":7,"completion_tokens":3,"total_tokens":10}}`
