package harness

import (
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/http"
	"slices"
	"strings"
	"testing"
)

// What no client may ever see of a failed upstream.
const (
	UpstreamKey  = "sk-upstream-0123456789abcdef"
	UpstreamTold = "UPSTREAM-SAID-THIS"
)

// Refusal is a request and its expected error.
type Refusal struct {
	Name   string
	Method string // POST by default
	Path   string
	Tenant string
	Body   any
	Header []string

	Status int
	Code   string
	Names  string // the field that the message begins with
	Head   map[string]string
}

func (r Refusal) Check(t testing.TB, c *Caddy) {
	t.Helper()
	method := r.Method
	if method == "" {
		method = http.MethodPost
	}
	cl := NewClient(c, r.Tenant, "ann")
	cl.T = t
	resp := cl.Do(method, r.Path, r.Body, r.Header...)
	r.CheckAnswer(t, c, resp)
}

func (r Refusal) CheckAnswer(t testing.TB, c *Caddy, resp *http.Response) {
	t.Helper()
	text := ReadAll(t, resp)
	resp.Body = io.NopCloser(strings.NewReader(text))
	f := WantFailure(t, resp, r.Status, r.Code)
	if ct := resp.Header.Get("Content-Type"); ct != "application/json" {
		t.Errorf("Content-Type %q", ct)
	}
	if r.Names != "" && !strings.HasPrefix(f.Error.Message, r.Names+": ") {
		t.Errorf("message %q does not name %s", f.Error.Message, r.Names)
	}
	if f.Error.Message == "" {
		t.Error("no message")
	}
	checkShape(t, text, strings.HasPrefix(r.Path, "/v1/"))
	CheckDiscretion(t, c, resp, text)
	for name, want := range r.Head {
		if got := resp.Header.Get(name); got != want {
			t.Errorf("%s is %q, want %q", name, got, want)
		}
	}
	for _, name := range []string{"Allow", "Retry-After", "WWW-Authenticate"} {
		if _, wanted := r.Head[name]; !wanted && resp.Header.Get(name) != "" {
			t.Errorf("%s is %q, want none", name, resp.Header.Get(name))
		}
	}
}

// checkShape checks that the body has the members of its kind, and no others.
func checkShape(t testing.TB, text string, openAI bool) {
	t.Helper()
	var doc map[string]json.RawMessage
	var detail map[string]json.RawMessage
	if err := json.Unmarshal([]byte(text), &doc); err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(doc["error"], &detail); err != nil {
		t.Fatal(err)
	}
	wantDoc, wantDetail := []string{"error", "ok", "traceId"}, []string{"code", "message"}
	if openAI {
		wantDoc, wantDetail = []string{"error", "trace_id"}, []string{"code", "message", "param", "type"}
	}
	if got := slices.Sorted(maps.Keys(doc)); !slices.Equal(got, wantDoc) {
		t.Errorf("members %v, want %v", got, wantDoc)
	}
	if got := slices.Sorted(maps.Keys(detail)); !slices.Equal(got, wantDetail) {
		t.Errorf("members of error %v, want %v", got, wantDetail)
	}
	if !openAI && string(doc["ok"]) != "false" {
		t.Errorf("ok is %s", doc["ok"])
	}
	if openAI && string(detail["type"]) == `""` {
		t.Error("type is empty")
	}
}

// CheckDiscretion checks that an answer reveals nothing a client must not see.
func CheckDiscretion(t testing.TB, c *Caddy, resp *http.Response, text string) {
	t.Helper()
	all := text + fmt.Sprint(resp.Header)
	for _, secret := range []string{UpstreamTold, UpstreamKey, "globex-secret-key", c.Dir, "goroutine", "/var/lib", "/srv/", ".go:"} {
		if strings.Contains(all, secret) {
			t.Errorf("the answer shows %q: %s", secret, all)
		}
	}
}

// SomeSession is a valid session id.
const SomeSession = "0198f0e0-0000-7000-8000-000000000000"

// CompletionRequestFor returns a chat completions request to a model.
func CompletionRequestFor(model string) map[string]any {
	return map[string]any{"model": model, "messages": []map[string]string{{"role": "user", "content": "hi"}}}
}

// ChatRequestFor returns a /chat request to a model in a new session.
func ChatRequestFor(model string) ChatRequest {
	return ChatRequest{SessionID: NewSession(), Message: "hi", ModelID: model}
}

// WantReason checks whether an error message contains the provider's reason. It
// must never contain anything that looks like a key or an address.
func WantReason(t testing.TB, told string, passedOn bool) {
	t.Helper()
	if strings.Contains(told, "upstream-words") != passedOn {
		t.Errorf("the client got %q", told)
	}
	for _, secret := range []string{"sk-live", "0123456789abcdef", "internal.example.com"} {
		if strings.Contains(told, secret) {
			t.Errorf("the client got %q", told)
		}
	}
}
