package aigateway

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"github.com/tidwall/gjson"

	"github.com/caddy-chat/caddy-chat/modules/chat"
	"github.com/caddy-chat/caddy-chat/modules/provider"
	_ "github.com/caddy-chat/caddy-chat/modules/provider/echo"
	"github.com/caddy-chat/caddy-chat/modules/sse"
	_ "github.com/caddy-chat/caddy-chat/modules/store/badger"
)

// script is a provider that follows one: a reply a call, of which the last
// one repeats.
type script struct {
	replies   []reply
	asked     []*provider.Request
	continues bool
}

// reply is what comes of one call: an error, or else a stream of steps.
type reply struct {
	err   error
	after time.Duration // until there is an answer at all
	steps []step
	reads []int // the steps that have to be waited for; all where it is nil
}

// step is one thing that a stream does.
type step func(ctx context.Context) (*provider.Chunk, error)

// streams is a reply that does one thing after the other, and then ends
// without saying that it is whole.
func streams(steps ...step) reply { return reply{steps: steps} }

// fails is a reply that is an error.
func fails(err error) reply { return reply{err: err} }

func unavailable() *provider.Error { return &provider.Error{Status: http.StatusBadGateway} }

// chunk is a step that gives a chunk with these choices, and more members.
func chunk(choices, more string) step {
	return func(context.Context) (*provider.Chunk, error) {
		raw := []byte(`{"id":"id-1","object":"chat.completion.chunk","created":7,"model":"m","choices":` + choices + more + `}`)
		f, ok := provider.ParseChunk(raw)
		if !ok {
			return nil, fmt.Errorf("a script is no JSON: %s", raw)
		}
		return &provider.Chunk{Raw: raw, Facts: f}, nil
	}
}

func delta(members string) step { return chunk(`[{"index":0,"delta":{`+members+`}}]`, "") }

func text(s string) step { return delta(`"content":` + strconv.Quote(s)) }

func finish(reason string) step {
	return chunk(`[{"index":0,"delta":{},"finish_reason":"`+reason+`"}]`, "")
}

func usage(in, out int) step {
	return chunk(`[]`, fmt.Sprintf(`,"usage":{"prompt_tokens":%d,"completion_tokens":%d}`, in, out))
}

// says is an answer that is complete.
func says(pieces ...string) reply {
	var r reply
	for _, p := range pieces {
		r.steps = append(r.steps, text(p))
	}
	r.steps = append(r.steps, finish("stop"), end)
	return r
}

// end is the honest end of a stream.
func end(context.Context) (*provider.Chunk, error) { return nil, io.EOF }

// silence lasts until the caller gives up.
func silence(ctx context.Context) (*provider.Chunk, error) {
	<-ctx.Done()
	return nil, fmt.Errorf("reading the stream: %w", context.Cause(ctx))
}

// pause waits, and then does do.
func pause(d time.Duration, do step) step {
	return func(ctx context.Context) (*provider.Chunk, error) {
		select {
		case <-time.After(d):
			return do(ctx)
		case <-ctx.Done():
			return silence(ctx)
		}
	}
}

func (*script) DefaultModel() string { return "m" }

func (s *script) Continues(string) bool { return s.continues }

func (s *script) next(ctx context.Context, req *provider.Request) (reply, error) {
	s.asked = append(s.asked, req)
	r := s.replies[min(len(s.asked), len(s.replies))-1]
	if r.after > 0 {
		select {
		case <-time.After(r.after):
		case <-ctx.Done():
			return r, fmt.Errorf("calling the provider: %w", context.Cause(ctx))
		}
	}
	return r, r.err
}

func (s *script) Complete(ctx context.Context, req *provider.Request) (*provider.Completion, error) {
	if _, err := s.next(ctx, req); err != nil {
		return nil, err
	}
	body := []byte(`{"id":"id-1","choices":[{"index":0,"message":{"content":"Hello"},"finish_reason":"stop"}]}`)
	f, _ := provider.ParseCompletion(body)
	return &provider.Completion{Body: body, Facts: f}, nil
}

func (s *script) Stream(ctx context.Context, req *provider.Request) (provider.Stream, error) {
	r, err := s.next(ctx, req)
	if err != nil {
		return nil, err
	}
	return &playing{ctx: ctx, req: req, reply: r}, nil
}

// playing is a stream of a script.
type playing struct {
	ctx    context.Context
	req    *provider.Request
	reply  reply
	at     int // the next step
	closed bool
}

func (p *playing) Next() (*provider.Chunk, error) {
	if err := context.Cause(p.ctx); err != nil {
		return nil, fmt.Errorf("reading the stream: %w", err)
	}
	if p.at == len(p.reply.steps) {
		return nil, provider.ErrCut
	}
	if p.req != nil && p.req.BeforeRead != nil && (p.reply.reads == nil || slices.Contains(p.reply.reads, p.at)) {
		p.req.BeforeRead()
	}
	p.at++
	return p.reply.steps[p.at-1](p.ctx)
}

func (*playing) Skipped() int { return 0 }

func (p *playing) Close() error {
	p.closed = true
	return nil
}

// newGateway sets up a handler, given as JSON without its providers, whose
// model fast goes to scripts, first the first one. They are called one, two
// and so on.
func newGateway(t *testing.T, config string, scripts ...*script) *Handler {
	t.Helper()
	h, err := loadGateway(t, `{}`, config, len(scripts))
	if err != nil {
		t.Fatal(err)
	}
	for i, s := range scripts {
		h.providers[nameOf(i)] = s
	}
	return h
}

func nameOf(i int) string { return []string{"one", "two", "three"}[i] }

// loadGateway sets up a handler with so many providers, and the chat app.
func loadGateway(t *testing.T, app, config string, providers int) (*Handler, error) {
	t.Helper()
	// what belongs to the process must not begin in a bubble of synctest
	_, cancel := chat.CallContext(t.Context(), true)
	cancel(nil)
	ctx, err := caddy.ProvisionContext(&caddy.Config{AppsRaw: caddy.ModuleMap{"chat": json.RawMessage(app)}})
	if err != nil {
		t.Fatal(err)
	}
	h := &Handler{Tenant: tenantNone, ProvidersRaw: make(caddy.ModuleMap)}
	fast := &Model{Name: "fast"}
	for i := range providers {
		h.ProvidersRaw[nameOf(i)] = json.RawMessage(`{"type":"echo"}`)
		fast.To = append(fast.To, nameOf(i)+"/m")
	}
	if providers > 0 {
		h.Models = append(h.Models, fast)
	}
	if err := json.Unmarshal([]byte(config), h); err != nil {
		t.Fatal(err)
	}
	if err := h.Provision(ctx); err != nil {
		return nil, err
	}
	t.Cleanup(func() { _ = h.Cleanup() })
	return h, h.Validate()
}

const streamed = `{"messages":[{"role":"user","content":"hi"}],"stream":true,"stream_options":{"include_usage":true}}`

// newRequest is one for a completion, as Caddy hands it down.
func newRequest(ctx context.Context, body string) *http.Request {
	r := httptest.NewRequestWithContext(ctx, http.MethodPost, "/v1/chat/completions", strings.NewReader(body))
	r.Header.Set("Content-Type", "application/json")
	return caddyhttp.PrepareRequest(r, caddy.NewReplacer(), nil, nil)
}

// answer is what a client got.
type answer struct {
	status  int
	header  http.Header
	frames  []gjson.Result // without the end mark
	text    string
	reasons []string // for which choices have finished
	code    string   // of the error
	done    bool     // the end mark came
}

// ask has a request answered.
func ask(t *testing.T, h *Handler, body string) answer {
	t.Helper()
	w := httptest.NewRecorder()
	serve(t, h, w, newRequest(t.Context(), body))
	return read(w)
}

func serve(t *testing.T, h *Handler, w http.ResponseWriter, r *http.Request) {
	t.Helper()
	err := h.ServeHTTP(w, r, caddyhttp.HandlerFunc(func(http.ResponseWriter, *http.Request) error {
		t.Error("the request is passed on")
		return nil
	}))
	if err != nil {
		t.Errorf("the handler fails: %v", err)
	}
}

func read(w *httptest.ResponseRecorder) answer {
	a := answer{status: w.Code, header: w.Header()}
	if w.Header().Get("Content-Type") != "text/event-stream" {
		doc := gjson.ParseBytes(w.Body.Bytes())
		a.text, a.code = doc.Get("choices.0.message.content").Str, doc.Get("error.code").Str
		a.frames = append(a.frames, doc)
		return a
	}
	events := sse.NewDecoder(bytes.NewReader(w.Body.Bytes()), sse.MaxEvent)
	for ev, err := events.Next(); err == nil; ev, err = events.Next() {
		if string(ev.Data) == "[DONE]" {
			a.done = true
			continue
		}
		frame := gjson.Parse(string(ev.Data))
		a.frames = append(a.frames, frame)
		a.text += frame.Get("choices.0.delta.content").Str
		for _, c := range frame.Get("choices").Array() {
			if reason := c.Get("finish_reason").Str; reason != "" {
				a.reasons = append(a.reasons, c.Get("index").Raw+":"+reason)
			}
		}
		if code := frame.Get("error.code").Str; code != "" {
			a.code = code
		}
	}
	return a
}

// wantWhole checks that a stream is complete.
func (a *answer) wantWhole(t *testing.T, text string) {
	t.Helper()
	if a.status != http.StatusOK || a.text != text || a.code != "" || !a.done || len(a.reasons) != 1 {
		t.Errorf("status %d, text %q, error %q, end mark %v, finished for %q; want %q, complete\n%s", a.status, a.text, a.code, a.done, a.reasons, text, a.frames)
	}
}

// wantCut checks that a stream has broken off.
func (a *answer) wantCut(t *testing.T, text, code string) {
	t.Helper()
	if a.status != http.StatusOK || a.text != text || a.code != code || a.done {
		t.Errorf("status %d, text %q, error %q, end mark %v; want %q and then %s\n%s", a.status, a.text, a.code, a.done, text, code, a.frames)
	}
}

// wantCalls checks how often each provider was asked.
func wantCalls(t *testing.T, scripts []*script, want ...int) {
	t.Helper()
	for i, s := range scripts {
		if len(s.asked) != want[i] {
			t.Errorf("%s was asked %d times, want %d", nameOf(i), len(s.asked), want[i])
		}
	}
}
