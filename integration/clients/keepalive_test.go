package clients

import (
	"bytes"
	"io"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/openai/openai-go/v3"

	"github.com/caddy-chat/caddy-chat/integration/harness"
)

// TestKeepAlive has a model that is silent within its answer, for as long as the gateway
// takes to send some comments. Some versions of OpenAI's Go client took comments for
// events.
func TestKeepAlive(t *testing.T) {
	t.Parallel()
	oldest := filepath.Join(t.TempDir(), "oldest")
	build := exec.CommandContext(t.Context(), "go", "build", "-o", oldest, ".")
	build.Dir = "oldest"
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("building the oldest client: %v\n%s", err, out)
	}
	clients := map[string]func(t *testing.T, api, url string) string{
		"oldest": func(t *testing.T, api, url string) string {
			cmd := exec.CommandContext(t.Context(), oldest, api, url, "acme-client-key", "fast")
			cmd.Env = append(os.Environ(), "NO_PROXY=127.0.0.1", "no_proxy=127.0.0.1")
			cmd.Stderr = t.Output()
			text, err := cmd.Output()
			if err != nil {
				t.Error(err)
			}
			return string(text)
		},
		"newest": newestStreams,
	}
	for name, stream := range clients {
		for _, api := range []string{"chat", "responses"} {
			t.Run(name+"/"+api, func(t *testing.T) {
				t.Parallel()
				comments := make(chan struct{}, 3)
				up := harness.NewUpstream(t, harness.Steps(harness.Begins("one"), waitsFor(comments, 3), harness.SendsOf(func(w harness.Wire) []string {
					return []string{w.Text(" two"), w.Finish("stop"), w.Usage(7, 2), harness.EndMark}
				})))
				c := harness.Start(t, "chat {\n tenant acme {\n api_key acme-client-key\n }\n }\n", `
					tenant_resolve
					ai_gateway {
						provider openai {
							base_url `+up.URL+`
						}
						model fast {
							to openai/upstream-fast
						}
						keep_alive 20ms
					}
				`)
				if text := stream(t, api, watched(t, c.URL, comments)+"/v1"); text != "one two" {
					t.Errorf("the client read %q", text)
				}
			})
		}
	}
}

// newestStreams streams with the client that the tests use.
func newestStreams(t *testing.T, api, url string) string {
	c := clientCase{BaseURL: url, Model: "fast", Key: "acme-client-key"}
	stream := (&goClient{t.Context(), c, openai.NewClient(goOptions(c)...)}).stream
	if api == "responses" {
		stream = (&goResponses{t.Context(), c, openai.NewClient(goOptions(c)...)}).stream
	}
	var s sight
	if err := stream(&s); err != nil {
		t.Error(err)
	}
	return s.Text
}

// waitsFor waits for some values.
func waitsFor(ch <-chan struct{}, n int) harness.Script {
	var steps []harness.Script
	for range n {
		steps = append(steps, harness.Waits(ch))
	}
	return harness.Steps(steps...)
}

// watched returns the address of a proxy that reports the comments which pass it.
func watched(t *testing.T, to string, comments chan<- struct{}) string {
	t.Helper()
	u, err := url.Parse(to)
	if err != nil {
		t.Fatal(err)
	}
	p := httputil.NewSingleHostReverseProxy(u)
	p.FlushInterval = -1
	p.ModifyResponse = func(resp *http.Response) error {
		resp.Body = watchedBody{resp.Body, comments}
		return nil
	}
	s := httptest.NewServer(p)
	t.Cleanup(s.Close)
	return s.URL
}

// watchedBody is a body whose comments are reported, as far as anybody listens.
type watchedBody struct {
	io.ReadCloser
	comments chan<- struct{}
}

func (b watchedBody) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	for range bytes.Count(p[:n], []byte(": keep-alive\n")) {
		select {
		case b.comments <- struct{}{}:
		default:
		}
	}
	return n, err
}
