package sharedanswer

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"
	_ "github.com/caddyserver/caddy/v2/modules/filestorage"
	"github.com/google/uuid"
	"go.uber.org/zap"

	"github.com/caddy-chat/caddy-chat/modules/apierror"
	"github.com/caddy-chat/caddy-chat/modules/chat"
	"github.com/caddy-chat/caddy-chat/modules/record"
	"github.com/caddy-chat/caddy-chat/modules/store"
	_ "github.com/caddy-chat/caddy-chat/modules/store/badger"
)

// node answers requests under a key over a real store. The test makes the
// answers.
type node struct {
	t      *testing.T
	url    string
	app    *chat.App
	store  store.Store
	makers chan *maker
	path   string // part of the key

	mu     sync.Mutex
	cont   bool // KeyedRequest.Continue
	begins bool // KeyedRequest.Begins
	noted
}

// noted is what stands, where it is used.
type noted struct {
	uses   bool
	stands bool
}

// maker is an answer that is being made: the test says what it does.
type maker struct {
	w     *Recorder
	r     *http.Request
	steps chan func() error
	acks  chan struct{}

	served chan struct{} // closed once its request is
}

// newStore opens a store in a new folder.
func newStore(t *testing.T) (*chat.App, store.Store) {
	t.Helper()
	dir := t.TempDir()
	ctx, err := caddy.ProvisionContext(&caddy.Config{
		Admin:      &caddy.AdminConfig{Disabled: true},
		StorageRaw: json.RawMessage(fmt.Sprintf(`{"module":"file_system","root":%q}`, dir)),
		AppsRaw: caddy.ModuleMap{
			"chat": json.RawMessage(fmt.Sprintf(`{"store":{"module":"badger","path":%q}}`, filepath.Join(dir, "chat"))),
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	app, err := chat.FromContext(ctx)
	if err != nil {
		t.Fatal(err)
	}
	s, release, err := app.Lease()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(release)
	return app, s
}

func newNode(t *testing.T, app *chat.App, s store.Store) *node {
	t.Helper()
	n := &node{t: t, app: app, store: s, makers: make(chan *maker, 100), cont: true, path: "/" + record.NewID()}
	keys := NewIdempotency(app, zap.NewNop())
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		n.serve(keys, w, r)
	}))
	t.Cleanup(srv.Close)
	n.url = srv.URL
	return n
}

func (n *node) serve(keys *Idempotency, w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return
	}
	w.Header().Set("X-Of-This", "request")
	served := make(chan struct{})
	defer close(served)
	err = keys.Serve(n.keyed(w, r, body), func(x *chat.Exchange) error {
		if err := n.begin(x); err != nil {
			return err
		}
		m := &maker{x.W.(*Recorder), x.R, make(chan func() error), make(chan struct{}), served}
		n.makers <- m
		for step := range m.steps {
			err := step()
			m.acks <- struct{}{}
			if err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		w.WriteHeader(apierror.From(err).Status)
		_, _ = io.WriteString(w, apierror.From(err).Code)
	}
}

// begin takes a turn in a new session, with the claim of the key if it is not made yet.
func (n *node) begin(x *chat.Exchange) error {
	c := ClaimOf(x.W)
	session := store.SessionKey{User: "ann", ID: uuid.NewString()}
	b := store.Beginning{Turn: record.NewID(), Lease: keyLease, Past: store.Range{Limit: 1}}
	begun, err := n.store.Begin(x.R.Context(), noTenant, session, c.With(b))
	if err == nil {
		c.Made(begun)
	}
	return err
}

func (n *node) keyed(w http.ResponseWriter, r *http.Request, body []byte) *KeyedRequest {
	x := &KeyedRequest{
		Request: Request{Exchange: n.app.NewExchange(w, r, &record.Record{TraceID: r.Header.Get("X-Trace-Id"), User: "ann"}), Stream: true},
		Key:     "key",
		Same:    [][]byte{body},
	}
	x.Exchange.Store = n.store
	n.mu.Lock()
	defer n.mu.Unlock()
	x.Continue, x.Begins = n.cont, n.begins
	if n.uses {
		stands := n.stands
		x.Stands = func(_ context.Context, note []byte) (bool, error) {
			if string(note) != "noted" {
				return false, fmt.Errorf("the note is %q", note)
			}
			return stands, nil
		}
	}
	return x
}

// set changes how requests are served from now on.
func (n *node) set(change func()) {
	n.mu.Lock()
	defer n.mu.Unlock()
	change()
}

// maker waits for an answer to be made.
func (n *node) maker() *maker { return <-n.makers }

func (n *node) wantNoMaker() {
	n.t.Helper()
	if len(n.makers) > 0 {
		n.t.Error("another answer is made")
	}
}

func (m *maker) do(step func() error) {
	m.steps <- step
	<-m.acks
}

// say writes a piece of a stream.
func (m *maker) say(text string) {
	m.do(func() error {
		m.w.Header().Set("Content-Type", "text/event-stream")
		if _, err := io.WriteString(m.w, text); err != nil {
			return err
		}
		return http.NewResponseController(m.w).Flush()
	})
}

// end returns from making the answer.
func (m *maker) end(err error) {
	if err == nil {
		close(m.steps)
		return
	}
	m.do(func() error { return err })
}

// asking is a request and its answer, as far as it was read.
type asking struct {
	t      *testing.T
	resp   chan *http.Response
	got    *http.Response
	text   string
	goAway context.CancelFunc
}

func (n *node) ask(body, trace string) *asking {
	n.t.Helper()
	ctx, cancel := context.WithCancel(n.t.Context())
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, n.url+n.path, strings.NewReader(body))
	if err != nil {
		n.t.Fatal(err)
	}
	req.Header.Set("X-Trace-Id", trace)
	a := &asking{t: n.t, resp: make(chan *http.Response, 1), goAway: cancel}
	go func() {
		defer close(a.resp)
		if resp, err := http.DefaultClient.Do(req); err == nil {
			a.resp <- resp
		}
	}()
	return a
}

func (a *asking) begun() *http.Response {
	a.t.Helper()
	if a.got == nil {
		resp, ok := <-a.resp
		if !ok {
			a.t.Fatal("there is no answer")
		}
		a.got = resp
	}
	return a.got
}

// wantText reads until that is the text so far.
func (a *asking) wantText(want string) {
	a.t.Helper()
	resp := a.begun()
	more := make([]byte, len(want)-len(a.text))
	n, err := io.ReadFull(resp.Body, more)
	if a.text += string(more[:n]); a.text != want {
		a.t.Fatalf("status %d, %q, %v, want %q", resp.StatusCode, a.text, err, want)
	}
}

// wantRest reads to the end, which a cut answer has none of.
func (a *asking) wantRest(status int, want string) {
	a.t.Helper()
	resp := a.begun()
	defer resp.Body.Close()
	rest, err := io.ReadAll(resp.Body)
	if a.text += string(rest); err != nil || resp.StatusCode != status || a.text != want {
		a.t.Errorf("status %d, %q, %v, want %d, %q", resp.StatusCode, a.text, err, status, want)
	}
}

// wantFailed is wantRest of a stream that ends with a failure in the words of
// its own request.
func (a *asking) wantFailed(text, code, trace string) {
	a.t.Helper()
	resp := a.begun()
	defer resp.Body.Close()
	rest, err := io.ReadAll(resp.Body)
	a.text += string(rest)
	if err != nil || !strings.HasPrefix(a.text, text+"data: {\"error\"") ||
		!strings.Contains(a.text, fmt.Sprintf("%q:%q", "code", code)) || !strings.Contains(a.text, fmt.Sprintf("%q:%q", "trace_id", trace)) {
		a.t.Errorf("%q, %v, want %q and %s for %s", a.text, err, text, code, trace)
	}
}

// follower asks and waits until that follows the answer that is being made.
func (n *node) follower(body, trace string) *asking {
	n.t.Helper()
	a := n.ask(body, trace)
	waitFor(n.t, "it follows", func() bool { return goroutinesIn("sharedanswer.(*follower).follow(") == 1 })
	return a
}

// waitFor waits until something is so.
func waitFor(t *testing.T, what string, is func() bool) {
	t.Helper()
	for deadline := time.Now().Add(time.Minute); !is(); {
		if time.Now().After(deadline) {
			t.Fatalf("waited too long: %s", what)
		}
		runtime.Gosched()
	}
}

// goroutinesIn counts the goroutines that are in a function.
func goroutinesIn(name string) (n int) {
	buf := make([]byte, 1<<20)
	for g := range strings.SplitSeq(string(buf[:runtime.Stack(buf, true)]), "\n\n") {
		if strings.Contains(g, name) {
			n++
		}
	}
	return n
}
