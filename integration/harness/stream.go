package harness

import (
	"errors"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/caddy-chat/caddy-chat/modules/sse"
)

// CompletionStream is a stream of completions that is being read.
type CompletionStream struct {
	Completion
	t    testing.TB
	resp *http.Response
	dec  *sse.Decoder
	Ask  *Pending
}

// StartCompletion asks for a completion without waiting for the answer.
func (c *Client) StartCompletion(q any, header ...string) *Pending {
	c.T.Helper()
	return c.Start(c.Request(http.MethodPost, CompletionsPath, q, header...))
}

// Stream waits for the stream to begin.
func (a *Pending) Stream() *CompletionStream {
	a.t.Helper()
	resp := a.Answer()
	if resp.Header.Get("Content-Type") != "text/event-stream" {
		a.t.Fatalf("status %d: %s", resp.StatusCode, ReadAll(a.t, resp))
	}
	r := &CompletionStream{t: a.t, resp: resp, dec: sse.NewDecoder(resp.Body, 0), Ask: a}
	r.Status, r.Header = resp.StatusCode, resp.Header
	return r
}

// ReadText reads until the text so far is want.
func (r *CompletionStream) ReadText(want string) {
	r.t.Helper()
	for r.Text != want {
		if !r.next() || !strings.HasPrefix(want, r.Text) {
			r.t.Fatalf("the text is %q, want %q", r.Text, want)
		}
	}
}

func (r *CompletionStream) next() bool {
	r.t.Helper()
	ev, err := r.dec.Next()
	if err != nil {
		if !errors.Is(err, io.EOF) {
			r.t.Errorf("reading the stream: %v", err)
		}
		r.resp.Body.Close()
		return false
	}
	r.frame(r.t, string(ev.Data))
	return true
}

// Rest reads the stream to its end.
func (r *CompletionStream) Rest() *Completion {
	r.t.Helper()
	for r.next() {
	}
	return &r.Completion
}
