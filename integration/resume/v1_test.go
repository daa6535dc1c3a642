// Package resume tests how clients of /v1 resume their answers.
package resume

import (
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/caddy-chat/caddy-chat/integration/harness"
)

// site is a chain with answers that can be resumed.
type site struct {
	t       *testing.T
	up      *harness.Upstream
	c       *harness.Caddy
	ann     *harness.Client
	keyed   bool // requests have an Idempotency-Key
	stored  bool // requests have a session
	proxied bool // the upstream answers itself
	asked   int
}

// onSites runs a test on every kind of site.
func onSites(t *testing.T, test func(*site)) {
	t.Parallel()
	for _, kind := range kinds {
		t.Run(kind.name, func(t *testing.T) {
			t.Parallel()
			up := harness.NewUpstream(t)
			c := harness.Start(t, harness.PlainTenants, kind.site(up))
			test(&site{t: t, up: up, c: c, ann: harness.NewClient(c, "acme", "ann"), keyed: kind.keyed, stored: kind.stored, proxied: strings.Contains(kind.name, "proxy")})
		})
	}
}

var kinds = []struct {
	name          string
	site          func(*harness.Upstream) string
	keyed, stored bool
}{
	{"a key", func(up *harness.Upstream) string { return up.Sessions("") }, true, false},
	{"a key without chat_session", func(up *harness.Upstream) string { return "tenant_resolve\n" + up.Gateway() }, true, false},
	{"a key and a cache", func(up *harness.Upstream) string {
		return strings.Replace(up.Sessions(""), "retries 0", "retries 0\ncache 1h", 1)
	}, true, false},
	{"a session", func(up *harness.Upstream) string { return up.Sessions("") }, false, true},
	{"a session behind reverse_proxy", func(up *harness.Upstream) string { return up.Proxied("") }, false, true},
	{"a session and a key", func(up *harness.Upstream) string { return up.Sessions("") }, true, true},
	{"a session and a key behind reverse_proxy", func(up *harness.Upstream) string { return up.Proxied("") }, true, true},
}

// ask asks for a stream.
func (s *site) ask(more ...string) (*harness.Pending, *harness.HeldCall) {
	s.t.Helper()
	s.asked++
	header := []string{"X-Trace-Id", "first"}
	if s.keyed {
		header = append(header, "Idempotency-Key", fmt.Sprint("key-", s.asked))
	}
	if s.stored {
		header = append(header, "X-Session-Id", harness.NewSession())
	}
	a := s.ann.StartCompletion(harness.UserSays(fmt.Sprint("go ", s.asked), append(more, harness.Streamed)...), header...)
	return a, s.up.Call()
}

// wantEvents checks that the ids of a stream are those of one turn, from 1 on.
func (s *site) wantEvents(stream string, n int) (ids []string) {
	s.t.Helper()
	ids = harness.EventIDs(stream)
	if len(ids) != n || strings.Count(stream, "data: ") != n {
		s.t.Fatalf("%d ids, want %d:\n%s", len(ids), n, stream)
	}
	turn, _, _ := strings.Cut(ids[0], ":")
	for i, id := range ids {
		if want := fmt.Sprintf("%s:%d", turn, i+1); id != want {
			s.t.Errorf("event %d has the id %s, want %s", i, id, want)
		}
	}
	return ids
}

// wantReplays checks that a finished stream is replayed from each of its events.
func (s *site) wantReplays(stream string, n int) {
	s.t.Helper()
	ids := s.wantEvents(stream, n)
	turn, _, _ := strings.Cut(ids[0], ":")
	header := []string{"X-Trace-Id", "first"}
	for _, id := range append([]string{turn, turn + ":0"}, ids[:n-1]...) {
		want := harness.AfterEvent(stream, id)
		if id == turn || id == turn+":0" {
			want = stream
		}
		if got := s.ann.Resume(id, header...).Raw().Rest(); got != want {
			s.t.Errorf("after %s came\n%s\nwant\n%s", id, got, want)
		}
	}
	for _, id := range []string{ids[n-1], turn + ":99"} {
		resp := s.ann.Resume(id).Answer()
		if body := harness.ReadAll(s.t, resp); resp.StatusCode != http.StatusNoContent || body != "" {
			s.t.Errorf("after %s: %d %s", id, resp.StatusCode, body)
		}
	}
}

func TestResume(t *testing.T) { onSites(t, testResume) }

func testResume(s *site) {
	a, call := s.ask()
	call.Event(harness.ChunkOf(`{"role":"assistant","content":"one"}`), harness.ChunkOf(`{"content":" two"}`))
	first := a.Raw().UpTo(" two").Text
	ids := s.wantEvents(first, 2)
	a.GoAway()
	call.Event(harness.ChunkOf(`{"content":" three"}`)) // it goes on without its client
	turn, _, _ := strings.Cut(ids[0], ":")
	all, rest := s.ann.Resume(turn).Raw().UpTo(" three"), s.ann.Resume(ids[0]).Raw().UpTo(" three")
	again := s.ann.Start(s.ann.Request(http.MethodGet, harness.CompletionsPath+"/"+turn+"?after="+ids[1], nil)).Raw().UpTo(" three")
	late := s.ann.Resume(harness.EventIDs(all.Text)[2]).Raw() // has nothing to send yet
	call.Stream(harness.ChunkOf(`{"content":" four"}`), harness.EndOf("stop"))
	stream := all.Rest()
	if !strings.HasPrefix(stream, first) || !strings.HasSuffix(stream, "data: [DONE]\n\n") {
		s.t.Errorf("the first client saw\n%s\nand a later one\n%s", first, stream)
	}
	ids = s.wantEvents(stream, 6)
	for i, r := range []*harness.RawStream{rest, again, late} {
		if got, want := r.Rest(), harness.AfterEvent(stream, ids[i]); got != want {
			s.t.Errorf("after %s came\n%s\nwant\n%s", ids[i], got, want)
		}
	}
	s.wantReplays(stream, 6)
	if n := s.up.Count(); n != 1 {
		s.t.Errorf("%d calls", n)
	}

	s.t.Log("another's turn, unknown ones, and ids that are none")
	if s.proxied { // the next handler gets what is no turn here
		s.up.Plays(harness.Document(http.StatusNotFound, `{"error":{"code":"not_found"}}`))
	}
	for who, cl := range map[string]*harness.Client{
		"another user": harness.NewClient(s.c, "acme", "bob"), "anonymous": harness.NewClient(s.c, "acme", ""), "another tenant": harness.NewClient(s.c, "globex", "ann"),
	} {
		s.t.Log(who)
		s.wantNotFound(cl.Resume(ids[0]))
	}
	s.wantNotFound(s.ann.Resume(harness.NewSession() + ":1"))
	for _, id := range []string{"nonsense", turn, turn + ":x", turn + ":-1", harness.NewSession() + ":1"} {
		f := harness.WantFailure(s.t, s.ann.Resume(turn, "Last-Event-ID", id).Answer(), http.StatusBadRequest, "invalid_request")
		if f.Error.Type != "invalid_request_error" {
			s.t.Errorf("not OpenAI's shape: %+v", f)
		}
	}
	harness.WantFailure(s.t, s.ann.Do(http.MethodGet, harness.CompletionsPath+"/"+turn+"?after=2", nil), http.StatusBadRequest, "invalid_request")
}

// wantNotFound checks that a turn is unknown, to the next handler if that is not ours.
func (s *site) wantNotFound(a *harness.Pending) {
	s.t.Helper()
	if resp := a.Answer(); s.proxied {
		if body := harness.ReadAll(s.t, resp); resp.StatusCode != http.StatusNotFound || strings.Contains(body, "data:") {
			s.t.Errorf("status %d: %s", resp.StatusCode, body)
		}
	} else {
		harness.WantFailure(s.t, resp, http.StatusNotFound, "not_found")
	}
}

func TestResumedContents(t *testing.T) { onSites(t, testContents) }

func testContents(s *site) {
	a, call := s.ask(`,"stream_options":{"include_usage":true}`)
	call.Event(harness.ChunkOf(`{"role":"assistant","tool_calls":[{"index":0,"id":"c1","type":"function","function":{"name":"f","arguments":""}}]}`))
	call.Event(harness.ChunkOf(`{"tool_calls":[{"index":0,"function":{"arguments":"{}"}}]}`))
	call.Finish("tool_calls")
	stream := a.Raw().Rest()
	for _, want := range []string{`"arguments":"{}"`, `"finish_reason":"tool_calls"`, `"completion_tokens":7`, "data: [DONE]\n\n"} {
		if !strings.Contains(stream, want) {
			s.t.Errorf("no %s in\n%s", want, stream)
		}
	}
	s.wantReplays(stream, 5)
}

func TestResumedFailure(t *testing.T) { onSites(t, testFailure) }

func testFailure(s *site) {
	a, call := s.ask()
	call.Event(harness.ChunkOf(`{"role":"assistant","content":"half"}`))
	own := a.Raw().UpTo("half")
	follower := s.ann.Resume(harness.EventIDs(own.Text)[0], "X-Trace-Id", "first").Raw()
	if s.proxied { // whose cuts look like ends
		call.Event(`{"error":{"message":"down","code":"ai_error"}}`)
	}
	call.Cut()
	stream := own.Rest()
	if !strings.Contains(stream, `"code":"ai_error"`) || strings.Contains(stream, "[DONE]") {
		s.t.Errorf("ends with\n%s", stream)
	}
	if got, want := follower.Rest(), harness.AfterEvent(stream, harness.EventIDs(stream)[0]); got != want {
		s.t.Errorf("the follower got\n%s\nwant\n%s", got, want)
	}
	s.wantReplays(stream, 2)
}

// TestPlain checks that a stream that ends with its client has no ids.
func TestPlain(t *testing.T) {
	t.Parallel()
	up := harness.NewUpstream(t)
	ann := harness.NewClient(harness.Start(t, harness.PlainTenants, up.Sessions("")), "acme", "ann")
	a := ann.StartCompletion(harness.UserSays("go", harness.Streamed))
	call := up.Call()
	call.Event(harness.ChunkOf(`{"role":"assistant","content":"one"}`))
	if text := a.Raw().UpTo("one").Text; strings.Contains(text, "id: ") {
		t.Errorf("it has ids:\n%s", text)
	}
	a.GoAway()
	call.WantGone()
}
