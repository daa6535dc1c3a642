package integration

import (
	"bytes"
	"encoding/json"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/google/uuid"

	"github.com/caddy-chat/caddy-chat/modules/sse"
)

// client makes requests as one tenant's user.
type client struct {
	t      testing.TB
	url    string
	tenant string // X-Tenant-Id, where not empty
	user   string // X-User-Id, where not empty
	key    string // Authorization: Bearer, where not empty
	http   *http.Client
}

// transport gives up on an answer that does not begin, so that a test which
// waits for one fails and does not hang.
var transport = func() *http.Transport {
	t := http.DefaultTransport.(*http.Transport).Clone()
	t.ResponseHeaderTimeout = patience
	return t
}()

func newClient(c *caddyProcess, tenant, user string) *client {
	return &client{t: c.t, url: c.url, tenant: tenant, user: user, http: &http.Client{Transport: transport}}
}

// request makes a request; a body that is not a string or a reader goes out
// as JSON.
func (c *client) request(method, path string, body any, header ...string) *http.Request {
	c.t.Helper()
	var r io.Reader
	switch b := body.(type) {
	case nil:
	case string:
		r = strings.NewReader(b)
	case io.Reader:
		r = b
	default:
		doc, err := json.Marshal(b)
		if err != nil {
			c.t.Fatal(err)
		}
		r = bytes.NewReader(doc)
	}
	req, err := http.NewRequestWithContext(c.t.Context(), method, c.url+path, r)
	if err != nil {
		c.t.Fatal(err)
	}
	if body != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	if c.tenant != "" {
		req.Header.Set("X-Tenant-Id", c.tenant)
	}
	if c.user != "" {
		req.Header.Set("X-User-Id", c.user)
	}
	if c.key != "" {
		req.Header.Set("Authorization", "Bearer "+c.key)
	}
	for i := 0; i+1 < len(header); i += 2 {
		req.Header.Set(header[i], header[i+1])
	}
	return req
}

// do makes a request whose answer is being waited for; the caller closes it.
func (c *client) do(method, path string, body any, header ...string) *http.Response {
	c.t.Helper()
	resp, err := c.http.Do(c.request(method, path, body, header...))
	if err != nil {
		c.t.Fatal(err)
	}
	return resp
}

// get decodes the JSON answer of a request into v and returns the status.
func (c *client) call(method, path string, body, v any, header ...string) int {
	c.t.Helper()
	resp := c.do(method, path, body, header...)
	text := readAll(c.t, resp)
	if err := json.Unmarshal([]byte(text), v); err != nil {
		c.t.Fatalf("%s %s answered %d, and no JSON: %v\n%s", method, path, resp.StatusCode, err, text)
	}
	return resp.StatusCode
}

// failure is the body of an error, native or OpenAI-shaped.
type failure struct {
	OK    bool `json:"ok"`
	Error struct {
		Code    string  `json:"code"`
		Message string  `json:"message"`
		Type    string  `json:"type"`
		Param   *string `json:"param"`
	} `json:"error"`
	TraceID  string `json:"traceId"`
	TraceID2 string `json:"trace_id"`
}

// wantFailure checks the status and the code of a refused request.
func wantFailure(t testing.TB, resp *http.Response, status int, code string) failure {
	t.Helper()
	text := readAll(t, resp)
	var f failure
	if err := json.Unmarshal([]byte(text), &f); err != nil {
		t.Fatalf("status %d, and no JSON: %v\n%s", resp.StatusCode, err, text)
	}
	if resp.StatusCode != status || f.Error.Code != code {
		t.Errorf("got %d %s (%s), want %d %s", resp.StatusCode, f.Error.Code, f.Error.Message, status, code)
	}
	if id := resp.Header.Get("X-Trace-Id"); id == "" || id != f.TraceID+f.TraceID2 {
		t.Errorf("X-Trace-Id %q, in the body %q%q", id, f.TraceID, f.TraceID2)
	}
	return f
}

// newSession returns a fresh session id.
func newSession() string { return uuid.NewString() }

// ask is the body of POST /chat.
type ask struct {
	SessionID string `json:"sessionId"`
	Message   string `json:"message"`
	Stream    *bool  `json:"stream,omitempty"`
	ModelID   string `json:"modelId,omitempty"`
	UserID    string `json:"userId,omitempty"`
}

// usage is what done and documents tell.
type usage struct {
	ModelID     string  `json:"modelId"`
	TokensIn    int64   `json:"tokensIn"`
	TokensOut   int64   `json:"tokensOut"`
	TotalTokens int64   `json:"totalTokens"`
	LatencyMs   int64   `json:"latencyMs"`
	TTFTMs      int64   `json:"ttftMs"`
	CostUSD     float64 `json:"costUsd"`
	Estimated   bool    `json:"estimated"`
}

// event is one event of a /chat stream.
type event struct {
	ID, Type string
	Data     string

	SessionID    string `json:"sessionId"`
	Content      string `json:"content"`
	TenantID     string `json:"tenantId"`
	TraceID      string `json:"traceId"`
	Code         string `json:"code"`
	FinishReason string `json:"finishReason"`
	Usage        usage  `json:"usage"`
}

// events reads a stream event by event.
type events struct {
	t    testing.TB
	resp *http.Response
	dec  *sse.Decoder
}

func readEvents(t testing.TB, resp *http.Response) *events {
	t.Helper()
	if ct := resp.Header.Get("Content-Type"); resp.StatusCode != http.StatusOK || ct != "text/event-stream" {
		t.Fatalf("status %d, Content-Type %q: %s", resp.StatusCode, ct, readAll(t, resp))
	}
	return &events{t, resp, sse.NewDecoder(resp.Body, 0)}
}

// next returns the next event, and false at the end of the stream.
func (e *events) next() (event, bool) {
	e.t.Helper()
	ev, err := e.dec.Next()
	if err != nil {
		e.resp.Body.Close()
		return event{}, false
	}
	out := event{ID: ev.ID, Type: ev.Type, Data: string(ev.Data)}
	if err := json.Unmarshal(ev.Data, &out); err != nil {
		e.t.Fatalf("event %q: %v", ev.Data, err)
	}
	return out, true
}

// answered is a whole answer of /chat.
type answered struct {
	text   string
	events []event
	done   *event // nil where the stream was cut
	failed *event // the error event, if any
}

// rest reads the stream to its end.
func (e *events) rest() answered {
	e.t.Helper()
	var a answered
	for {
		ev, ok := e.next()
		if !ok {
			return a
		}
		a.events = append(a.events, ev)
		switch ev.Type {
		case "done":
			a.done = &ev
		case "error":
			a.failed = &ev
		default:
			a.text += ev.Content
		}
	}
}

// say sends a message and reads the streamed answer to its end.
func (c *client) say(session, message string) answered {
	c.t.Helper()
	return readEvents(c.t, c.do(http.MethodPost, "/chat", ask{SessionID: session, Message: message})).rest()
}

// stored is a message of the history.
type stored struct {
	ID         string `json:"id"`
	Role       string `json:"role"`
	Content    string `json:"content"`
	Timestamp  int64  `json:"timestamp"`
	TokenCount int    `json:"tokenCount"`
	ModelID    string `json:"modelId"`
	Status     string `json:"status"`
}

type historyAnswer struct {
	OK   bool `json:"ok"`
	Data struct {
		SessionID  string   `json:"sessionId"`
		Messages   []stored `json:"messages"`
		NextBefore string   `json:"nextBefore"`
	} `json:"data"`
}

// history returns the newest messages of a session, none where there is no
// such session.
func (c *client) history(session string) []stored {
	c.t.Helper()
	var h historyAnswer
	status := c.call(http.MethodGet, "/chat/"+session+"/history?limit=1000", nil, &h)
	if status != http.StatusOK && status != http.StatusNotFound {
		c.t.Fatalf("history answered %d", status)
	}
	return h.Data.Messages
}

// decode reads a JSON answer into v.
func decode(t testing.TB, resp *http.Response, v any) {
	t.Helper()
	text := readAll(t, resp)
	if err := json.Unmarshal([]byte(text), v); err != nil {
		t.Fatalf("status %d, and no JSON: %v\n%s", resp.StatusCode, err, text)
	}
}
