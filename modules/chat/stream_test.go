package chat

import (
	"bytes"
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	"github.com/caddy-chat/caddy-chat/modules/apierror"
	"github.com/caddy-chat/caddy-chat/modules/provider"
	"github.com/caddy-chat/caddy-chat/modules/tenant"
)

// connection is a client's connection, or a handler in front that takes
// failures where taker is set.
type connection struct {
	mu      sync.Mutex
	header  http.Header
	status  int
	body    strings.Builder
	writes  int
	flushes int
	err     error
}

func (c *connection) Header() http.Header { return c.header }

func (c *connection) WriteHeader(status int) { c.status = status }

func (c *connection) Write(p []byte) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.err != nil {
		return 0, c.err
	}
	c.writes++
	return c.body.Write(p)
}

func (c *connection) Flush() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.flushes++
}

func (c *connection) sent() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.body.String()
}

type taking struct{ *connection }

func (taking) TakeFailure(*apierror.Error) {}

// newExchange is an exchange of the tenant acme whose answer goes to w.
func newExchange(t testing.TB, a *App, w http.ResponseWriter) *Exchange {
	t.Helper()
	r := httptest.NewRequest(http.MethodPost, "/v1/chat/completions", nil)
	r = r.WithContext(context.WithValue(t.Context(), caddyhttp.VarsCtxKey, make(map[string]any)))
	x, _ := a.Enter(w, r)
	x.Rec.Tenant = &tenant.Tenant{ID: "acme"}
	return x
}

func openStreams(t *testing.T, a *App) float64 {
	t.Helper()
	return value(t, a, "caddy_chat_open_streams", map[string]string{"tenant": "acme"})
}

func TestStream(t *testing.T) {
	a, _, _, err := provisioned(t, `{}`)
	if err != nil {
		t.Fatal(err)
	}
	const every = 15 * time.Second
	const comment = ": keep-alive"
	for _, tc := range []struct {
		name  string
		taken bool // a handler in front takes the answer
		k     KeepAlive
		do    func(t *testing.T, s *Stream, c *connection)
	}{
		{"silence_before_the_first_event_begins_nothing", false, KeepAlive{Interval: every}, func(t *testing.T, s *Stream, c *connection) {
			time.Sleep(10 * every)
			if c.sent() != "" || c.status != 0 || s.Stop() {
				t.Errorf("status %d, %q", c.status, c.sent())
			}
		}},
		{"silence_after_an_event_sends_a_comment", false, KeepAlive{Interval: every}, func(t *testing.T, s *Stream, c *connection) {
			must(t, s.Send([]byte("data: 1\n\n")))
			time.Sleep(every + time.Second)
			if got := c.sent(); strings.Count(got, comment) != 1 || !strings.HasPrefix(got, "data: 1\n\n") {
				t.Errorf("%q", got)
			}
		}},
		{"an_event_puts_the_comment_off", false, KeepAlive{Interval: every}, func(t *testing.T, s *Stream, c *connection) {
			for range 5 {
				must(t, s.Send([]byte("data: 1\n\n")))
				time.Sleep(every - time.Second)
			}
			if got := c.sent(); strings.Contains(got, comment) {
				t.Errorf("%q", got)
			}
		}},
		{"a_comment_may_begin_the_answer", false, KeepAlive{Interval: every, Begins: true}, func(t *testing.T, s *Stream, c *connection) {
			s.SetHeader("X-Model-Id", "fast")
			time.Sleep(every + time.Second)
			s.Stop() // nothing is written any more
			h := c.header
			if c.status != http.StatusOK || !strings.Contains(c.sent(), comment) || h.Get("X-Model-Id") != "fast" || h.Get("Content-Type") != "text/event-stream" {
				t.Errorf("%d %v %q", c.status, h, c.sent())
			}
			if openStreams(t, a) != 1 {
				t.Errorf("%v open streams", openStreams(t, a))
			}
		}},
		{"a_comment_may_begin_it_from_then_on", false, KeepAlive{Interval: every, Event: []byte("event: ping\n\n")}, func(t *testing.T, s *Stream, c *connection) {
			time.Sleep(every + time.Second)
			s.MayBegin(func(h http.Header) { h.Set("X-Ai-Provider", "wrong") })
			s.MayBegin(nil)
			time.Sleep(every + time.Second)
			if c.sent() != "" {
				t.Errorf("%q", c.sent())
			}
			s.MayBegin(func(h http.Header) { h.Set("X-Ai-Provider", "openai") })
			time.Sleep(every + time.Second)
			s.SetHeader("X-Late", "1") // nothing is written meanwhile
			if c.status != http.StatusOK || c.header.Get("X-Ai-Provider") != "openai" || c.sent() != ": keep-alive\n" {
				t.Errorf("%d %v %q", c.status, c.header, c.sent())
			}
			must(t, s.Send([]byte("data: 1\n\n")))
			time.Sleep(every + time.Second)
			if !strings.HasSuffix(c.sent(), "data: 1\n\nevent: ping\n\n") {
				t.Errorf("%q", c.sent())
			}
		}},
		{"a_handler_in_front_is_given_the_header", true, KeepAlive{Interval: every}, func(t *testing.T, s *Stream, c *connection) {
			s.MayBegin(func(h http.Header) { h.Set("X-Ai-Provider", "openai") })
			time.Sleep(every + time.Second)
			s.Stop()
			if c.status != http.StatusOK || c.header.Get("X-Ai-Provider") != "openai" || c.sent() != "" {
				t.Errorf("%d %v %q", c.status, c.header, c.sent())
			}
		}},
		{"events_go_out_in_one_write_and_one_flush", false, KeepAlive{}, func(t *testing.T, s *Stream, c *connection) {
			must(t, s.Send([]byte("data: 1\n\ndata: 2\n\n")))
			if c.writes != 1 || c.flushes != 1 {
				t.Errorf("%d writes, %d flushes", c.writes, c.flushes)
			}
		}},
		{"a_client_that_has_gone_is_an_error", false, KeepAlive{Interval: every}, func(t *testing.T, s *Stream, c *connection) {
			must(t, s.Send([]byte("data: 1\n\n")))
			c.mu.Lock()
			c.err = errors.New("gone")
			c.mu.Unlock()
			time.Sleep(every + time.Second) // the comment meets it first
			if err := s.Send([]byte("data: 2\n\n")); err == nil {
				t.Error("no error")
			}
		}},
		{"a_handler_in_front_has_its_own_keep_alives_and_count", true, KeepAlive{Interval: every, Begins: true}, func(t *testing.T, s *Stream, c *connection) {
			must(t, s.Send([]byte("data: 1\n\n")))
			time.Sleep(10 * every)
			if got := c.sent(); got != "data: 1\n\n" || c.status != http.StatusOK {
				t.Errorf("%d %q", c.status, got)
			}
			if n := openStreams(t, a); n > 0 {
				t.Errorf("%v open streams", n)
			}
		}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c := &connection{header: make(http.Header)}
				var w http.ResponseWriter = c
				if tc.taken {
					w = taking{c}
				}
				s := newExchange(t, a, w).NewStream(t.Context(), tc.k)
				tc.do(t, s, c)
				s.Close()
				s.Close()
				before := c.sent()
				time.Sleep(10 * every)
				if c.sent() != before {
					t.Errorf("after the end %q became %q", before, c.sent())
				}
				if n := openStreams(t, a); n > 0 {
					t.Errorf("%v open streams after the end", n)
				}
			})
		})
	}
}

// taker takes chunks.
type taker struct {
	taking
	begun bool
}

func (k *taker) TakesChunks() bool               { return k.begun }
func (k *taker) TakeChunk(*provider.Chunk) error { return nil }
func (k *taker) FlushChunks() error              { return nil }

// wrapped is a writer of another handler, which may change what it is given.
type wrapped struct{ http.ResponseWriter }

func (w wrapped) Unwrap() http.ResponseWriter { return w.ResponseWriter }

// TestChunkTaker has writers between the one that takes chunks and the handler
// that has them: bytes are skipped only where nothing could change them.
func TestChunkTaker(t *testing.T) {
	a, _, _, err := provisioned(t, `{}`)
	if err != nil {
		t.Fatal(err)
	}
	k := &taker{taking: taking{&connection{header: make(http.Header)}}}
	for _, tc := range []struct {
		name string
		w    http.ResponseWriter
		want bool
	}{
		{"next_to_it", k, true},
		{"behind_a_recorder_that_counts", caddyhttp.NewResponseRecorder(k, nil, nil), true},
		{"behind_a_recorder_that_buffers", caddyhttp.NewResponseRecorder(k, new(bytes.Buffer), func(int, http.Header) bool { return true }), false},
		{"behind_another_handler's_writer", wrapped{k}, false},
		{"a_connection", &connection{header: make(http.Header)}, false},
	} {
		t.Run(tc.name, func(t *testing.T) {
			x := newExchange(t, a, tc.w)
			x.W.WriteHeader(http.StatusOK) // a recorder decides with the header whether it buffers
			if got := x.ChunkTaker() != nil; got != tc.want {
				t.Errorf("chunks are taken: %t", got)
			}
			if tc.name != "a_connection" && x.OwnsConnection() {
				t.Error("the exchange owns the connection")
			}
		})
	}
}
