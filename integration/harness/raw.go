package harness

import (
	"io"
	"net/http"
	"strings"
	"testing"
)

// RawStream is an event stream that is read as bytes.
type RawStream struct {
	Text   string // so far
	Header http.Header
	t      testing.TB
	resp   *http.Response
}

// Raw waits for a stream to begin.
func (a *Pending) Raw() *RawStream {
	a.t.Helper()
	resp := a.Answer()
	if resp.StatusCode != http.StatusOK || !strings.HasPrefix(resp.Header.Get("Content-Type"), "text/event-stream") {
		a.t.Fatalf("status %d: %s", resp.StatusCode, ReadAll(a.t, resp))
	}
	return &RawStream{t: a.t, resp: resp, Header: resp.Header}
}

// UpTo reads until a text came, and the end of its event.
func (r *RawStream) UpTo(want string) *RawStream {
	r.t.Helper()
	for b := make([]byte, 4096); ; {
		if _, rest, found := strings.Cut(r.Text, want); found && strings.Contains(rest, "\n\n") {
			return r
		}
		n, err := r.resp.Body.Read(b)
		r.Text += string(b[:n])
		if err != nil && n == 0 {
			r.t.Fatalf("%v before %q:\n%s", err, want, r.Text)
		}
	}
}

// Rest reads to the end, and returns all of the stream.
func (r *RawStream) Rest() string {
	r.t.Helper()
	defer r.resp.Body.Close()
	b, err := io.ReadAll(r.resp.Body)
	if err != nil {
		r.t.Errorf("reading the stream: %v", err)
	}
	r.Text += string(b)
	return r.Text
}

// Resume asks for the events under /v1 after the one with an id, <turn>:<n>. A turn
// alone is asked for from its start.
func (c *Client) Resume(id string, header ...string) *Pending {
	c.T.Helper()
	turn, _, numbered := strings.Cut(id, ":")
	if numbered {
		header = append(header, "Last-Event-ID", id)
	}
	return c.Start(c.Request(http.MethodGet, CompletionsPath+"/"+turn, nil, header...))
}

// EventIDs returns the ids of a stream's events.
func EventIDs(stream string) (list []string) {
	for line := range strings.Lines(stream) {
		if id, ok := strings.CutPrefix(line, "id: "); ok {
			list = append(list, strings.TrimSpace(id))
		}
	}
	return list
}

// AfterEvent returns what comes in a stream after the event with an id.
func AfterEvent(stream, id string) string {
	_, rest, _ := strings.Cut(stream, "id: "+id+"\n")
	_, rest, _ = strings.Cut(rest, "\n\n")
	return rest
}
