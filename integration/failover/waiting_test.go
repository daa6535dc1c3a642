package failover

import (
	"net/http"
	"testing"
	"time"

	"github.com/caddy-chat/caddy-chat/integration/harness"
)

// soon is a timeout for targets that stay silent. Other targets answer at once,
// well within it even on a busy machine.
const soon = "4s"

// slack is how much two clocks may differ.
const slack = 20 * time.Millisecond

// waited is the time between a target's call and the one before it.
func waited(f *harness.Upstream, t testing.TB, call int) time.Duration {
	t.Helper()
	list := f.Requests()
	if len(list) <= call {
		t.Fatalf("%s saw %d calls", f.Name, len(list))
	}
	return list[call].At.Sub(list[call-1].At)
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
			targets := harness.NewTargets(t, "one", "two")
			one := targets[0]
			s := newFaultSite(t, harness.TargetConfig{Targets: targets, Gateway: harness.Patient})
			one.Plays(harness.Refuses(429, "rate_limit_exceeded", tc.header, tc.value), harness.Says(11, 5, "Hello"))
			tr := s.try(t, harness.NewQuestion("fast").WithUsage())
			tr.WantText(t, "Hello")
			tr.wantCalls(t, 2, 0)
			tr.wantFrom(t, "one", 2, false)
			if got := waited(one, t, 1); got < tc.least-slack {
				t.Errorf("called again after %v, want at least %v", got, tc.least)
			}
		})
	}
	t.Run("as a date", func(t *testing.T) {
		t.Parallel()
		targets := harness.NewTargets(t, "one", "two")
		one := targets[0]
		s := newFaultSite(t, harness.TargetConfig{Targets: targets, Gateway: harness.Patient})
		// a date has whole seconds; this one is two to three seconds away
		at := time.Now().Add(3 * time.Second).Truncate(time.Second)
		one.Plays(harness.Refuses(429, "rate_limit_exceeded", "Retry-After", at.UTC().Format(http.TimeFormat)), harness.Says(11, 5, "Hello"))
		tr := s.try(t, harness.NewQuestion("fast").WithUsage())
		tr.WantText(t, "Hello")
		tr.wantCalls(t, 2, 0)
		if again := one.Requests()[1].At; again.Before(at.Add(-slack)) {
			t.Errorf("called again at %v, want %v or later", again, at)
		}
	})
	t.Run("up to retry_after_max", func(t *testing.T) {
		t.Parallel()
		targets := harness.NewTargets(t, "one", "two")
		one := targets[0]
		s := newFaultSite(t, harness.TargetConfig{Targets: targets, Gateway: harness.Patient + "\nretry_after_max 800ms"})
		one.Plays(harness.Refuses(429, "rate_limit_exceeded", "Retry-After", "3600"))
		tr := s.try(t, harness.NewQuestion("fast").WithUsage())
		tr.WantText(t, "Hello")
		tr.wantCalls(t, 2, 1)
		tr.wantFrom(t, "two", 3, true)

		one.Plays(harness.Refuses(429, "rate_limit_exceeded", "Retry-After-Ms", "800"), harness.Says(11, 5, "Hello"))
		before := one.Count()
		tr = s.try(t, harness.NewQuestion("fast").WithUsage())
		tr.wantFrom(t, "one", 2, false)
		if got := waited(one, t, before+1); got < 800*time.Millisecond-slack {
			t.Errorf("called again after %v", got)
		}
	})
	t.Run("beyond try_duration goes to the next target", func(t *testing.T) {
		t.Parallel()
		targets := harness.NewTargets(t, "one", "two")
		one, two := targets[0], targets[1]
		s := newFaultSite(t, harness.TargetConfig{Targets: targets, Gateway: "try_duration 30s\nretry_after_max 10m"})
		one.Plays(harness.Refuses(429, "rate_limit_exceeded", "Retry-After", "300"))
		tr := s.try(t, harness.NewQuestion("fast"))
		tr.WantText(t, "Hello")
		tr.wantCalls(t, 1, 1)
		tr.wantFrom(t, "two", 2, true)

		two.Plays(harness.Refuses(429, "rate_limit_exceeded", "Retry-After", "400"))
		tr = s.try(t, harness.NewQuestion("fast"))
		tr.WantRefused(t, http.StatusTooManyRequests, "provider_rate_limited")
		harness.WantHeader(t, tr.Header, map[string]string{"Retry-After": "400"})
		tr.wantCalls(t, 1, 1)
	})
	t.Run("applies only to 429", func(t *testing.T) {
		t.Parallel()
		targets := harness.NewTargets(t, "one", "two")
		targets[0].Plays(harness.Refuses(503, "overloaded", "Retry-After", "86400"), harness.Says(11, 5, "Hello"))
		s := newFaultSite(t, harness.TargetConfig{Targets: targets, Gateway: harness.Patient})
		tr := s.try(t, harness.NewQuestion("fast"))
		tr.wantCalls(t, 2, 0)
		tr.wantFrom(t, "one", 2, false)
	})
}

func TestTryDuration(t *testing.T) {
	t.Parallel()
	t.Run("ends the retries", func(t *testing.T) {
		t.Parallel()
		targets := harness.NewTargets(t, "one", "two")
		targets[0].Plays(harness.Refuses(500, "x"))
		s := newFaultSite(t, harness.TargetConfig{Targets: targets, Gateway: "circuit_breaker 100000 1s\nretries 10\ntry_duration 2s"})
		tr := s.try(t, harness.NewQuestion("fast").WithUsage())
		// the second target may or may not have had time
		if tr.Status == http.StatusOK {
			tr.WantText(t, "Hello")
		} else {
			tr.WantRefused(t, http.StatusBadGateway, "ai_error")
		}
		if n := tr.saw[0]; n < 2 || n > 20 {
			t.Errorf("%d calls within 2 s of doubling backoff", n)
		}
	})
	t.Run("ends the wait for an answer", func(t *testing.T) {
		t.Parallel()
		targets := harness.NewTargets(t, "one")
		targets[0].Plays(harness.Stalls)
		s := newFaultSite(t, harness.TargetConfig{Targets: targets, Gateway: "response_timeout 10m\ntry_duration 1s"})
		for name, q := range (faultRow{both: true}).questions() {
			t.Run(name, func(t *testing.T) {
				tr := s.try(t, q)
				tr.WantRefused(t, http.StatusGatewayTimeout, "ai_timeout")
				tr.wantCalls(t, 1)
				tr.wantNothingBilled(t)
			})
		}
	})
	t.Run("does not end a running answer", func(t *testing.T) {
		t.Parallel()
		targets := harness.NewTargets(t, "one")
		targets[0].Plays(harness.Steps(harness.Begins("Hel"), harness.Takes(3*time.Second), harness.SendsOf(func(w harness.Wire) []string {
			return []string{w.Text("lo"), w.Finish("stop"), w.Usage(11, 5), harness.EndMark}
		})))
		s := newFaultSite(t, harness.TargetConfig{Targets: targets, Gateway: "try_duration 2s"})
		tr := s.try(t, harness.NewQuestion("fast").WithUsage())
		tr.WantText(t, "Hello")
		tr.wantCalls(t, 1)
	})
}

// TestSilentTarget has targets that stay silent. They are not asked again.
func TestSilentTarget(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		name, option string
		do           harness.Script
		both         bool
	}{
		{"no header", "response_timeout", harness.Stalls, true},
		{"only the header", "first_token_timeout", harness.Steps(harness.HeaderOnly, harness.Stalls), false},
		{"only the role", "first_token_timeout", harness.Steps(harness.Begins(), harness.Stalls), false},
		{"only comments", "first_token_timeout", harness.Steps(harness.HeaderOnly, func(c *harness.Call) { c.Send(": ping\n\n", ": ping\n\n") }, harness.Stalls), false},
		{"half an event", "first_token_timeout", harness.Steps(harness.HeaderOnly, harness.HalfEvent, harness.Stalls), false},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			targets := harness.NewTargets(t, "one", "two")
			one, two := targets[0], targets[1]
			s := newFaultSite(t, harness.TargetConfig{Targets: targets, Gateway: patientBut(tc.option, soon)})
			one.Plays(tc.do)
			for name, q := range (faultRow{both: tc.both}).questions() {
				t.Run(name, func(t *testing.T) {
					two.Plays(harness.Says(11, 5, "Hello"))
					tr := s.try(t, q)
					tr.WantText(t, "Hello")
					tr.wantCalls(t, 1, 1)
					tr.wantFrom(t, "two", 2, true)
					tr.wantBilled(t, "two", 11, 5)
					if n := tr.attempts("one", "timeout"); n != 1 {
						t.Errorf("%v attempts of one timed out, want 1: %v", n, tr.counted)
					}
				})
			}
			t.Run("before a failure", func(t *testing.T) {
				two.Plays(harness.Refuses(500, "x"))
				tr := s.try(t, harness.NewQuestion("fast").Streamed())
				tr.WantRefused(t, http.StatusBadGateway, "ai_error")
				tr.wantCalls(t, 1, 2)
				tr.wantNothingBilled(t)
			})
			t.Run("after a failure", func(t *testing.T) {
				one.Plays(harness.Refuses(401, "x"))
				two.Plays(tc.do)
				tr := s.try(t, harness.NewQuestion("fast").Streamed())
				tr.WantRefused(t, http.StatusGatewayTimeout, "ai_timeout")
				tr.wantCalls(t, 1, 1)
				tr.wantNothingBilled(t)
				one.Plays(tc.do)
			})
		})
	}
}

// TestRateLimitStorm has a target that answers 429 to many requests at once.
func TestRateLimitStorm(t *testing.T) {
	t.Parallel()
	const clients = 20
	targets := harness.NewTargets(t, "one", "two")
	one, two := targets[0], targets[1]
	s := newFaultSite(t, harness.TargetConfig{Targets: targets, Gateway: "retries 1\ncircuit_breaker 5 10m"})
	one.Plays(harness.Refuses(429, "rate_limit_exceeded", "Retry-After-Ms", "100"))
	two.Plays(harness.Says(11, 5, "Hello"))
	var list []*harness.Pending
	for range clients {
		list = append(list, s.Globex.Start(s.Globex.Request(http.MethodPost, harness.CompletionsPath, harness.NewQuestion("fast").WithUsage())))
	}
	for _, a := range list {
		got := harness.ReadCompletion(t, a.Answer())
		got.WantText(t, "Hello")
		harness.WantHeader(t, got.Header, map[string]string{"X-Ai-Provider": "two", "X-Ai-Attempts": "3", "X-Ai-Fallback": "true"})
	}
	if one.Count() != 2*clients || two.Count() != clients {
		t.Errorf("the targets saw %d and %d calls, want %d and %d", one.Count(), two.Count(), 2*clients, clients)
	}
	s.C.WantMetrics(map[string]float64{
		`caddy_ai_attempts_total{model="fast",provider="one",result="rate_limited"}`:              2 * clients,
		`caddy_ai_attempts_total{model="fast",provider="two",result="ok"}`:                        clients,
		`caddy_ai_tokens_total{model="fast",provider="two",tenant="globex",type="output"}`:        5 * clients,
		`caddy_ai_requests_total{code="200",model="fast",provider="two",tenant="globex"}`:         clients,
		`caddy_ai_cost_usd_total{model="fast",provider="two",tenant="globex"}`:                    21 * clients,
		`caddy_ai_circuit_open{model="fast",provider="one"}`:                                      0,
		`caddy_ai_time_to_first_token_seconds_count{model="fast",provider="two",tenant="globex"}`: clients,
	})
	one.Plays(harness.Says(11, 5, "Hello"))
	tr := s.try(t, harness.NewQuestion("fast"))
	tr.wantFrom(t, "one", 1, false)
}
