package providertest

import (
	"net/http"
	"testing"

	"github.com/tidwall/gjson"
	"github.com/tidwall/sjson"

	"github.com/caddy-chat/caddy-chat/modules/provider"
	"github.com/caddy-chat/caddy-chat/modules/provider/upstream"
)

// Conform checks what the gateway requires of every provider. It plays a server
// of the dialect, and looks at what the provider sends and at what it makes of
// the answers. Tests of the provider's own cover what is special to it.
func Conform(t *testing.T, d Dialect) {
	if d.Model == "" {
		d.Model = "some-model"
	}
	if d.Keys == nil {
		d.Keys = bearer
	}
	for _, g := range []struct {
		name string
		run  func(*testing.T, *Dialect)
	}{
		{"requests", requests},
		{"history", history},
		{"answers", answers},
		{"halves", halves},
		{"endings", endings},
		{"reads", reads},
		{"failures", failures},
		{"keys", keys},
		{"paths", paths},
		{"doors", doors},
		{"told", told},
		{"natives", natives},
		{"page", page},
		{"embeddings", embeddings},
		{"at_once", atOnce},
	} {
		t.Run(g.name, func(t *testing.T) { g.run(t, &d) })
	}
}

// subject is a provider and the server that it calls.
type subject struct {
	*Dialect
	*Replay
	provider.Provider
}

// start starts a server, and makes a provider with the options u that calls it.
func (d *Dialect) start(t testing.TB, u upstream.Upstream) *subject {
	t.Helper()
	replay := NewReplay(t)
	u.BaseURL = replay.URL
	return &subject{d, replay, d.New(t, u)}
}

// hi is a reply to the request that a dialect's Plain belongs to.
var hi = Reply{
	ID:     "msg-1",
	Model:  "model-that-answered",
	Parts:  []Part{{Text: "Hello"}, {Text: ", "}, {Text: "wörld 🌍"}},
	Finish: "stop",
	Usage:  &provider.Usage{Input: 11, Output: 5},
}

const plainBody = `{"model":"alias","messages":[{"role":"user","content":"hi"}]}`

func (d *Dialect) request(body string) *provider.Request {
	return &provider.Request{
		Model: d.Model, Body: []byte(body), TraceID: "trace-1",
		Labels: provider.Labels{TenantID: "tenant-1", UserID: "user-1", SessionID: "session-1", Route: "alias"},
	}
}

func (s *subject) answerWhole(r Reply) {
	s.Answer(http.StatusOK, jsonType, s.Whole(r), Whole)
}

func (s *subject) answerStream(r Reply, manner Manner) {
	s.Answer(http.StatusOK, s.streamType(), join(s.Events(r)), manner)
}

var (
	jsonType = http.Header{"Content-Type": {"application/json"}}
	htmlType = http.Header{"Content-Type": {"text/html; charset=utf-8"}}
)

func (d *Dialect) streamType() http.Header {
	return http.Header{"Content-Type": {d.ContentType}}
}

// both makes a call for a whole answer and one for a stream, as subtests.
func (s *subject) both(t *testing.T, check func(t *testing.T, ask asking)) {
	t.Run("whole", func(t *testing.T) { check(t, completionOf) })
	t.Run("stream", func(t *testing.T) { check(t, streamOf) })
}

// sent returns the only request since the last call of sent, and its body.
func (s *subject) sent(t testing.TB) (*http.Request, []byte) {
	t.Helper()
	requests, bodies := s.Requests()
	s.forget()
	if len(requests) != 1 {
		t.Fatalf("%d calls, want 1", len(requests))
	}
	if requests[0].Method != http.MethodPost {
		t.Errorf("called with %s, want POST", requests[0].Method)
	}
	return requests[0], bodies[0]
}

func (s *subject) notCalled(t testing.TB) {
	t.Helper()
	if requests, _ := s.Requests(); len(requests) > 0 {
		t.Errorf("%d calls, want none", len(requests))
		s.forget()
	}
}

func join(events [][]byte) []byte {
	var all []byte
	for _, e := range events {
		all = append(all, e...)
	}
	return all
}

// with sets the members of one JSON object in another.
func with(t testing.TB, body, members string) string {
	t.Helper()
	if !gjson.Valid(members) {
		t.Fatalf("no JSON: %s", members)
	}
	gjson.Parse(members).ForEach(func(name, value gjson.Result) bool {
		var err error
		if body, err = sjson.SetRaw(body, name.Str, value.Raw); err != nil {
			t.Fatal(err)
		}
		return true
	})
	return body
}
