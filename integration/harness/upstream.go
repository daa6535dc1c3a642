package harness

import (
	"bytes"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

// Upstream is the server behind the chain: a model server or an application. It
// records its calls and follows a script: one entry per call, the last of which
// repeats. Without a script, every call waits for the test, which controls it
// (see HeldCall).
type Upstream struct {
	Name  string         // of the provider in the Caddyfile
	URL   string         // of its API, with /v1
	Calls chan *HeldCall // waiting for the test

	t testing.TB
	*endpoint
}

// endpoint is what an upstream shares with its copies for subtests.
type endpoint struct {
	addr string
	srv  *httptest.Server

	mu     sync.Mutex
	script []Script
	played int // calls since the script was set
	asked  []Asked
}

// NewUpstream starts an upstream. Start it before Caddy, so that Caddy stops
// first.
func NewUpstream(t testing.TB, script ...Script) *Upstream {
	t.Helper()
	return NewTarget(t, "up", script...)
}

// NewTarget starts an upstream with a name, for tests that have several.
func NewTarget(t testing.TB, name string, script ...Script) *Upstream {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	u := &Upstream{t: t, Name: name, Calls: make(chan *HeldCall, 4096), endpoint: &endpoint{addr: l.Addr().String(), script: script}}
	u.URL = u.Origin() + "/v1"
	u.serve(l)
	t.Cleanup(u.Down)
	return u
}

// For returns the same upstream for a subtest, whose failures are then its own
// and not its parent's.
func (u *Upstream) For(t testing.TB) *Upstream {
	sub := *u
	sub.t = t
	return &sub
}

// NewTargets starts upstreams that all answer Hello.
func NewTargets(t testing.TB, names ...string) []*Upstream {
	t.Helper()
	var list []*Upstream
	for _, name := range names {
		list = append(list, NewTarget(t, name, Says(7, 3, "Hello")))
	}
	return list
}

// Origin returns the URL of the server itself.
func (u *Upstream) Origin() string { return "http://" + u.addr }

func (u *Upstream) serve(l net.Listener) {
	u.srv = &httptest.Server{Listener: l, Config: &http.Server{Handler: u, ReadHeaderTimeout: Patience}}
	u.srv.Start()
}

// Down closes the port and every connection to it, and waits for the calls to
// end.
func (u *Upstream) Down() {
	_ = u.srv.Config.Close()
	u.srv.Close()
}

// Up opens the port again.
func (u *Upstream) Up() {
	u.t.Helper()
	Eventually(u.t, "the port is free again", func() bool {
		l, err := net.Listen("tcp", u.addr)
		if err == nil {
			u.serve(l)
		}
		return err == nil
	})
}

// Plays replaces the script. Without any, further calls wait for the test.
func (u *Upstream) Plays(script ...Script) {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.script, u.played = script, 0
}

func (u *Upstream) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	// Read the body to its end, or the server does not notice that the caller
	// has left.
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return // the caller has left
	}
	r.Body = io.NopCloser(bytes.NewReader(body))
	asked := Asked{At: time.Now(), Method: r.Method, Path: r.URL.Path, Header: r.Header.Clone(), Body: string(body)}

	u.mu.Lock()
	u.asked = append(u.asked, asked)
	wire := Wire{ID: fmt.Sprintf("%s-%d", u.Name, len(u.asked)), Model: asked.Get("model").Str}
	do := u.Hold
	if len(u.script) > 0 {
		do = u.script[min(u.played, len(u.script)-1)]
	}
	u.played++
	u.mu.Unlock()

	do(&Call{Asked: asked, Wire: wire, W: w, R: r})
}

// Requests returns the calls so far.
func (u *Upstream) Requests() []Asked {
	u.mu.Lock()
	defer u.mu.Unlock()
	return slices.Clone(u.asked)
}

// Count returns the number of calls so far.
func (u *Upstream) Count() int {
	u.mu.Lock()
	defer u.mu.Unlock()
	return len(u.asked)
}

// Last returns the latest call.
func (u *Upstream) Last() Asked {
	u.t.Helper()
	asked := u.Requests()
	if len(asked) == 0 {
		u.t.Fatal("the upstream was not asked")
	}
	return asked[len(asked)-1]
}

// Only returns the only call.
func (u *Upstream) Only() Asked {
	u.t.Helper()
	asked := u.Requests()
	if len(asked) != 1 {
		u.t.Fatalf("the upstream was asked %d times, want once: %+v", len(asked), asked)
	}
	return asked[0]
}

// Gateway is an ai_gateway whose model fast is the upstream. It calls it once
// for each request, and its timeouts are longer than any test.
func (u *Upstream) Gateway() string {
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
`, u.URL)
}

// Chain is the whole chain in front of the upstream, with options of
// chat_session, and with limits that no test reaches by accident.
func (u *Upstream) Chain(session string) string {
	return fmt.Sprintf(`
	tenant_resolve
	chat_ratelimit {
		requests 100000 1m
	}
	chat_session {
		%s
	}
`, session) + u.Gateway()
}

// Sessions is chat_session in front of the gateway.
func (u *Upstream) Sessions(options string) string {
	return "tenant_resolve\nchat_session {\n" + options + "\n}\n" + u.Gateway()
}

// Proxied is chat_session in front of a plain reverse_proxy.
func (u *Upstream) Proxied(options string) string {
	return "tenant_resolve\nchat_session {\n" + options + "\n}\nreverse_proxy " + strings.TrimPrefix(u.Origin(), "http://") + "\n"
}
