package harness

import (
	"bytes"
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

// FakeProvider is an OpenAI-compatible server that answers as a test says.
type FakeProvider struct {
	t   testing.TB
	URL string // its base URL

	mu     sync.Mutex
	answer http.HandlerFunc
	asked  []Asked
}

// Asked is a request that a FakeProvider got.
type Asked struct {
	At     time.Time
	Path   string
	Header http.Header
	Body   string
}

// NewFakeProvider starts a provider. Start it before Caddy, which is then
// stopped first.
func NewFakeProvider(t testing.TB, answer http.HandlerFunc) *FakeProvider {
	t.Helper()
	f := &FakeProvider{t: t, answer: answer}
	srv := httptest.NewServer(f)
	t.Cleanup(srv.Close)
	f.URL = srv.URL + "/v1"
	return f
}

func (f *FakeProvider) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return // the caller has gone
	}
	f.mu.Lock()
	f.asked = append(f.asked, Asked{time.Now(), r.URL.Path, r.Header.Clone(), string(body)})
	answer := f.answer
	f.mu.Unlock()
	r.Body = io.NopCloser(bytes.NewReader(body))
	answer(w, r)
}

// Answers sets what every further request is answered with.
func (f *FakeProvider) Answers(answer http.HandlerFunc) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.answer = answer
}

// Count is how often the provider was asked.
func (f *FakeProvider) Count() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return len(f.asked)
}

// Last is the request that came last.
func (f *FakeProvider) Last() Asked {
	f.t.Helper()
	f.mu.Lock()
	defer f.mu.Unlock()
	if len(f.asked) == 0 {
		f.t.Fatal("the provider was not asked")
	}
	return f.asked[len(f.asked)-1]
}

// Document answers with one body.
func Document(status int, body string, header ...string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		for i := 0; i+1 < len(header); i += 2 {
			w.Header().Set(header[i], header[i+1])
		}
		w.WriteHeader(status)
		_, _ = io.WriteString(w, body)
	}
}

// Sends streams events, and ends the answer.
func Sends(events ...string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) { SendEvents(w, events) }
}

// SendsAndStalls streams events, and then nothing for good.
func SendsAndStalls(events ...string) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		SendEvents(w, events)
		<-r.Context().Done()
	}
}

// Silent never answers.
func Silent(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() }

// InTurn answers the first request with the first answer and so on, and all
// further ones with the last.
func InTurn(answers ...http.HandlerFunc) http.HandlerFunc {
	var mu sync.Mutex
	return func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		answer := answers[0]
		if len(answers) > 1 {
			answers = answers[1:]
		}
		mu.Unlock()
		answer(w, r)
	}
}

// SendEvents begins a stream and sends events, each with a flush.
func SendEvents(w http.ResponseWriter, events []string) {
	w.Header().Set("Content-Type", "text/event-stream")
	w.WriteHeader(http.StatusOK)
	_ = http.NewResponseController(w).Flush()
	for _, ev := range events {
		_, _ = io.WriteString(w, ev)
		_ = http.NewResponseController(w).Flush()
	}
}

// Gate is an answer whose events leave one at a time, when the test says so,
// and which ends when events is closed.
type Gate struct {
	Asked  chan struct{} // gets a value when the header has gone out
	Events chan string
}

// NewGate returns a gate; its Serve answers the requests of a FakeProvider.
func NewGate() *Gate {
	return &Gate{Asked: make(chan struct{}, 8), Events: make(chan string)}
}

func (g *Gate) Serve(w http.ResponseWriter, r *http.Request) {
	SendEvents(w, nil)
	g.Asked <- struct{}{}
	for {
		select {
		case <-r.Context().Done():
			return
		case ev, ok := <-g.Events:
			if !ok {
				return
			}
			_, _ = io.WriteString(w, ev)
			_ = http.NewResponseController(w).Flush()
		}
	}
}

// Say lets one event out.
func (g *Gate) Say(t testing.TB, event string) {
	t.Helper()
	select {
	case g.Events <- event:
	case <-TimeUp(t):
		t.Fatalf("the upstream's request is gone, and nobody takes %q", event)
	}
}

// Delta is the event of a chunk with that delta.
func Delta(d string) string {
	return fmt.Sprintf(`data: {"id":"c-1","object":"chat.completion.chunk","created":1700000000,"model":"up-1","choices":[{"index":0,"delta":%s,"finish_reason":null}]}`, d) + "\n\n"
}

// Content is the event of a chunk with text.
func Content(text string) string {
	quoted, _ := json.Marshal(text)
	return Delta(fmt.Sprintf(`{"content":%s}`, quoted))
}

// The other events of an answer.
var (
	Role     = Delta(`{"role":"assistant","content":""}`)
	Finished = `data: {"id":"c-1","object":"chat.completion.chunk","created":1700000000,"model":"up-1","choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}` + "\n\n"
	Counted  = `data: {"id":"c-1","object":"chat.completion.chunk","created":1700000000,"model":"up-1","choices":[],"usage":{"prompt_tokens":7,"completion_tokens":3,"total_tokens":10}}` + "\n\n"
	EndMark  = "data: [DONE]\n\n"
)

// WholeAnswer is an answer that is not streamed.
const WholeAnswer = `{"id":"c-1","object":"chat.completion","created":1700000000,"model":"up-1","choices":[{"index":0,"message":{"role":"assistant","content":"Hello"},"finish_reason":"stop"}],"usage":{"prompt_tokens":7,"completion_tokens":3,"total_tokens":10}}`

// AnswersAll answers streams and documents, each with its own text.
func AnswersAll(text string) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Accept") == "text/event-stream" {
			SendEvents(w, []string{Role, Content(text), Finished, Counted, EndMark})
			return
		}
		Document(http.StatusOK, strings.Replace(WholeAnswer, "Hello", text, 1))(w, r)
	}
}

// WithUsage puts a usage into an event of the upstream's.
func WithUsage(event, usage string) string {
	return strings.Replace(event, `"choices"`, `"usage":`+usage+`,"choices"`, 1)
}

// UsageOf is the usage of so many tokens, as JSON.
func UsageOf(in, out int) string {
	return fmt.Sprintf(`{"prompt_tokens":%d,"completion_tokens":%d,"total_tokens":%d,"x":[1]}`, in, out, in+out)
}
