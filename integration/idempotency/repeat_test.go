package idempotency

import (
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/caddy-chat/caddy-chat/integration/harness"
)

// TestRepeatedRequest checks that a repeated key gets the first answer.
func TestRepeatedRequest(t *testing.T) { onSites(t, "", testRepeatedRequest) }

func testRepeatedRequest(s *site) {
	s.streamedAndWhole("gets the first answer", func(s *site, stream bool) {
		q := s.request(fmt.Sprint("again-", stream), fmt.Sprint("again ", stream), stream)
		a := s.ask(q)
		call := s.up.Call()
		if got := call.Header.Values(headerKey); len(got) != 0 {
			s.t.Errorf("the upstream got %s %q", headerKey, got)
		}
		if stream {
			call.Event(harness.ChunkOf(`{"role":"assistant","content":"one "}`))
			call.Stream(harness.ChunkOf(`{"content":"<two>"}`), harness.EndOf("length"))
		} else {
			call.Document(harness.WholeOf(`{"role":"assistant","content":"one <two>"}`, "length"))
		}
		first := a.whole()
		s.wantText(first, "one <two>")
		if first.finish != "length" {
			s.t.Errorf("finish %q, want length", first.finish)
		}
		// A newer answer does not replace it.
		other := q.with("Cache-Control", "no-cache")
		if s.sessions() {
			other.text = "in between"
		}
		b := s.ann.Start(s.build(s.ann, other))
		s.up.Call().Answer("another")
		harness.ReadAll(s.t, b.Answer())

		tokens := `caddy_ai_tokens_total{model="fast",provider="openai",tenant="acme",type="output"}`
		before := s.c.Metrics()[tokens]
		for i, control := range []string{"no-cache", "max-age=0", "private"} {
			trace := fmt.Sprintf("again-%t-%d", stream, i)
			got := s.ask(q.with("X-Trace-Id", trace, "Cache-Control", control)).whole()
			s.wantSame(got, first)
			want := map[string]string{"X-Trace-Id": trace, "X-Tenant-Id": "acme", harness.HeaderCache: ""}
			for _, name := range []string{"Content-Type", "X-Model-Id", "X-Upstream", "X-Tokens-In", "X-Ai-Provider"} {
				want[name] = first.header.Get(name)
			}
			if s.kind == "session" {
				want["X-Request-Id"] = trace
			}
			if s.kind == "chat" && !stream {
				maps.Copy(want, map[string]string{"X-Tokens-In": "11", "X-Tokens-Out": "7", "X-Tokens-Total": "18", "X-Ai-Latency-Ms": "#"})
			}
			harness.WantHeader(s.t, got.header, want)
			fields := map[string]any{"tenant": "acme", "user": "ann", "trace_id": trace, "status": 200.0}
			if s.sessions() {
				fields["session"] = q.session
			} else {
				// The gateway answers itself, without a call.
				maps.Copy(fields, map[string]any{
					"model": "fast", "provider": "", "attempts": 0.0, "tokens_in": 0.0, "tokens_out": 0.0, "cost_usd": 0.0, "ttft_ms": 0.0,
				})
			}
			harness.WantFields(s.t, s.c.AccessLog(trace), fields)
		}
		if s.handler != "proxy" {
			s.c.WantMetrics(map[string]float64{tokens: before})
		}
		s.wantHistory(q.session, "user: "+q.text, "assistant: one <two>", "user: in between", "assistant: another")
	})

	s.run("follows a running answer", func(s *site) {
		q := s.request("follow", "follow", true)
		refused := func() {
			s.t.Helper()
			text, whole, session := q, q, q
			text.text, whole.stream, session.session = "something else", false, harness.NewSession()
			s.wantReused(text)
			s.wantReused(whole)
			if s.sessions() {
				s.wantReused(session)
			}
		}
		a := s.ask(q)
		call := s.up.Call()
		call.Event(harness.ChunkOf(`{"role":"assistant","content":"One"}`))
		r1 := a.read()
		r1.upTo("One")
		r2 := s.ask(q.with("X-Trace-Id", "follow-2")).read()
		r2.upTo("One")
		harness.WantHeader(s.t, r2.header, map[string]string{"X-Trace-Id": "follow-2", harness.HeaderCache: ""})
		if s.handler != "proxy" {
			s.c.WantMetrics(map[string]float64{`caddy_chat_open_streams{tenant="acme"}`: 2})
		}
		refused()
		if s.sessions() {
			// Without the key, the session is busy.
			harness.WantFailure(s.t, s.ann.Start(s.build(s.ann, q)).Answer(), http.StatusConflict, "session_busy")
		}
		call.Event(harness.ChunkOf(`{"content":" two"}`))
		r1.upTo("One two")
		r2.upTo("One two")
		if !slices.Equal(r1.parts, r2.parts) {
			s.t.Errorf("the follower got %q, want %q", r2.parts, r1.parts)
		}
		a.GoAway()
		call.Event(harness.ChunkOf(`{"content":" three"}`))
		r2.upTo("One two three")
		r3 := s.ask(q).read()
		r3.upTo("One two three")
		call.Stream(harness.EndOf("stop"))
		second := r2.rest()
		s.wantText(second, "One two three")
		s.wantSame(r3.rest(), second)
		refused()
		s.wantHistory(q.session, "user: follow", "assistant: One two three")
		s.c.WantNothingLeft()
	})

	s.streamedAndWhole("waits for an answer that has not begun", func(s *site, stream bool) {
		q := s.request(fmt.Sprint("wait-", stream), fmt.Sprint("wait ", stream), stream)
		a := s.ask(q)
		call := s.up.Call()
		b := s.ask(q)
		s.c.WantFollowing(1)
		call.Answer("here")
		first := a.whole()
		s.wantText(first, "here")
		s.wantSame(b.whole(), first)
		s.c.WantNothingLeft()
	})

	s.streamedAndWhole("shares one call with many at once", func(s *site, stream bool) {
		q := s.request(fmt.Sprint("many-", stream), fmt.Sprint("many ", stream), stream)
		var list []*asking
		for range 20 {
			list = append(list, s.ask(q))
		}
		s.up.Call().Answer("the one answer")
		first := list[0].whole()
		s.wantText(first, "the one answer")
		for _, a := range list[1:] {
			s.wantSame(a.whole(), first)
		}
		s.wantHistory(q.session, "user: "+q.text, "assistant: the one answer")
	})

	s.streamedAndWhole("gets the answer of a client that left", func(s *site, stream bool) {
		q := s.request(fmt.Sprint("alone-", stream), fmt.Sprint("alone ", stream), stream)
		a := s.ask(q)
		call := s.up.Call()
		a.GoAway()
		if err := <-a.Err; err == nil {
			s.t.Fatal("the client that left got an answer")
		}
		if stream {
			call.Event(harness.ChunkOf(`{"content":"for "}`))
			b := s.ask(q)
			b.read().upTo("for ")
			b.GoAway()
			call.Stream(harness.ChunkOf(`{"content":"the next client"}`), harness.EndOf("stop"))
		} else {
			b := s.ask(q)
			call.Answer("for the next client")
			s.wantText(b.whole(), "for the next client")
		}
		for range 2 {
			s.wantText(s.ask(q).whole(), "for the next client")
		}
		q.text = "something else"
		s.wantReused(q)
		s.wantHistory(q.session, fmt.Sprint("user: alone ", stream), "assistant: for the next client")
		s.c.WantNothingLeft()
	})

	s.streamedAndWhole("gets a long answer", func(s *site, stream bool) {
		text := strings.Repeat("0123456789abcdef", 1<<16)
		q := s.request(fmt.Sprint("long-", stream), fmt.Sprint("long ", stream), stream)
		a := s.ask(q)
		call := s.up.Call()
		if stream {
			for piece := range slices.Chunk([]byte(text), 1<<14) {
				call.Event(harness.ChunkOf(`{"content":` + harness.Quote(string(piece)) + `}`))
			}
			call.Stream(harness.EndOf("stop"))
		} else {
			call.Answer(text)
		}
		first := a.whole()
		s.wantText(first, text)
		s.wantSame(s.ask(q).whole(), first)
	})

	for name, restart := range map[string]func(){"restart": s.c.Stop, "kill": s.c.Kill} {
		s.streamedAndWhole("gets the first answer after a "+name, func(s *site, stream bool) {
			q := s.request(fmt.Sprint(name, stream), fmt.Sprint(name, " ", stream), stream)
			a := s.ask(q)
			s.up.Call().Answer("kept")
			first := a.whole()
			restart()
			s.c.Restart()
			s.wantSame(s.ask(q).whole(), first)
			other := q
			other.text = "other"
			s.wantReused(other)
			if s.sessions() {
				other = q
				other.session = harness.NewSession()
				s.wantReused(other)
			}
			s.wantHistory(q.session, "user: "+q.text, "assistant: kept")
		})
	}
}
