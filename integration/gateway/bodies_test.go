package gateway

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/caddy-chat/caddy-chat/integration/harness"
)

// bodyRoutes are the routes that read a body, each with one of its own.
var bodyRoutes = []struct {
	name, path, body string
	header           []string
}{
	{"chat", "/chat", `{"sessionId":"` + harness.SomeSession + `","message":"hi"`, nil},
	{"completions", "/v1/chat/completions", `{"messages":[{"role":"user","content":"hi"}]`, nil},
	{"a session", "/v1/chat/completions", `{"messages":[{"role":"user","content":"hi"}]`, []string{"X-Session-Id", harness.SomeSession}},
	{"embeddings", "/v1/embeddings", `{"input":"hi"`, nil},
}

// bodySite has small limits.
func bodySite(up *harness.Upstream, more string) string {
	return "tenant_resolve\nchat_session {\nmax_body 2000\n" + more + "\n}\n" +
		strings.Replace(up.Gateway(), "retries 0", "retries 0\nmax_body 2000\n"+more, 1)
}

func compressed(text string) string {
	var b bytes.Buffer
	w := gzip.NewWriter(&b)
	_, _ = io.WriteString(w, text)
	_ = w.Close()
	return b.String()
}

// TestBodyReasons sends bodies that are not one JSON object. The message says
// why, and quotes nothing of the body.
func TestBodyReasons(t *testing.T) {
	up := harness.NewUpstream(t, harness.Stalls)
	c := harness.Start(t, harness.GatewayTenants, bodySite(up, ""))
	for _, route := range bodyRoutes {
		secret := `,"x":"secret"`
		for _, tc := range []struct {
			name, body string
			status     int
			code       string
			says       string
			header     []string
		}{
			{"half an emoji", route.body + secret + `,"y":"\ud83d"}`, 400, "invalid_json", "half a surrogate pair", nil},
			{"the other half", route.body + secret + `,"y":"\uDE00"}`, 400, "invalid_json", "half a surrogate pair", nil},
			{"two first halves", route.body + secret + `,"y":"\ud83d\ud83d"}`, 400, "invalid_json", "half a surrogate pair", nil},
			{"half an emoji in a name", route.body + secret + `,"\ud83d":1}`, 400, "invalid_json", "half a surrogate pair", nil},
			{"Latin-1", route.body + secret + ",\"y\":\"caf\xe9\"}", 400, "invalid_json", "not valid UTF-8", nil},
			{"UTF-8 cut", route.body + secret + ",\"y\":\"\xf0\x9f\x98", 400, "invalid_json", "ends too early", nil},
			{"a surrogate in UTF-8", route.body + secret + ",\"y\":\"\xed\xa0\xbd\"}", 400, "invalid_json", "not valid UTF-8", nil},
			{"gzip, announced", compressed(route.body + "}"), 415, "unsupported_media_type", "compressed", []string{"Content-Encoding", "gzip"}},
			{"gzip, unannounced", compressed(route.body + "}"), 415, "unsupported_media_type", "compressed", nil},
			{"brotli, announced", "\x0b\x02\x80", 415, "unsupported_media_type", "compressed", []string{"Content-Encoding", "br"}},
			{"a byte order mark", "\ufeff" + route.body + "}", 400, "invalid_json", "byte order mark", nil},
			{"UTF-16", "\xff\xfe{\x00}\x00", 400, "invalid_json", "UTF-16", nil},
			{"empty", "", 400, "invalid_json", "empty", nil},
			{"white space", " \r\n\t", 400, "invalid_json", "empty", nil},
			{"a duplicate name", route.body + secret + `,"x":1}`, 400, "invalid_json", "duplicate name", nil},
			{"a duplicate name, escaped", route.body + secret + `,"\u0078":1}`, 400, "invalid_json", "duplicate name", nil},
			{"more behind it", route.body + secret + `} {}`, 400, "invalid_json", "goes on", nil},
			{"cut", route.body + secret, 400, "invalid_json", "ends too early", nil},
			{"a comma too many", route.body + secret + `,}`, 400, "invalid_json", "not valid JSON", nil},
			{"a list", "[" + route.body + "}]", 400, "invalid_request", "want a JSON object", nil},
			{"null", "null", 400, "invalid_request", "want a JSON object", nil},
			{"a form", "message=secret", 415, "unsupported_media_type", "application/json", []string{"Content-Type", "application/x-www-form-urlencoded"}},
		} {
			t.Run(route.name+"/"+tc.name, func(t *testing.T) {
				cl := harness.NewClient(c, "globex", "ann")
				cl.T = t
				f := harness.WantFailure(t, cl.Do(http.MethodPost, route.path, tc.body, append(tc.header, route.header...)...), tc.status, tc.code)
				if !strings.Contains(f.Error.Message, tc.says) || strings.Contains(f.Error.Message, "secret") {
					t.Errorf("message %q, want %q in it", f.Error.Message, tc.says)
				}
			})
		}
		t.Run(route.name+"/no body at all", func(t *testing.T) {
			cl := harness.NewClient(c, "globex", "ann")
			cl.T = t
			f := harness.WantFailure(t, cl.Do(http.MethodPost, route.path, nil, route.header...), 400, "invalid_json")
			if !strings.Contains(f.Error.Message, "empty") {
				t.Errorf("message %q", f.Error.Message)
			}
		})
	}
	if up.Count() > 0 {
		t.Error("the provider was asked")
	}
}

// rawConn is a client that sends a body as slowly as it likes.
type rawConn struct {
	net.Conn
	t testing.TB
	r *bufio.Reader
}

func dial(t testing.TB, c *harness.Caddy) *rawConn {
	t.Helper()
	conn, err := net.Dial("tcp", strings.TrimPrefix(c.URL, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	_ = conn.SetDeadline(time.Now().Add(harness.Patience))
	return &rawConn{conn, t, bufio.NewReader(conn)}
}

// post sends the header of a POST, and body.
func (c *rawConn) post(path, body string, header ...string) {
	c.t.Helper()
	head := fmt.Sprintf("POST %s HTTP/1.1\r\nHost: %s\r\nContent-Type: application/json\r\nX-Tenant-Id: globex\r\nX-User-Id: ann\r\n", path, c.RemoteAddr())
	for i := 0; i+1 < len(header); i += 2 {
		head += header[i] + ": " + header[i+1] + "\r\n"
	}
	if _, err := io.WriteString(c, head+"\r\n"+body); err != nil {
		c.t.Fatal(err)
	}
}

// answer reads an answer, which may be an informational one.
func (c *rawConn) answer() *http.Response {
	c.t.Helper()
	resp, err := http.ReadResponse(c.r, nil)
	if err != nil {
		c.t.Fatal(err)
	}
	return resp
}

// wantRefused checks that a refusal announces the end of its connection, and that
// it comes.
func (c *rawConn) wantRefused(status int, code string) {
	c.t.Helper()
	resp := c.answer()
	harness.WantFailure(c.t, resp, status, code)
	if !resp.Close {
		c.t.Error("the connection is to be used again")
	}
	if _, err := c.r.ReadByte(); err != io.EOF {
		c.t.Errorf("then %v, want the end", err)
	}
}

// overHTTP2 returns a client that speaks HTTP/2 without TLS.
func overHTTP2(t *testing.T, c *harness.Caddy) *harness.Client {
	t.Helper()
	tr := &http.Transport{Protocols: new(http.Protocols)}
	tr.Protocols.SetUnencryptedHTTP2(true)
	t.Cleanup(tr.CloseIdleConnections)
	cl := harness.NewClient(c, "globex", "ann")
	cl.T, cl.HTTP = t, &http.Client{Transport: tr}
	return cl
}

// TestBodyTooLarge sends bodies above the limit, or only announces them.
func TestBodyTooLarge(t *testing.T) {
	t.Parallel()
	up := harness.NewUpstream(t, harness.Stalls)
	c := harness.Start(t, harness.GatewayTenants, bodySite(up, ""))
	big := harness.Start(t, harness.GatewayTenants, strings.ReplaceAll(bodySite(up, ""), "max_body 2000", "max_body 1MiB"))
	for _, route := range bodyRoutes {
		limit := 2000
		if route.name == "a session" {
			limit = 10 << 20 // at least, so that a history fits
		}
		t.Run(route.name, func(t *testing.T) {
			for _, tc := range []struct {
				name   string
				size   int
				header []string
			}{
				{"never sent", 100_000_000, nil},
				{"never sent, little more than the limit", 200_000, nil},
				{"never sent, 100-continue", 100_000_000, []string{"Expect", "100-continue"}},
				{"never sent, little more than the limit, 100-continue", 200_000, []string{"Expect", "100-continue"}},
			} {
				t.Run(tc.name, func(t *testing.T) {
					if tc.size < limit {
						t.Skip("within the limit")
					}
					conn := dial(t, c)
					conn.post(route.path, "", append(append([]string{"Content-Length", fmt.Sprint(tc.size)}, tc.header...), route.header...)...)
					conn.wantRefused(http.StatusRequestEntityTooLarge, "payload_too_large")
				})
			}
			t.Run("sent before the answer is read", func(t *testing.T) {
				const size = 30 << 20
				conn := dial(t, c)
				conn.post(route.path, strings.Repeat(" ", size), append([]string{"Content-Length", fmt.Sprint(size)}, route.header...)...)
				conn.wantRefused(http.StatusRequestEntityTooLarge, "payload_too_large")
			})
			t.Run("in chunks, the last of which never comes", func(t *testing.T) {
				conn := dial(t, c)
				size := limit + 1000
				conn.post(route.path, fmt.Sprintf("%x\r\n%s\r\n", size, strings.Repeat(" ", size)), append([]string{"Transfer-Encoding", "chunked"}, route.header...)...)
				conn.wantRefused(http.StatusRequestEntityTooLarge, "payload_too_large")
			})
			t.Run("over HTTP/2", func(t *testing.T) {
				cl := overHTTP2(t, c)
				body, w := io.Pipe()
				defer w.Close()
				req := cl.Request(http.MethodPost, route.path, io.Reader(body), route.header...)
				req.ContentLength = 100_000_000
				resp, err := cl.HTTP.Do(req)
				if err != nil {
					t.Fatal(err)
				}
				if resp.ProtoMajor != 2 {
					t.Errorf("answered over %s", resp.Proto)
				}
				harness.WantFailure(t, resp, http.StatusRequestEntityTooLarge, "payload_too_large")
			})
		})
	}
	t.Run("a refusal that does not read the body closes too", func(t *testing.T) {
		for _, tc := range []struct {
			path, header, value string
			status              int
			code                string
		}{
			{"/chat", "X-Tenant-Id", "nobody", 404, "tenant_unknown"},
			{"/v1/chat/completions", "X-Tenant-Id", "keyed", 401, "invalid_api_key"},
			{"/v1/models", "X-Tenant-Id", "globex", 405, "method_not_allowed"},
			{"/v1/files", "X-Tenant-Id", "globex", 404, "not_found"},
		} {
			conn := dial(t, big)
			fmt.Fprintf(conn, "POST %s HTTP/1.1\r\nHost: %s\r\nContent-Type: application/json\r\n%s: %s\r\nContent-Length: 900000\r\n\r\n", tc.path, conn.RemoteAddr(), tc.header, tc.value)
			conn.wantRefused(tc.status, tc.code)
		}
	})
	t.Run("a small body keeps the connection", func(t *testing.T) {
		conn := dial(t, c)
		for range 2 {
			conn.post("/v1/models", "{}", "Content-Length", "2")
			if resp := conn.answer(); resp.Close {
				t.Error("the connection closes")
			} else {
				harness.WantFailure(t, resp, 405, "method_not_allowed")
			}
		}
	})
}

// TestBodyTimeout sends a part of a body and no more.
func TestBodyTimeout(t *testing.T) {
	t.Parallel()
	up := harness.NewUpstream(t, harness.Echoes)
	c := harness.Start(t, harness.GatewayTenants, bodySite(up, "read_timeout 200ms"))
	for _, route := range bodyRoutes {
		t.Run(route.name, func(t *testing.T) {
			for name, header := range map[string][]string{
				"with a length": {"Content-Length", "100"},
				"in chunks":     {"Transfer-Encoding", "chunked"},
				"100-continue":  {"Content-Length", "100", "Expect", "100-continue"},
			} {
				t.Run(name, func(t *testing.T) {
					conn := dial(t, c)
					body := `{"a`
					switch name {
					case "in chunks":
						body = "3\r\n" + body + "\r\n"
					case "100-continue":
						body = ""
					}
					conn.post(route.path, body, append(header, route.header...)...)
					if name == "100-continue" {
						if resp := conn.answer(); resp.StatusCode != http.StatusContinue {
							t.Errorf("first %d", resp.StatusCode)
						}
					}
					conn.wantRefused(http.StatusRequestTimeout, "invalid_request")
				})
			}
		})
	}
	t.Run("a byte now and then", func(t *testing.T) {
		conn := dial(t, c)
		conn.post("/chat", "", "Content-Length", "1000")
		done := make(chan struct{})
		var sending sync.WaitGroup
		sending.Go(func() {
			tick := time.NewTicker(20 * time.Millisecond)
			defer tick.Stop()
			for {
				select {
				case <-tick.C:
				case <-done:
					return
				}
				if _, err := io.WriteString(conn, " "); err != nil {
					return // Caddy has closed the connection
				}
			}
		})
		harness.WantFailure(t, conn.answer(), http.StatusRequestTimeout, "invalid_request")
		close(done)
		sending.Wait()
	})
	t.Run("over HTTP/2", func(t *testing.T) {
		cl := overHTTP2(t, c)
		body, w := io.Pipe()
		defer w.Close()
		harness.WantFailure(t, cl.Do(http.MethodPost, "/chat", io.Reader(body)), http.StatusRequestTimeout, "invalid_request")
	})
	t.Run("the answer may take longer", func(t *testing.T) {
		up.Plays(harness.Steps(harness.Takes(400*time.Millisecond), harness.Echoes))
		conn := dial(t, c)
		for range 2 { // the connection is used again
			body := `{"messages":[{"role":"user","content":"hi"}]}`
			conn.post("/v1/chat/completions", body, "Content-Length", fmt.Sprint(len(body)))
			if resp := conn.answer(); resp.StatusCode != http.StatusOK || !strings.Contains(harness.ReadAll(t, resp), "re: hi") {
				t.Errorf("%d", resp.StatusCode)
			}
		}
	})
}
