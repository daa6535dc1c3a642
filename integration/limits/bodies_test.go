package limits

import (
	"encoding/json"
	"io"
	"net/http"
	"strconv"
	"strings"
	"testing"

	"github.com/caddy-chat/caddy-chat/integration/harness"
)

// slowBody is a body of which the test sends the rest when it likes.
type slowBody struct {
	*harness.Pending
	rest string
	w    *io.PipeWriter
}

// begin sends the first byte of a request's body, and returns once Caddy has it.
func begin(t *testing.T, cl *harness.Client, path string, body any, header ...string) *slowBody {
	t.Helper()
	doc, err := json.Marshal(body)
	if err != nil {
		t.Fatal(err)
	}
	r, w := io.Pipe()
	t.Cleanup(func() { w.Close() })
	s := &slowBody{cl.Start(cl.Request(http.MethodPost, path, io.Reader(r), header...)), string(doc[1:]), w}
	if _, err := w.Write(doc[:1]); err != nil {
		t.Fatal(err)
	}
	return s
}

func (s *slowBody) finish(t *testing.T) {
	t.Helper()
	if _, err := io.WriteString(s.w, s.rest); err != nil {
		t.Fatal(err)
	}
	s.w.Close()
}

// TestConcurrentLimitAndSlowBodies has clients that send their bodies slowly.
func TestConcurrentLimitAndSlowBodies(t *testing.T) {
	t.Parallel()
	up := harness.NewUpstream(t)
	c := harness.Start(t, harness.PlainTenants, slots(up, "concurrent 2 per tenant\n\t\trequests 1000 1h", ""))
	for _, route := range []struct {
		name, path string
		body       func() any
		session    bool
	}{
		{"chat", "/chat", func() any { return harness.ChatRequest{SessionID: harness.NewSession(), Message: "hi"} }, false},
		{"completions", "/v1/chat/completions", func() any { return harness.CompletionRequestFor("fast") }, false},
		{"a session", "/v1/chat/completions", func() any { return harness.CompletionRequestFor("fast") }, true},
	} {
		t.Run(route.name, func(t *testing.T) {
			up := up.For(t)
			ann := harness.NewClient(c, "acme", "ann "+route.name)
			ann.T = t
			var slow []*slowBody
			for range 20 {
				var header []string
				if route.session {
					header = []string{"X-Session-Id", harness.NewSession()}
				}
				slow = append(slow, begin(t, ann, route.path, route.body(), header...))
			}
			harness.Eventually(t, "all are there", func() bool {
				return remaining(t, ann) <= 1000-21
			})
			// the two slots are free
			one := ann.Start(ann.Request(http.MethodPost, "/v1/chat/completions", harness.CompletionRequestFor("fast")))
			callOne := up.Call()
			slow[0].finish(t)
			callTwo := up.Call()
			// and now they are not
			slow[1].finish(t)
			resp := slow[1].Answer()
			if resp.Header.Get("Retry-After") == "" {
				t.Errorf("a refusal has the headers %v", resp.Header)
			}
			harness.WantFailure(t, resp, 429, "rate_limited")
			callOne.Answer("one")
			harness.ReadAll(t, one.Answer())
			slow[2].finish(t)
			callThree := up.Call()
			callTwo.Finish("stop")
			callThree.Finish("stop")
			for _, s := range []*slowBody{slow[0], slow[2]} {
				if resp := s.Answer(); resp.StatusCode != http.StatusOK {
					t.Errorf("%d %s", resp.StatusCode, harness.ReadAll(t, resp))
				} else {
					harness.ReadAll(t, resp)
				}
			}
			for _, s := range slow[3:] {
				s.GoAway()
			}
		})
	}
}

// TestConcurrentLimitBehindAProxy has another handler behind the limiter, to which
// the body goes as it comes.
func TestConcurrentLimitBehindAProxy(t *testing.T) {
	t.Parallel()
	up := harness.NewUpstream(t)
	c := harness.Start(t, harness.PlainTenants, "tenant_resolve\nchat_ratelimit {\nconcurrent 1\nrequests 1000 1h\n}\nreverse_proxy "+strings.TrimPrefix(up.Origin(), "http://")+"\n")
	ann := harness.NewClient(c, "acme", "ann")
	one := ann.Start(ann.Request(http.MethodPost, "/any", `{}`))
	call := up.Call()
	harness.WantFailure(t, ann.Do(http.MethodPost, "/any", `{}`), 429, "rate_limited")
	harness.WantFailure(t, ann.Do(http.MethodGet, "/any", nil), 429, "rate_limited")
	call.Write("text/plain", "done")
	call.Cut()
	harness.ReadAll(t, one.Answer())
	for range 3 {
		again := ann.Start(ann.Request(http.MethodPost, "/any", `{}`))
		call = up.Call()
		call.Write("text/plain", "done")
		call.Cut()
		if got := harness.ReadAll(t, again.Answer()); got != "done" {
			t.Errorf("got %q", got)
		}
	}
}

// remaining makes a request and returns what is left after it.
func remaining(t *testing.T, cl *harness.Client) int {
	t.Helper()
	resp := cl.Do(http.MethodGet, "/chat", nil)
	resp.Body.Close()
	n, err := strconv.Atoi(resp.Header.Get("X-RateLimit-Remaining"))
	if err != nil {
		t.Fatal(err)
	}
	return n
}
