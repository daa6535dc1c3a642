package failover

import (
	"fmt"
	"net/http"
	"strconv"
	"testing"

	"github.com/caddy-chat/caddy-chat/integration/harness"
)

// circuits is the data of /v1/health.
type circuits struct {
	Status          string
	FallbackModelID *string
	Providers       map[string]struct{ Circuit string }
}

func (s *faultSite) health(t testing.TB) circuits {
	t.Helper()
	var h struct{ Data circuits }
	if status := s.Globex.Call(http.MethodGet, "/v1/health", nil, &h); status != http.StatusOK {
		t.Fatalf("/v1/health answers %d", status)
	}
	return h.Data
}

// wantCircuit checks the state of a target's circuit in health and metrics. All
// other circuits must be closed.
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
	for _, f := range s.Targets {
		want := "closed"
		if f.Name == name {
			want = state
		}
		if got := h.Providers[f.Name].Circuit; got != want {
			t.Errorf("the circuit of %s is %s, want %s", f.Name, got, want)
		}
	}
	series := fmt.Sprintf(`caddy_ai_circuit_open{model="fast",provider=%q}`, name)
	if got, ok := s.C.Metrics()[series]; !ok || got != open {
		t.Errorf("%s is %v (%v), want %v", series, got, ok, open)
	}
}

// fails makes n requests that fail at the first target and are answered by the
// second.
func (s *faultSite) fails(t testing.TB, n int) {
	t.Helper()
	for range n {
		tr := s.try(t, harness.NewQuestion("fast"))
		tr.wantFrom(t, "two", 2, true)
		tr.wantCalls(t, 1, 1)
	}
}

func TestCircuitOpens(t *testing.T) {
	t.Parallel()
	for name, do := range map[string]harness.Script{
		"500":                      harness.Refuses(500, "x"),
		"reset":                    harness.Reset,
		"nonsense":                 harness.Document(200, "<p>upstream-words</p>", "Content-Type", "text/html"),
		"an error with status 200": harness.Refuses(200, "server_error"),
		"408":                      harness.Refuses(408, "x"),
		"a cut body":               harness.Steps(func(c *harness.Call) { c.Send(`{"id":`) }, harness.TornOff),
	} {
		t.Run(name, func(t *testing.T) {
			targets := harness.NewTargets(t, "one", "two")
			one := targets[0]
			s := newFaultSite(t, harness.TargetConfig{Targets: targets, Gateway: "retries 0\ncircuit_breaker 5 10m"})
			s.wantCircuit(t, "one", "closed")
			one.Plays(do)
			s.fails(t, 4)
			s.wantCircuit(t, "one", "closed")
			s.fails(t, 1)
			s.wantCircuit(t, "one", "open")

			// an open circuit costs no call
			one.Plays(harness.Says(11, 5, "Hello"))
			for name, q := range (faultRow{both: true}).questions() {
				t.Run(name, func(t *testing.T) {
					tr := s.try(t, q)
					tr.WantText(t, "Hello")
					tr.wantCalls(t, 0, 1)
					tr.wantFrom(t, "two", 1, true)
				})
			}
			tn := s.turn(t)
			tn.wantStored(t, s.Globex, "Hello")
			tn.wantCalls(t, 0, 1)
		})
	}
	t.Run("after 5 failures by default", func(t *testing.T) {
		targets := harness.NewTargets(t, "one", "two")
		targets[0].Plays(harness.Refuses(500, "x"))
		s := newFaultSite(t, harness.TargetConfig{Targets: targets, Gateway: "retries 0"})
		s.fails(t, 5)
		s.wantCircuit(t, "one", "open")
	})
	t.Run("within the retries of one request", func(t *testing.T) {
		targets := harness.NewTargets(t, "one", "two")
		targets[0].Plays(harness.Refuses(500, "x"))
		s := newFaultSite(t, harness.TargetConfig{Targets: targets, Gateway: "retries 5\ncircuit_breaker 2 10m"})
		tr := s.try(t, harness.NewQuestion("fast"))
		tr.WantText(t, "Hello")
		tr.wantCalls(t, 2, 1)
		tr.wantFrom(t, "two", 3, true)
	})
}

func TestCircuitStaysClosed(t *testing.T) {
	t.Parallel()
	t.Run("when failures are not in a row", func(t *testing.T) {
		targets := harness.NewTargets(t, "one", "two")
		one := targets[0]
		s := newFaultSite(t, harness.TargetConfig{Targets: targets, Gateway: "retries 0\ncircuit_breaker 5 10m"})
		for range 3 {
			one.Plays(harness.Refuses(500, "x"))
			s.fails(t, 4)
			one.Plays(harness.Says(11, 5, "Hello"))
			tr := s.try(t, harness.NewQuestion("fast"))
			tr.wantFrom(t, "one", 1, false)
		}
		s.wantCircuit(t, "one", "closed")
	})
	t.Run("429 neither counts nor resets the count", func(t *testing.T) {
		targets := harness.NewTargets(t, "one", "two")
		one := targets[0]
		s := newFaultSite(t, harness.TargetConfig{Targets: targets, Gateway: "retries 0\ncircuit_breaker 5 10m"})
		one.Plays(harness.Refuses(500, "x"))
		s.fails(t, 4)
		one.Plays(harness.Refuses(429, "x"))
		s.fails(t, 7)
		s.wantCircuit(t, "one", "closed")
		one.Plays(harness.Refuses(500, "x"))
		s.fails(t, 1)
		s.wantCircuit(t, "one", "open")
	})
	t.Run("a bad request does not count", func(t *testing.T) {
		targets := harness.NewTargets(t, "one", "two")
		one := targets[0]
		s := newFaultSite(t, harness.TargetConfig{Targets: targets, Gateway: "retries 0\ncircuit_breaker 5 10m"})
		for _, do := range []harness.Script{harness.Refuses(400, "x"), harness.Refuses(400, "content_filter"), harness.Refuses(400, "context_length_exceeded")} {
			one.Plays(do)
			for range 6 {
				tr := s.try(t, harness.NewQuestion("fast"))
				if tr.saw[0] != 1 {
					t.Fatalf("the targets saw %v", tr.saw)
				}
			}
		}
		s.wantCircuit(t, "one", "closed")
	})
	t.Run("a client that leaves does not count", func(t *testing.T) {
		targets := harness.NewTargets(t, "one", "two")
		one := targets[0]
		s := newFaultSite(t, harness.TargetConfig{Targets: targets, Gateway: "retries 0\ncircuit_breaker 2 10m"})
		for range 4 {
			asked, gone := make(chan struct{}), make(chan struct{})
			one.Plays(func(c *harness.Call) {
				close(asked)
				<-c.R.Context().Done()
				close(gone)
			})
			a := s.Globex.Start(s.Globex.Request(http.MethodPost, harness.CompletionsPath, harness.NewQuestion("fast").Streamed()))
			wantClosed(t, asked, "the target is not called")
			a.GoAway()
			wantClosed(t, gone, "the call continues without a client")
		}
		s.wantCircuit(t, "one", "closed")
	})
}

func wantClosed(t testing.TB, ch <-chan struct{}, otherwise string) {
	t.Helper()
	select {
	case <-ch:
	case <-harness.TimeUp(t):
		t.Fatal(otherwise)
	}
}

// TestAllCircuitsOpen has no target left to call.
func TestAllCircuitsOpen(t *testing.T) {
	t.Parallel()
	targets := harness.NewTargets(t, "one", "two")
	for _, f := range targets {
		f.Plays(harness.Refuses(500, "x"))
	}
	s := newFaultSite(t, harness.TargetConfig{Targets: targets, Gateway: "retries 0\ncircuit_breaker 1 10m"})
	first := s.try(t, harness.NewQuestion("fast"))
	first.WantRefused(t, http.StatusBadGateway, "ai_error")
	first.wantCalls(t, 1, 1)

	wantLater := func(t *testing.T, h http.Header) {
		t.Helper()
		if n, err := strconv.Atoi(h.Get("Retry-After")); err != nil || n < 1 || n > 600 {
			t.Errorf("Retry-After %q, want the seconds until the circuit allows a call", h.Get("Retry-After"))
		}
	}
	for name, q := range (faultRow{both: true}).questions() {
		t.Run(name, func(t *testing.T) {
			tr := s.try(t, q)
			tr.WantRefused(t, http.StatusServiceUnavailable, "ai_unavailable")
			wantLater(t, tr.Header)
			tr.wantNothingBilled(t)
			if tr.saw[0]+tr.saw[1] != 0 || tr.logged["error_code"] != "ai_unavailable" {
				t.Errorf("the targets saw %v calls, %v is logged", tr.saw, tr.logged["error_code"])
			}
		})
	}
	t.Run("/chat", func(t *testing.T) {
		for _, stream := range []bool{false, true} {
			resp := s.Globex.Do(http.MethodPost, "/chat", harness.ChatRequest{SessionID: harness.NewSession(), Message: "hi", Stream: &stream})
			wantLater(t, resp.Header)
			harness.WantFailure(t, resp, http.StatusServiceUnavailable, "ai_unavailable")
		}
	})
	if h := s.health(t); h.Status != "degraded" || h.Providers["one"].Circuit != "open" || h.Providers["two"].Circuit != "open" {
		t.Errorf("health is %+v", h)
	}
}

// TestCircuitProbe checks the first call to a target after its circuit's pause.
func TestCircuitProbe(t *testing.T) {
	t.Parallel()
	// probe opens the circuit and waits for the probe, which plays do. The
	// probing request is still running when it returns.
	probe := func(t *testing.T, do harness.Script) (*faultSite, *harness.Pending) {
		targets := harness.NewTargets(t, "one", "two")
		one := targets[0]
		s := newFaultSite(t, harness.TargetConfig{Targets: targets, Gateway: "retries 0\ncircuit_breaker 5 1s"})
		one.Plays(harness.Refuses(500, "x"))
		s.fails(t, 4)
		s.fails(t, 1) // the pause begins
		asked := make(chan struct{})
		one.Plays(harness.Steps(func(*harness.Call) { close(asked) }, do))
		var probing *harness.Pending
		harness.Eventually(t, "a probe is allowed", func() bool {
			a := s.Globex.Start(s.Globex.Request(http.MethodPost, harness.CompletionsPath, harness.NewQuestion("fast").WithUsage()))
			select {
			case <-asked:
				probing = a
				return true
			case resp := <-a.Resp:
				// too early: the circuit is still open
				if got := harness.ReadCompletion(t, resp); got.Header.Get("X-Ai-Provider") != "two" {
					t.Errorf("answered by %s", got.Header.Get("X-Ai-Provider"))
				}
			case err := <-a.Err:
				t.Fatal(err)
			}
			return false
		})
		return s, probing
	}

	t.Run("is a single call that closes the circuit", func(t *testing.T) {
		t.Parallel()
		answer := make(chan struct{})
		s, probing := probe(t, harness.Steps(harness.Waits(answer), harness.Says(11, 5, "Hello")))
		one := s.Targets[0]
		if n := one.Count(); n != 6 {
			t.Fatalf("one saw %d calls, want 5 and the probe", n)
		}
		s.wantCircuit(t, "one", "half_open")
		var others []*harness.Pending
		for range 30 {
			others = append(others, s.Globex.Start(s.Globex.Request(http.MethodPost, harness.CompletionsPath, harness.NewQuestion("fast").WithUsage())))
		}
		for _, a := range others {
			got := harness.ReadCompletion(t, a.Answer())
			got.WantText(t, "Hello")
			harness.WantHeader(t, got.Header, map[string]string{"X-Ai-Provider": "two", "X-Ai-Attempts": "1", "X-Ai-Fallback": "true"})
		}
		if n := one.Count(); n != 6 {
			t.Errorf("one saw %d calls, want 5 and the probe", n)
		}
		close(answer)
		got := harness.ReadCompletion(t, probing.Answer())
		got.WantText(t, "Hello")
		harness.WantHeader(t, got.Header, map[string]string{"X-Ai-Provider": "one", "X-Ai-Fallback": ""})

		one.Plays(harness.Says(11, 5, "Hello"))
		tr := s.try(t, harness.NewQuestion("fast"))
		tr.wantFrom(t, "one", 1, false)
		s.wantCircuit(t, "one", "closed")
		one.Plays(harness.Refuses(500, "x"))
		s.fails(t, 4)
		s.wantCircuit(t, "one", "closed")
	})
	t.Run("opens the circuit again when it fails", func(t *testing.T) {
		t.Parallel()
		s, probing := probe(t, harness.Refuses(500, "x"))
		got := harness.ReadCompletion(t, probing.Answer())
		got.WantText(t, "Hello")
		harness.WantHeader(t, got.Header, map[string]string{"X-Ai-Provider": "two", "X-Ai-Attempts": "2", "X-Ai-Fallback": "true"})
		asked := s.Targets[0].Requests()
		if len(asked) != 6 {
			t.Errorf("one saw %d calls, want 6", len(asked))
		}
		// each probe waits for a full pause, however many requests arrive
		s.Targets[0].Plays(harness.Refuses(500, "x"))
		harness.Eventually(t, "another probe is allowed", func() bool {
			s.Globex.Complete(harness.NewQuestion("fast"))
			return s.Targets[0].Count() == 7
		})
		asked = s.Targets[0].Requests()
		for i := 5; i < 7; i++ {
			if waited := asked[i].At.Sub(asked[i-1].At).Milliseconds(); waited < 1000-slack.Milliseconds() {
				t.Errorf("a probe came %d ms after the last failure, want a second", waited)
			}
		}
	})
	t.Run("makes way for another when its client leaves", func(t *testing.T) {
		t.Parallel()
		gone := make(chan struct{})
		s, probing := probe(t, func(c *harness.Call) {
			<-c.R.Context().Done()
			close(gone)
		})
		probing.GoAway()
		wantClosed(t, gone, "the call continues without a client")
		s.Targets[0].Plays(harness.Says(11, 5, "Hello"))
		harness.Eventually(t, "another probe is allowed", func() bool {
			got := s.Globex.Complete(harness.NewQuestion("fast"))
			return got.Header.Get("X-Ai-Provider") == "one"
		})
		s.wantCircuit(t, "one", "closed")
	})
	t.Run("makes way for another when it gets 429", func(t *testing.T) {
		t.Parallel()
		s, probing := probe(t, harness.Refuses(429, "x"))
		harness.ReadCompletion(t, probing.Answer())
		s.Targets[0].Plays(harness.Says(11, 5, "Hello"))
		harness.Eventually(t, "another probe is allowed", func() bool {
			got := s.Globex.Complete(harness.NewQuestion("fast"))
			return got.Header.Get("X-Ai-Provider") == "one"
		})
	})
}

// TestPrimaryComesBack closes the first target's port for a while.
func TestPrimaryComesBack(t *testing.T) {
	t.Parallel()
	targets := harness.NewTargets(t, "one", "two")
	one := targets[0]
	s := newFaultSite(t, harness.TargetConfig{Targets: targets, Gateway: "retries 0\ncircuit_breaker 3 1s"})
	for round := range 2 {
		tr := s.try(t, harness.NewQuestion("fast").WithUsage())
		tr.wantFrom(t, "one", 1, false)
		one.Down()
		before := one.Count()
		for range 12 {
			got := s.Globex.Complete(harness.NewQuestion("fast").WithUsage())
			got.WantText(t, "Hello")
			harness.WantHeader(t, got.Header, map[string]string{"X-Ai-Provider": "two", "X-Ai-Fallback": "true"})
		}
		if h := s.health(t); h.Status != "degraded" || h.Providers["one"].Circuit == "closed" || h.Providers["two"].Circuit != "closed" {
			t.Errorf("round %d: health is %+v", round, h)
		}
		one.Up()
		harness.Eventually(t, "the first target answers again", func() bool {
			got := s.Globex.Complete(harness.NewQuestion("fast").WithUsage())
			got.WantText(t, "Hello")
			return got.Header.Get("X-Ai-Provider") == "one"
		})
		s.wantCircuit(t, "one", "closed")
		if n := one.Count() - before; n != 1 {
			t.Errorf("round %d: the first target saw %d calls, want 1", round, n)
		}
	}
}
