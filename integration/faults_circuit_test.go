package integration

import (
	"fmt"
	"net/http"
	"strconv"
	"testing"
)

// circuits is what /v1/health tells of the gateway.
type circuits struct {
	Status          string
	FallbackModelID *string
	Providers       map[string]struct{ Circuit string }
}

func (s *faultSite) health(t testing.TB) circuits {
	t.Helper()
	var h struct{ Data circuits }
	if status := s.globex.call(http.MethodGet, "/v1/health", nil, &h); status != http.StatusOK {
		t.Fatalf("/v1/health answers %d", status)
	}
	return h.Data
}

// wantCircuit checks what health and metrics tell of a target, which is the
// only one that may not be closed.
func (s *faultSite) wantCircuit(t testing.TB, name, state string) {
	t.Helper()
	h := s.health(t)
	status, open := "degraded", 1.0
	if state == "closed" {
		status, open = "ok", 0
	}
	if h.Status != status {
		t.Errorf("health is %s, want %s", h.Status, status)
	}
	for _, f := range s.targets {
		want := "closed"
		if f.name == name {
			want = state
		}
		if got := h.Providers[f.name].Circuit; got != want {
			t.Errorf("the circuit of %s is %s, want %s", f.name, got, want)
		}
	}
	series := fmt.Sprintf(`caddy_ai_circuit_open{model="fast",provider=%q}`, name)
	if got, ok := s.c.metrics()[series]; !ok || got != open {
		t.Errorf("%s is %v (%v), want %v", series, got, ok, open)
	}
}

// fails makes requests until n of them have failed at the first target and
// have been answered by the second.
func (s *faultSite) fails(t testing.TB, n int) {
	t.Helper()
	for range n {
		tr := s.try(t, newQuestion("fast"))
		tr.wantFrom(t, "two", 2, true)
		tr.wantCalls(t, 1, 1)
	}
}

func TestCircuitOpens(t *testing.T) {
	t.Parallel()
	for name, do := range map[string]behaviour{
		"500":                       refuses(500, "x"),
		"reset":                     reset,
		"nonsense":                  answersWith(200, "<p>upstream-words</p>", "Content-Type", "text/html"),
		"an error with status 200":  refuses(200, "server_error"),
		"408, which is about it":    refuses(408, "x"),
		"a body that is torn apart": steps(func(c *targetCall) { c.send(`{"id":`) }, tornOff),
	} {
		t.Run(name, func(t *testing.T) {
			targets := newTargets(t, "one", "two")
			one := targets[0]
			s := newFaultSite(t, faultConfig{targets: targets, gateway: "retries 0\ncircuit_breaker 5 10m"})
			s.wantCircuit(t, "one", "closed")
			one.plays(do)
			s.fails(t, 4)
			s.wantCircuit(t, "one", "closed")
			s.fails(t, 1)
			s.wantCircuit(t, "one", "open")

			// from here on it costs no call
			one.plays(says(11, 5, "Hello"))
			for name, q := range (faultRow{both: true}).questions() {
				t.Run(name, func(t *testing.T) {
					tr := s.try(t, q)
					tr.wantText(t, "Hello")
					tr.wantCalls(t, 0, 1)
					tr.wantFrom(t, "two", 1, true)
				})
			}
			tn := s.turn(t)
			tn.wantStored(t, s.globex, "Hello")
			tn.wantCalls(t, 0, 1)
		})
	}
	t.Run("by default after 5 failures", func(t *testing.T) {
		targets := newTargets(t, "one", "two")
		targets[0].plays(refuses(500, "x"))
		s := newFaultSite(t, faultConfig{targets: targets, gateway: "retries 0"})
		s.fails(t, 5)
		s.wantCircuit(t, "one", "open")
	})
	t.Run("within the retries of one request", func(t *testing.T) {
		targets := newTargets(t, "one", "two")
		targets[0].plays(refuses(500, "x"))
		s := newFaultSite(t, faultConfig{targets: targets, gateway: "retries 5\ncircuit_breaker 2 10m"})
		tr := s.try(t, newQuestion("fast"))
		tr.wantText(t, "Hello")
		tr.wantCalls(t, 2, 1)
		tr.wantFrom(t, "two", 3, true)
	})
}

func TestCircuitStaysClosed(t *testing.T) {
	t.Parallel()
	t.Run("unless the failures are in a row", func(t *testing.T) {
		targets := newTargets(t, "one", "two")
		one := targets[0]
		s := newFaultSite(t, faultConfig{targets: targets, gateway: "retries 0\ncircuit_breaker 5 10m"})
		for range 3 {
			one.plays(refuses(500, "x"))
			s.fails(t, 4)
			one.plays(says(11, 5, "Hello"))
			tr := s.try(t, newQuestion("fast"))
			tr.wantFrom(t, "one", 1, false)
		}
		s.wantCircuit(t, "one", "closed")
	})
	t.Run("429 counts neither for nor against", func(t *testing.T) {
		targets := newTargets(t, "one", "two")
		one := targets[0]
		s := newFaultSite(t, faultConfig{targets: targets, gateway: "retries 0\ncircuit_breaker 5 10m"})
		one.plays(refuses(500, "x"))
		s.fails(t, 4)
		one.plays(refuses(429, "x"))
		s.fails(t, 7)
		s.wantCircuit(t, "one", "closed")
		one.plays(refuses(500, "x"))
		s.fails(t, 1)
		s.wantCircuit(t, "one", "open")
	})
	t.Run("a request that is at fault does not count", func(t *testing.T) {
		targets := newTargets(t, "one", "two")
		one := targets[0]
		s := newFaultSite(t, faultConfig{targets: targets, gateway: "retries 0\ncircuit_breaker 5 10m"})
		for _, do := range []behaviour{refuses(400, "x"), refuses(400, "content_filter"), refuses(400, "context_length_exceeded")} {
			one.plays(do)
			for range 6 {
				tr := s.try(t, newQuestion("fast"))
				if tr.saw[0] != 1 {
					t.Fatalf("the targets saw %v", tr.saw)
				}
			}
		}
		s.wantCircuit(t, "one", "closed")
	})
	t.Run("a client that goes away does not count", func(t *testing.T) {
		targets := newTargets(t, "one", "two")
		one := targets[0]
		s := newFaultSite(t, faultConfig{targets: targets, gateway: "retries 0\ncircuit_breaker 2 10m"})
		for range 4 {
			asked, gone := make(chan struct{}), make(chan struct{})
			one.plays(func(c *targetCall) {
				close(asked)
				<-c.r.Context().Done()
				close(gone)
			})
			a := s.globex.start(s.globex.request(http.MethodPost, completions, newQuestion("fast").streamed()))
			wantClosed(t, asked, "the target is not called")
			a.goAway()
			wantClosed(t, gone, "the call goes on without a client")
		}
		s.wantCircuit(t, "one", "closed")
	})
}

func wantClosed(t testing.TB, ch <-chan struct{}, otherwise string) {
	t.Helper()
	select {
	case <-ch:
	case <-timeUp(t):
		t.Fatal(otherwise)
	}
}

// TestAllCircuitsOpen has no target left to call.
func TestAllCircuitsOpen(t *testing.T) {
	t.Parallel()
	targets := newTargets(t, "one", "two")
	for _, f := range targets {
		f.plays(refuses(500, "x"))
	}
	s := newFaultSite(t, faultConfig{targets: targets, gateway: "retries 0\ncircuit_breaker 1 10m"})
	first := s.try(t, newQuestion("fast"))
	first.wantRefused(t, http.StatusBadGateway, "ai_error")
	first.wantCalls(t, 1, 1)

	wantLater := func(t *testing.T, h http.Header) {
		t.Helper()
		if n, err := strconv.Atoi(h.Get("Retry-After")); err != nil || n < 1 || n > 600 {
			t.Errorf("Retry-After %q, want the seconds until the circuit lets a call through", h.Get("Retry-After"))
		}
	}
	for name, q := range (faultRow{both: true}).questions() {
		t.Run(name, func(t *testing.T) {
			tr := s.try(t, q)
			tr.wantRefused(t, http.StatusServiceUnavailable, "ai_unavailable")
			wantLater(t, tr.header)
			tr.wantNothingBilled(t)
			if tr.saw[0]+tr.saw[1] != 0 || tr.logged["error_code"] != "ai_unavailable" {
				t.Errorf("the targets saw %v calls, %v is logged", tr.saw, tr.logged["error_code"])
			}
		})
	}
	t.Run("/chat", func(t *testing.T) {
		for _, stream := range []bool{false, true} {
			resp := s.globex.do(http.MethodPost, "/chat", ask{SessionID: newSession(), Message: "hi", Stream: &stream})
			wantLater(t, resp.Header)
			wantFailure(t, resp, http.StatusServiceUnavailable, "ai_unavailable")
		}
	})
	if h := s.health(t); h.Status != "degraded" || h.Providers["one"].Circuit != "open" || h.Providers["two"].Circuit != "open" {
		t.Errorf("health is %+v", h)
	}
}

// TestCircuitProbe has a target whose circuit has opened, and which is then
// let through to.
func TestCircuitProbe(t *testing.T) {
	t.Parallel()
	// probe opens the circuit and has one call let through to do, of a
	// request that is under way when it returns
	probe := func(t *testing.T, do behaviour) (*faultSite, *asking) {
		targets := newTargets(t, "one", "two")
		one := targets[0]
		s := newFaultSite(t, faultConfig{targets: targets, gateway: "retries 0\ncircuit_breaker 5 1s"})
		one.plays(refuses(500, "x"))
		s.fails(t, 4)
		s.fails(t, 1) // its pause begins
		asked := make(chan struct{})
		one.plays(steps(func(*targetCall) { close(asked) }, do))
		var probing *asking
		eventually(t, "a call is let through", func() bool {
			a := s.globex.start(s.globex.request(http.MethodPost, completions, newQuestion("fast").withUsage()))
			select {
			case <-asked:
				probing = a
				return true
			case resp := <-a.resp:
				// some other time: the circuit is open
				if got := readCompletion(t, resp); got.header.Get("X-Ai-Provider") != "two" {
					t.Errorf("answered by %s", got.header.Get("X-Ai-Provider"))
				}
			case err := <-a.err:
				t.Fatal(err)
			}
			return false
		})
		return s, probing
	}

	t.Run("is a single call, and closes the circuit", func(t *testing.T) {
		t.Parallel()
		answer := make(chan struct{})
		s, probing := probe(t, steps(waits(answer), says(11, 5, "Hello")))
		one := s.targets[0]
		if n := one.count(); n != 6 {
			t.Fatalf("one saw %d calls, want 5 and the probe", n)
		}
		s.wantCircuit(t, "one", "half_open")
		var others []*asking
		for range 30 {
			others = append(others, s.globex.start(s.globex.request(http.MethodPost, completions, newQuestion("fast").withUsage())))
		}
		for _, a := range others {
			got := readCompletion(t, a.answer())
			got.wantText(t, "Hello")
			wantHeader(t, got.header, map[string]string{"X-Ai-Provider": "two", "X-Ai-Attempts": "1", "X-Ai-Fallback": "true"})
		}
		if n := one.count(); n != 6 {
			t.Errorf("one saw %d calls, want 5 and the probe", n)
		}
		close(answer)
		got := readCompletion(t, probing.answer())
		got.wantText(t, "Hello")
		wantHeader(t, got.header, map[string]string{"X-Ai-Provider": "one", "X-Ai-Fallback": ""})

		one.plays(says(11, 5, "Hello"))
		tr := s.try(t, newQuestion("fast"))
		tr.wantFrom(t, "one", 1, false)
		s.wantCircuit(t, "one", "closed")
		one.plays(refuses(500, "x"))
		s.fails(t, 4)
		s.wantCircuit(t, "one", "closed")
	})
	t.Run("that fails opens it again", func(t *testing.T) {
		t.Parallel()
		s, probing := probe(t, refuses(500, "x"))
		got := readCompletion(t, probing.answer())
		got.wantText(t, "Hello")
		wantHeader(t, got.header, map[string]string{"X-Ai-Provider": "two", "X-Ai-Attempts": "2", "X-Ai-Fallback": "true"})
		asked := s.targets[0].requests()
		if len(asked) != 6 {
			t.Errorf("one saw %d calls, want 6", len(asked))
		}
		// each probe waits for its pause, however many requests there are
		s.targets[0].plays(refuses(500, "x"))
		eventually(t, "another call is let through", func() bool {
			s.globex.complete(newQuestion("fast"))
			return s.targets[0].count() == 7
		})
		asked = s.targets[0].requests()
		for i := 5; i < 7; i++ {
			if waited := asked[i].at.Sub(asked[i-1].at).Milliseconds(); waited < 1000-slack.Milliseconds() {
				t.Errorf("a probe came %d ms after the failure before it, want a second", waited)
			}
		}
	})
	t.Run("that its client leaves makes way for another", func(t *testing.T) {
		t.Parallel()
		gone := make(chan struct{})
		s, probing := probe(t, func(c *targetCall) {
			<-c.r.Context().Done()
			close(gone)
		})
		probing.goAway()
		wantClosed(t, gone, "the call goes on without a client")
		s.targets[0].plays(says(11, 5, "Hello"))
		eventually(t, "another call is let through", func() bool {
			got := s.globex.complete(newQuestion("fast"))
			return got.header.Get("X-Ai-Provider") == "one"
		})
		s.wantCircuit(t, "one", "closed")
	})
	t.Run("that is told to slow down makes way for another", func(t *testing.T) {
		t.Parallel()
		s, probing := probe(t, refuses(429, "x"))
		readCompletion(t, probing.answer())
		s.targets[0].plays(says(11, 5, "Hello"))
		eventually(t, "another call is let through", func() bool {
			got := s.globex.complete(newQuestion("fast"))
			return got.header.Get("X-Ai-Provider") == "one"
		})
	})
}

// TestPrimaryComesBack takes the first target's port away, for a while.
func TestPrimaryComesBack(t *testing.T) {
	t.Parallel()
	targets := newTargets(t, "one", "two")
	one := targets[0]
	s := newFaultSite(t, faultConfig{targets: targets, gateway: "retries 0\ncircuit_breaker 3 1s"})
	for round := range 2 {
		tr := s.try(t, newQuestion("fast").withUsage())
		tr.wantFrom(t, "one", 1, false)
		one.down()
		before := one.count()
		for range 12 {
			got := s.globex.complete(newQuestion("fast").withUsage())
			got.wantText(t, "Hello")
			wantHeader(t, got.header, map[string]string{"X-Ai-Provider": "two", "X-Ai-Fallback": "true"})
		}
		if h := s.health(t); h.Status != "degraded" || h.Providers["one"].Circuit == "closed" || h.Providers["two"].Circuit != "closed" {
			t.Errorf("round %d: health is %+v", round, h)
		}
		one.up()
		eventually(t, "the first target answers again", func() bool {
			got := s.globex.complete(newQuestion("fast").withUsage())
			got.wantText(t, "Hello")
			return got.header.Get("X-Ai-Provider") == "one"
		})
		s.wantCircuit(t, "one", "closed")
		if n := one.count() - before; n != 1 {
			t.Errorf("round %d: it saw %d calls, want 1", round, n)
		}
	}
}
