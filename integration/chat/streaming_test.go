package chat

import (
	"compress/gzip"
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/tidwall/gjson"

	"github.com/caddy-chat/caddy-chat/integration/harness"
	"github.com/caddy-chat/caddy-chat/modules/sse"
)

// TestStreaming checks that no chunk is held back: the upstream sends the next
// one only after the test has seen the last.
func TestStreaming(t *testing.T) {
	t.Parallel()
	up := harness.NewUpstream(t)
	gateway := fmt.Sprintf(`
		tenant_resolve
		chat_session
		ai_gateway {
			provider openai {
				base_url %s
			}
			model fast {
				to openai/up-1
			}
		}`, up.URL)
	proxy := fmt.Sprintf(`
		tenant_resolve
		chat_session
		reverse_proxy %s`, up.Origin())
	native := streamedRoute{"/chat", "content"}
	openAI := streamedRoute{harness.CompletionsPath, "choices.0.delta.content"}

	for _, tc := range []struct {
		name, site string
		zipped     bool
		routes     []streamedRoute
	}{
		{"gateway", gateway, false, []streamedRoute{native, openAI}},
		{"gateway behind encode", gateway + "\n\t\tencode gzip", true, []streamedRoute{native, openAI}},
		{"reverse_proxy", proxy, false, []streamedRoute{native}},
		{"reverse_proxy behind encode", proxy + "\n\t\tencode gzip", true, []streamedRoute{native}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			port := harness.FreePort(t)
			secure := fmt.Sprintf("https://127.0.0.1:%d", port)
			c := harness.Start(t, "auto_https disable_redirects\n\tservers {\n\t\tprotocols h1 h2 h2c\n\t}",
				tc.site+"\n}\n"+secure+" {\n\t\ttls internal"+tc.site)
			for _, proto := range []wireProtocol{
				{"HTTP/1.1", c.URL, newTransport((*http.Protocols).SetHTTP1)},
				{"HTTP/2.0", secure, newTransport((*http.Protocols).SetHTTP2)},
				{"HTTP/2.0", c.URL, newTransport((*http.Protocols).SetUnencryptedHTTP2)},
			} {
				harness.Eventually(t, proto.url+" is served", proto.isServed)
				for _, route := range tc.routes {
					name, _, _ := strings.Cut(proto.url, ":")
					t.Run(proto.version+" over "+name+route.path, func(t *testing.T) {
						each := &eachChunk{t: t, up: up, proto: proto, route: route, zipped: tc.zipped}
						each.leavesAtOnce()
					})
				}
			}
		})
	}
}

// streamedRoute is a route that streams, and the path of the text in its chunks.
type streamedRoute struct{ path, text string }

// wireProtocol is a version of HTTP, and how to speak it.
type wireProtocol struct {
	version   string
	url       string
	transport *http.Transport
}

func newTransport(speak func(*http.Protocols, bool)) *http.Transport {
	protocols := new(http.Protocols)
	speak(protocols, true)
	return &http.Transport{
		Protocols: protocols,
		// the certificate is Caddy's own
		TLSClientConfig: &tls.Config{InsecureSkipVerify: true},
	}
}

func (p wireProtocol) isServed() bool {
	resp, err := (&http.Client{Transport: p.transport}).Get(p.url + "/chat")
	if err != nil {
		return false
	}
	resp.Body.Close()
	return resp.StatusCode == http.StatusOK
}

type eachChunk struct {
	t      *testing.T
	up     *harness.Upstream
	proto  wireProtocol
	route  streamedRoute
	zipped bool
}

func (s *eachChunk) leavesAtOnce() {
	s.t.Helper()
	answer := s.ask()
	call := s.up.Call()
	call.Send(harness.Role)
	call.Send(harness.Content("one"))

	var resp *http.Response
	select {
	case a := <-answer:
		if a.err != nil {
			s.t.Fatal(a.err)
		}
		resp = a.resp
	case <-harness.TimeUp(s.t):
		s.t.Fatal("the first chunk is held back")
	}
	defer resp.Body.Close()
	if resp.Proto != s.proto.version || resp.Header.Get("Content-Type") != "text/event-stream" {
		s.t.Errorf("%s, %s; want %s and an event stream", resp.Proto, resp.Header.Get("Content-Type"), s.proto.version)
	}
	dec := sse.NewDecoder(s.body(resp), 0)
	s.next(dec, "one")
	for _, text := range []string{" two", " three"} {
		call.Send(harness.Content(text))
		s.next(dec, text)
	}
	call.End(harness.Sends(harness.Finished, harness.EndMark))
	if _, err := io.Copy(io.Discard, resp.Body); err != nil {
		s.t.Errorf("the end: %v", err)
	}
}

// begun is an answer that has begun, or the error in its place.
type begun struct {
	resp *http.Response
	err  error
}

// ask makes the request.
func (s *eachChunk) ask() <-chan begun {
	s.t.Helper()
	ctx, cancel := context.WithTimeout(s.t.Context(), harness.Patience)
	s.t.Cleanup(cancel)
	cl := &harness.Client{T: s.t, URL: s.proto.url, User: "ann"}
	var body any = harness.NewQuestion("fast").Streamed()
	if s.route.path == "/chat" {
		body = harness.ChatRequest{SessionID: harness.NewSession(), Message: "hi"}
	}
	encoding := "identity"
	if s.zipped {
		encoding = "gzip"
	}
	req := cl.Request(http.MethodPost, s.route.path, body, "Accept-Encoding", encoding).WithContext(ctx)
	answer := make(chan begun, 1)
	go func() {
		resp, err := (&http.Client{Transport: s.proto.transport}).Do(req)
		answer <- begun{resp, err}
	}()
	return answer
}

// body returns the answer's body, decompressed if the request asked for gzip.
func (s *eachChunk) body(resp *http.Response) io.Reader {
	s.t.Helper()
	if !s.zipped {
		return resp.Body
	}
	if got := resp.Header.Get("Content-Encoding"); got != "gzip" {
		s.t.Fatalf("Content-Encoding %q, want gzip", got)
	}
	zr, err := gzip.NewReader(resp.Body)
	if err != nil {
		s.t.Fatal(err)
	}
	return zr
}

// next reads up to the next text.
func (s *eachChunk) next(dec *sse.Decoder, want string) {
	s.t.Helper()
	for {
		ev, err := dec.Next()
		if err != nil {
			s.t.Fatalf("%q does not arrive: %v", want, err)
		}
		switch got := gjson.GetBytes(ev.Data, s.route.text).Str; got {
		case want:
			return
		case "": // the role
		default:
			s.t.Fatalf("got %q, want %q", got, want)
		}
	}
}
