package harness

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

// Client makes requests as one tenant's user.
type Client struct {
	T      testing.TB
	URL    string
	Tenant string // X-Tenant-Id, unless empty
	User   string // X-User-Id, unless empty
	Key    string // Authorization: Bearer, unless empty
	HTTP   *http.Client
}

// Transport times out if an answer does not begin, so that the test fails
// rather than hangs.
var Transport = func() *http.Transport {
	t := http.DefaultTransport.(*http.Transport).Clone()
	t.ResponseHeaderTimeout = Patience
	return t
}()

// NewClient returns a client of a tenant and a user; either may be empty.
func NewClient(c *Caddy, tenant, user string) *Client {
	return &Client{T: c.T, URL: c.URL, Tenant: tenant, User: user, HTTP: &http.Client{Transport: Transport}}
}

// Request builds a request. A body that is neither a string nor a reader is sent
// as JSON.
func (c *Client) Request(method, path string, body any, header ...string) *http.Request {
	c.T.Helper()
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
			c.T.Fatal(err)
		}
		r = bytes.NewReader(doc)
	}
	req, err := http.NewRequestWithContext(c.T.Context(), method, c.URL+path, r)
	if err != nil {
		c.T.Fatal(err)
	}
	if body != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	if c.Tenant != "" {
		req.Header.Set("X-Tenant-Id", c.Tenant)
	}
	if c.User != "" {
		req.Header.Set("X-User-Id", c.User)
	}
	if c.Key != "" {
		req.Header.Set("Authorization", "Bearer "+c.Key)
	}
	for i := 0; i+1 < len(header); i += 2 {
		req.Header.Set(header[i], header[i+1])
	}
	return req
}

// Do makes a request and waits for the answer, whose body the caller closes.
func (c *Client) Do(method, path string, body any, header ...string) *http.Response {
	c.T.Helper()
	resp, err := c.HTTP.Do(c.Request(method, path, body, header...))
	if err != nil {
		c.T.Fatal(err)
	}
	return resp
}

// Call decodes the JSON answer of a request into v and returns the status.
func (c *Client) Call(method, path string, body, v any, header ...string) int {
	c.T.Helper()
	resp := c.Do(method, path, body, header...)
	text := ReadAll(c.T, resp)
	if err := json.Unmarshal([]byte(text), v); err != nil {
		c.T.Fatalf("%s %s answered %d, but not JSON: %v\n%s", method, path, resp.StatusCode, err, text)
	}
	return resp.StatusCode
}

// Failure is the body of an error, native or OpenAI-shaped.
type Failure struct {
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

// WantFailure checks the status and the code of a refused request.
func WantFailure(t testing.TB, resp *http.Response, status int, code string) Failure {
	t.Helper()
	text := ReadAll(t, resp)
	var f Failure
	if err := json.Unmarshal([]byte(text), &f); err != nil {
		t.Fatalf("status %d, but not JSON: %v\n%s", resp.StatusCode, err, text)
	}
	if resp.StatusCode != status || f.Error.Code != code {
		t.Errorf("got %d %s (%s), want %d %s", resp.StatusCode, f.Error.Code, f.Error.Message, status, code)
	}
	if id := resp.Header.Get("X-Trace-Id"); id == "" || id != f.TraceID+f.TraceID2 {
		t.Errorf("X-Trace-Id %q, in the body %q%q", id, f.TraceID, f.TraceID2)
	}
	return f
}

// NewSession returns a fresh session id.
func NewSession() string { return uuid.NewString() }

// ChatRequest is the body of POST /chat.
type ChatRequest struct {
	SessionID string `json:"sessionId"`
	Message   string `json:"message"`
	Stream    *bool  `json:"stream,omitempty"`
	ModelID   string `json:"modelId,omitempty"`
	UserID    string `json:"userId,omitempty"`
	Retry     bool   `json:"retry,omitempty"`
}

// Usage is the usage in done events and documents.
type Usage struct {
	ModelID     string  `json:"modelId"`
	TokensIn    int64   `json:"tokensIn"`
	TokensOut   int64   `json:"tokensOut"`
	TotalTokens int64   `json:"totalTokens"`
	LatencyMs   int64   `json:"latencyMs"`
	TTFTMs      int64   `json:"ttftMs"`
	CostUSD     float64 `json:"costUsd"`
	Estimated   bool    `json:"estimated"`
}

// Event is one event of a /chat stream.
type Event struct {
	ID, Type string
	Data     string

	SessionID    string `json:"sessionId"`
	Content      string `json:"content"`
	TenantID     string `json:"tenantId"`
	TraceID      string `json:"traceId"`
	Code         string `json:"code"`
	FinishReason string `json:"finishReason"`
	Usage        Usage  `json:"usage"`
}

// Events reads a stream event by event.
type Events struct {
	t    testing.TB
	Resp *http.Response
	dec  *sse.Decoder
}

// ReadEvents begins to read an answer of /chat, which must be a stream.
func ReadEvents(t testing.TB, resp *http.Response) *Events {
	t.Helper()
	if ct := resp.Header.Get("Content-Type"); resp.StatusCode != http.StatusOK || ct != "text/event-stream" {
		t.Fatalf("status %d, Content-Type %q: %s", resp.StatusCode, ct, ReadAll(t, resp))
	}
	return &Events{t, resp, sse.NewDecoder(resp.Body, 0)}
}

// Next returns the next event, and false at the end of the stream.
func (e *Events) Next() (Event, bool) {
	e.t.Helper()
	ev, err := e.dec.Next()
	if err != nil {
		e.Resp.Body.Close()
		return Event{}, false
	}
	out := Event{ID: ev.ID, Type: ev.Type, Data: string(ev.Data)}
	if err := json.Unmarshal(ev.Data, &out); err != nil {
		e.t.Fatalf("event %q: %v", ev.Data, err)
	}
	return out, true
}

// Answered is a whole answer of /chat.
type Answered struct {
	Text   string
	Events []Event
	Done   *Event // nil if the stream was cut
	Failed *Event // the error event, if any
}

// Rest reads the stream to its end.
func (e *Events) Rest() Answered {
	e.t.Helper()
	var a Answered
	for {
		ev, ok := e.Next()
		if !ok {
			return a
		}
		a.Events = append(a.Events, ev)
		switch ev.Type {
		case "done":
			a.Done = &ev
		case "error":
			a.Failed = &ev
		default:
			a.Text += ev.Content
		}
	}
}

// Say sends a message and reads the streamed answer to its end.
func (c *Client) Say(session, message string) Answered {
	c.T.Helper()
	return ReadEvents(c.T, c.Do(http.MethodPost, "/chat", ChatRequest{SessionID: session, Message: message})).Rest()
}

// StoredMessage is a message of the history.
type StoredMessage struct {
	ID         string `json:"id"`
	Role       string `json:"role"`
	Content    string `json:"content"`
	Timestamp  int64  `json:"timestamp"`
	TokenCount int    `json:"tokenCount"`
	ModelID    string `json:"modelId"`
	Status     string `json:"status"`
}

// HistoryAnswer is the answer to a request for a session's history.
type HistoryAnswer struct {
	OK   bool `json:"ok"`
	Data struct {
		SessionID  string          `json:"sessionId"`
		Messages   []StoredMessage `json:"messages"`
		NextBefore string          `json:"nextBefore"`
	} `json:"data"`
}

// History returns the newest messages of a session, or nil if there is no such
// session.
func (c *Client) History(session string) []StoredMessage {
	c.T.Helper()
	var h HistoryAnswer
	status := c.Call(http.MethodGet, "/chat/"+session+"/history?limit=1000", nil, &h)
	if status != http.StatusOK && status != http.StatusNotFound {
		c.T.Fatalf("history answered %d", status)
	}
	return h.Data.Messages
}

// Decode reads a JSON answer into v.
func Decode(t testing.TB, resp *http.Response, v any) {
	t.Helper()
	text := ReadAll(t, resp)
	if err := json.Unmarshal([]byte(text), v); err != nil {
		t.Fatalf("status %d, but not JSON: %v\n%s", resp.StatusCode, err, text)
	}
}
