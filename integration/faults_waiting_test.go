package integration

import (
	"net/http"
	"testing"
	"time"
)

// soon is a timeout for targets that are silent for good. What is to be
// answered within it is answered at once, even on a machine that is busy.
const soon = "4s"

// slack is by how much two clocks may differ.
const slack = 20 * time.Millisecond

// waited is how long a target was left alone between two calls.
func (f *target) waited(t testing.TB, call int) time.Duration {
	t.Helper()
	list := f.requests()
	if len(list) <= call {
		t.Fatalf("%s saw %d calls", f.name, len(list))
	}
	return list[call].at.Sub(list[call-1].at)
}

func TestRetryAfter(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		name, header, value string
		least               time.Duration
	}{
		{"in seconds", "Retry-After", "1", time.Second},
		{"in fractions of a second", "Retry-After", "0.7", 700 * time.Millisecond},
		{"in milliseconds", "Retry-After-Ms", "900", 900 * time.Millisecond},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			targets := newTargets(t, "one", "two")
			one := targets[0]
			s := newFaultSite(t, faultConfig{targets: targets, gateway: patient})
			one.plays(refuses(429, "rate_limit_exceeded", tc.header, tc.value), says(11, 5, "Hello"))
			tr := s.try(t, newQuestion("fast").withUsage())
			tr.wantText(t, "Hello")
			tr.wantCalls(t, 2, 0)
			tr.wantFrom(t, "one", 2, false)
			if got := one.waited(t, 1); got < tc.least-slack {
				t.Errorf("called again after %v, want %v at least", got, tc.least)
			}
		})
	}
	t.Run("as a date", func(t *testing.T) {
		t.Parallel()
		targets := newTargets(t, "one", "two")
		one := targets[0]
		s := newFaultSite(t, faultConfig{targets: targets, gateway: patient})
		// a date has whole seconds: this one is two to three away
		at := time.Now().Add(3 * time.Second).Truncate(time.Second)
		one.plays(refuses(429, "rate_limit_exceeded", "Retry-After", at.UTC().Format(http.TimeFormat)), says(11, 5, "Hello"))
		tr := s.try(t, newQuestion("fast").withUsage())
		tr.wantText(t, "Hello")
		tr.wantCalls(t, 2, 0)
		if again := one.requests()[1].at; again.Before(at.Add(-slack)) {
			t.Errorf("called again at %v, want %v or later", again, at)
		}
	})
	t.Run("up to retry_after_max", func(t *testing.T) {
		t.Parallel()
		targets := newTargets(t, "one", "two")
		one := targets[0]
		s := newFaultSite(t, faultConfig{targets: targets, gateway: patient + "\nretry_after_max 800ms"})
		one.plays(refuses(429, "rate_limit_exceeded", "Retry-After", "3600"))
		tr := s.try(t, newQuestion("fast").withUsage())
		tr.wantText(t, "Hello")
		tr.wantCalls(t, 2, 1)
		tr.wantFrom(t, "two", 3, true)

		one.plays(refuses(429, "rate_limit_exceeded", "Retry-After-Ms", "800"), says(11, 5, "Hello"))
		before := one.count()
		tr = s.try(t, newQuestion("fast").withUsage())
		tr.wantFrom(t, "one", 2, false)
		if got := one.waited(t, before+1); got < 800*time.Millisecond-slack {
			t.Errorf("called again after %v", got)
		}
	})
	t.Run("beyond try_duration goes to the next target", func(t *testing.T) {
		t.Parallel()
		targets := newTargets(t, "one", "two")
		one, two := targets[0], targets[1]
		s := newFaultSite(t, faultConfig{targets: targets, gateway: "try_duration 30s\nretry_after_max 10m"})
		one.plays(refuses(429, "rate_limit_exceeded", "Retry-After", "300"))
		tr := s.try(t, newQuestion("fast"))
		tr.wantText(t, "Hello")
		tr.wantCalls(t, 1, 1)
		tr.wantFrom(t, "two", 2, true)

		two.plays(refuses(429, "rate_limit_exceeded", "Retry-After", "400"))
		tr = s.try(t, newQuestion("fast"))
		tr.wantRefused(t, http.StatusTooManyRequests, "provider_rate_limited")
		wantHeader(t, tr.header, map[string]string{"Retry-After": "400"})
		tr.wantCalls(t, 1, 1)
	})
	t.Run("is for 429 alone", func(t *testing.T) {
		t.Parallel()
		targets := newTargets(t, "one", "two")
		targets[0].plays(refuses(503, "overloaded", "Retry-After", "86400"), says(11, 5, "Hello"))
		s := newFaultSite(t, faultConfig{targets: targets, gateway: patient})
		tr := s.try(t, newQuestion("fast"))
		tr.wantCalls(t, 2, 0)
		tr.wantFrom(t, "one", 2, false)
	})
}

func TestTryDuration(t *testing.T) {
	t.Parallel()
	t.Run("ends trying", func(t *testing.T) {
		t.Parallel()
		targets := newTargets(t, "one", "two")
		targets[0].plays(refuses(500, "x"))
		s := newFaultSite(t, faultConfig{targets: targets, gateway: "circuit_breaker 100000 1s\nretries 10\ntry_duration 2s"})
		tr := s.try(t, newQuestion("fast").withUsage())
		// whether there was time for the second target is a matter of chance
		if tr.status == http.StatusOK {
			tr.wantText(t, "Hello")
		} else {
			tr.wantRefused(t, http.StatusBadGateway, "ai_error")
		}
		if n := tr.saw[0]; n < 2 || n > 20 {
			t.Errorf("%d calls within 2 s of backoff that doubles", n)
		}
	})
	t.Run("ends waiting", func(t *testing.T) {
		t.Parallel()
		targets := newTargets(t, "one")
		targets[0].plays(stalls)
		s := newFaultSite(t, faultConfig{targets: targets, gateway: "response_timeout 10m\ntry_duration 1s"})
		for name, q := range (faultRow{both: true}).questions() {
			t.Run(name, func(t *testing.T) {
				tr := s.try(t, q)
				tr.wantRefused(t, http.StatusGatewayTimeout, "ai_timeout")
				tr.wantCalls(t, 1)
				tr.wantNothingBilled(t)
			})
		}
	})
	t.Run("does not end an answer", func(t *testing.T) {
		t.Parallel()
		targets := newTargets(t, "one")
		targets[0].plays(steps(begins("Hel"), takes(3*time.Second), sendsOf(func(w wire) []string {
			return []string{w.text("lo"), w.finish("stop"), w.usage(11, 5), endMark}
		})))
		s := newFaultSite(t, faultConfig{targets: targets, gateway: "try_duration 2s"})
		tr := s.try(t, newQuestion("fast").withUsage())
		tr.wantText(t, "Hello")
		tr.wantCalls(t, 1)
	})
}

// TestSilentTarget has targets that are silent for good. They are not asked
// again: a silent target stays silent.
func TestSilentTarget(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		name, option string
		do           behaviour
		both         bool
	}{
		{"no header", "response_timeout", stalls, true},
		{"only the header", "first_token_timeout", steps(headerOnly, stalls), false},
		{"only the role", "first_token_timeout", steps(begins(), stalls), false},
		{"only comments", "first_token_timeout", steps(headerOnly, func(c *targetCall) { c.send(": ping\n\n", ": ping\n\n") }, stalls), false},
		{"half an event", "first_token_timeout", steps(headerOnly, halfEvent, stalls), false},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			targets := newTargets(t, "one", "two")
			one, two := targets[0], targets[1]
			s := newFaultSite(t, faultConfig{targets: targets, gateway: patientBut(tc.option, soon)})
			one.plays(tc.do)
			for name, q := range (faultRow{both: tc.both}).questions() {
				t.Run(name, func(t *testing.T) {
					two.plays(says(11, 5, "Hello"))
					tr := s.try(t, q)
					tr.wantText(t, "Hello")
					tr.wantCalls(t, 1, 1)
					tr.wantFrom(t, "two", 2, true)
					tr.wantBilled(t, "two", 11, 5)
					if n := tr.attempts("one", "timeout"); n != 1 {
						t.Errorf("%v attempts of one timed out, want 1: %v", n, tr.counted)
					}
				})
			}
			t.Run("then a failure", func(t *testing.T) {
				two.plays(refuses(500, "x"))
				tr := s.try(t, newQuestion("fast").streamed())
				tr.wantRefused(t, http.StatusBadGateway, "ai_error")
				tr.wantCalls(t, 1, 2)
				tr.wantNothingBilled(t)
			})
			t.Run("behind a failure", func(t *testing.T) {
				one.plays(refuses(401, "x"))
				two.plays(tc.do)
				tr := s.try(t, newQuestion("fast").streamed())
				tr.wantRefused(t, http.StatusGatewayTimeout, "ai_timeout")
				tr.wantCalls(t, 1, 1)
				tr.wantNothingBilled(t)
				one.plays(tc.do)
			})
		})
	}
}

// TestRateLimitStorm has a target that answers 429 to everybody at once.
func TestRateLimitStorm(t *testing.T) {
	t.Parallel()
	const clients = 20
	targets := newTargets(t, "one", "two")
	one, two := targets[0], targets[1]
	s := newFaultSite(t, faultConfig{targets: targets, gateway: "retries 1\ncircuit_breaker 5 10m"})
	one.plays(refuses(429, "rate_limit_exceeded", "Retry-After-Ms", "100"))
	two.plays(says(11, 5, "Hello"))
	var list []*asking
	for range clients {
		list = append(list, s.globex.start(s.globex.request(http.MethodPost, completions, newQuestion("fast").withUsage())))
	}
	for _, a := range list {
		got := readCompletion(t, a.answer())
		got.wantText(t, "Hello")
		wantHeader(t, got.header, map[string]string{"X-Ai-Provider": "two", "X-Ai-Attempts": "3", "X-Ai-Fallback": "true"})
	}
	if one.count() != 2*clients || two.count() != clients {
		t.Errorf("the targets saw %d and %d calls, want %d and %d", one.count(), two.count(), 2*clients, clients)
	}
	s.c.wantMetrics(map[string]float64{
		`caddy_ai_attempts_total{model="fast",provider="one",result="rate_limited"}`:              2 * clients,
		`caddy_ai_attempts_total{model="fast",provider="two",result="ok"}`:                        clients,
		`caddy_ai_tokens_total{model="fast",provider="two",tenant="globex",type="output"}`:        5 * clients,
		`caddy_ai_requests_total{code="200",model="fast",provider="two",tenant="globex"}`:         clients,
		`caddy_ai_cost_usd_total{model="fast",provider="two",tenant="globex"}`:                    21 * clients,
		`caddy_ai_circuit_open{model="fast",provider="one"}`:                                      0,
		`caddy_ai_time_to_first_token_seconds_count{model="fast",provider="two",tenant="globex"}`: clients,
	})
	one.plays(says(11, 5, "Hello"))
	tr := s.try(t, newQuestion("fast"))
	tr.wantFrom(t, "one", 1, false)
}
