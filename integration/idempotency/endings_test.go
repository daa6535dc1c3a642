package idempotency

import (
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/caddy-chat/caddy-chat/integration/harness"
)

// TestEndings repeats requests whose answers fail or are cut.
func TestEndings(t *testing.T) { onSites(t, "", testEndings) }

func testEndings(s *site) {
	s.streamedAndWhole("a failure before any text frees the key", func(s *site, stream bool) {
		q := s.request(fmt.Sprint("failed-", stream), fmt.Sprint("go ", stream), stream)
		for _, tc := range []struct {
			status, want int
			code         string
		}{
			{500, 502, "ai_error"},
			{400, 400, "invalid_request"},
			{429, 429, "provider_rate_limited"},
		} {
			want := tc.want
			if s.kind == "session" && s.handler == "proxy" {
				want = tc.status // the refusal passes unchanged
			}
			a := s.ask(q.with("X-Trace-Id", "trace-a"))
			call := s.up.Call()
			b := s.ask(q.with("X-Trace-Id", "trace-b"))
			s.c.WantFollowing(1)
			other := q
			other.text = "other"
			s.wantReused(other)
			call.Fail(tc.status, fmt.Sprintf(`{"error":{"message":"too odd","type":"invalid_request_error","code":%q}}`, tc.code))
			for trace, x := range map[string]*asking{"trace-a": a, "trace-b": b} {
				got := x.whole()
				s.wantRefused(got, want, tc.code)
				if got.header.Get("X-Trace-Id") != trace || s.handler != "proxy" && !strings.Contains(got.parts[0], trace) {
					s.t.Errorf("with %s: %v, %q", trace, got.header, got.parts)
				}
			}
		}
		a := s.ask(q)
		s.up.Call().Answer("at last")
		s.wantText(a.whole(), "at last")
		s.wantHistory(q.session, "user: "+q.text, "assistant: at last")
	})

	s.run("a freed key accepts another body", func(s *site) {
		q := s.request("freed", "refused", false)
		a := s.ask(q)
		s.up.Call().Fail(400, `{"error":{"message":"too odd","type":"invalid_request_error"}}`)
		a.whole()
		q.text, q.stream = "taken", true
		a = s.ask(q)
		s.up.Call().Answer("fine")
		s.wantText(a.whole(), "fine")
		s.wantHistory(q.session, "user: taken", "assistant: fine")
	})

	for name, end := range map[string]func(*harness.HeldCall){"ends": (*harness.HeldCall).Cut, "breaks": (*harness.HeldCall).Abort} {
		if name == "ends" && s.kind == "session" && s.handler == "proxy" {
			continue // reverse_proxy takes any orderly end for a complete answer
		}
		s.run("an answer that "+name+" midway", func(s *site) {
			q := s.request(name, name, true)
			a := s.ask(q)
			call := s.up.Call()
			call.Event(harness.ChunkOf(`{"role":"assistant","content":"half"}`))
			r1 := a.read()
			r1.upTo("half")
			r2 := s.ask(q).read()
			r2.upTo("half")
			end(call)
			for _, r := range []*reading{r1, r2} {
				s.wantCut(r.rest())
			}
			if !s.sessions() {
				// It is not stored, so the key is free.
				q.text = "another body than " + name
				a = s.ask(q)
				s.up.Call().Answer("whole")
				s.wantText(a.whole(), "whole")
				s.c.WantNothingLeft()
				return
			}
			got := s.ask(q.with("X-Trace-Id", "cut-again")).whole()
			s.wantCut(got)
			if s.kind == "chat" {
				s.wantSame(got, r1.answer)
			} else if last := got.parts[len(got.parts)-1]; !strings.Contains(last, "cut-again") {
				s.t.Errorf("the error lacks the trace id of its request: %s", last)
			}
			s.wantHistory(q.session, "user: "+name, "assistant: half")
			q.text = "another body than " + name
			s.wantReused(q)
		})
	}

	s.run("a kill during an answer frees the key", func(s *site) {
		q := s.request("killed", "killed", true)
		a := s.ask(q)
		call := s.up.Call()
		call.Event(harness.ChunkOf(`{"role":"assistant","content":"half"}`))
		a.read().upTo("half")
		s.c.Kill()
		call.WantGone()
		s.c.Restart()
		a = s.ask(q)
		s.up.Call().Answer("whole")
		s.wantText(a.whole(), "whole")
		s.wantHistory(q.session, "user: killed", "assistant: whole")
	})

	if !s.sessions() {
		return
	}
	s.run("a cancelled answer is repeated", func(s *site) {
		q := s.request("cancelled", "cancelled", true)
		a := s.ask(q)
		call := s.up.Call()
		call.Event(harness.ChunkOf(`{"role":"assistant","content":"half"}`))
		r := a.read()
		r.upTo("half")
		if !s.ann.CancelTurn(q.session) {
			s.t.Error("cancelled is false for a running turn")
		}
		call.WantGone()
		for _, got := range []answer{r.rest(), s.ask(q).whole()} {
			switch {
			case got.text != "half":
				s.t.Errorf("got %q", got.parts)
			case s.kind == "chat" && (got.code != "" || got.finish != "cancelled"),
				s.kind == "session" && (got.code == "" || got.code != r.code || got.done):
				s.t.Errorf("ended with %q", got.parts)
			}
		}
		s.wantHistory(q.session, "user: cancelled", "assistant: half")
	})

	s.run("deleting the session during an answer frees the key", func(s *site) {
		q := s.request("deleted", "deleted", true)
		a := s.ask(q)
		call := s.up.Call()
		call.Event(harness.ChunkOf(`{"role":"assistant","content":"half"}`))
		r := a.read()
		r.upTo("half")
		s.ann.Do(http.MethodDelete, "/chat/"+q.session, nil).Body.Close()
		call.WantGone()
		r.rest()
		a = s.ask(q)
		s.up.Call().Answer("anew")
		s.wantText(a.whole(), "anew")
		s.wantHistory(q.session, "user: deleted", "assistant: anew")
	})
}

// wantCut checks that an answer failed after "half".
func (s *site) wantCut(a answer) {
	s.t.Helper()
	if a.text != "half" || a.code != "ai_error" || s.kind == "chat" && a.finish != "error" || s.kind != "chat" && a.done {
		s.t.Errorf("text %q, error %q, finish %q, end mark %t, want half of an answer\n%q", a.text, a.code, a.finish, a.done, a.parts)
	}
}

// TestClientsLeave has clients disconnect under on_disconnect cancel.
func TestClientsLeave(t *testing.T) {
	onSites(t, "on_disconnect cancel", testClientsLeave, "chat", "session")
}

func testClientsLeave(s *site) {
	q := s.request("left", "left", true)
	a := s.ask(q)
	call := s.up.Call()
	call.Event(harness.ChunkOf(`{"role":"assistant","content":"One"}`))
	a.read().upTo("One")
	b := s.ask(q)
	r := b.read()
	r.upTo("One")

	// The second client is still connected.
	a.GoAway()
	call.Event(harness.ChunkOf(`{"content":" two"}`))
	r.upTo("One two")
	b.GoAway()
	call.WantGone()
	s.ann.WantLast(q.session, "One two", "partial")

	var again *asking
	harness.Eventually(s.t, "the session and the key are free", func() bool {
		again = s.ask(q)
		select {
		case call = <-s.up.Calls:
			return true
		case resp := <-again.Resp: // it follows the answer that is being cancelled
			harness.ReadAll(s.t, resp)
			return false
		}
	})
	call.Answer("whole")
	s.wantText(again.whole(), "whole")
}

// TestCharset has an upstream whose Content-Type names a charset. Chunks still
// pass at once.
func TestCharset(t *testing.T) { onSites(t, "", testCharset, "session") }

func testCharset(s *site) {
	q := s.request("charset", "go", true)
	a := s.ask(q)
	call := s.up.Call()
	call.Write("text/event-stream; charset=utf-8", "data: "+harness.ChunkOf(`{"content":"One"}`)+"\n\n")
	b := s.ask(q)
	for _, x := range []*asking{a, b} {
		x.read().upTo("One")
	}
	call.Stream(harness.EndOf("stop"))
}
