package aigateway

import (
	"errors"
	"net/http"
	"testing"
	"testing/synctest"
	"time"

	"github.com/caddy-chat/caddy-chat/modules/provider"
	"github.com/caddy-chat/caddy-chat/modules/route"
)

// TestTry has targets that fail before there is an answer. Time is not the
// real one.
func TestTry(t *testing.T) {
	limited := &provider.Error{Reason: provider.ReasonRateLimited, Status: http.StatusTooManyRequests}
	after := func(d time.Duration) *provider.Error {
		e := *limited
		e.RetryAfter = d
		return &e
	}
	for _, tc := range []struct {
		name        string
		config      string
		one, two    *script
		calls       []int
		code        string // of the error; empty where there is an answer
		least, most time.Duration
	}{
		{
			name: "a_failure_is_met_by_the_same_target_with_backoff", config: `{}`,
			one: &script{replies: []reply{fails(unavailable()), fails(unavailable()), says("Hello")}}, two: &script{replies: []reply{says("Hello")}},
			calls: []int{3, 0}, least: 300 * time.Millisecond, most: 900 * time.Millisecond,
		},
		{
			name: "retry_after_is_kept_to_the_letter", config: `{}`,
			one: &script{replies: []reply{fails(after(4500 * time.Millisecond)), says("Hello")}}, two: &script{replies: []reply{says("Hello")}},
			calls: []int{2, 0}, least: 4500 * time.Millisecond, most: 4500 * time.Millisecond,
		},
		{
			name: "a_wait_beyond_the_time_that_is_left_costs_none", config: `{"try_duration":"4s"}`,
			one: &script{replies: []reply{fails(after(4500 * time.Millisecond))}}, two: &script{replies: []reply{says("Hello")}},
			calls: []int{1, 1},
		},
		{
			name: "a_silent_target_is_left_at_once", config: `{"response_timeout":"7s"}`,
			one: &script{replies: []reply{{after: time.Hour}}}, two: &script{replies: []reply{says("Hello")}},
			calls: []int{1, 1}, least: 7 * time.Second, most: 7 * time.Second,
		},
		{
			name: "a_token_may_take_its_time_from_the_header_on", config: `{"response_timeout":"7s","first_token_timeout":"2s"}`,
			one:   &script{replies: []reply{{after: 6 * time.Second, steps: []step{delta(`"role":"assistant"`), pause(time.Second, delta(`"role":"assistant"`)), pause(1100*time.Millisecond, text("late"))}}}},
			two:   &script{replies: []reply{says("Hello")}},
			calls: []int{1, 1}, least: 8 * time.Second, most: 8 * time.Second,
		},
		{
			name: "reasoning_is_a_token", config: `{"first_token_timeout":"2s","stall_timeout":"10s"}`,
			one:   &script{replies: []reply{streams(pause(time.Second, delta(`"reasoning_content":"Hm"`)), pause(9*time.Second, text("Hello")), finish("stop"), end)}},
			two:   &script{replies: []reply{says("no")}},
			calls: []int{1, 0}, least: 10 * time.Second, most: 10 * time.Second,
		},
		{
			name: "all_targets_share_try_duration", config: `{"try_duration":"10s","response_timeout":"7s"}`,
			one: &script{replies: []reply{{after: time.Hour}}}, two: &script{replies: []reply{{after: time.Hour}}},
			calls: []int{1, 1}, code: "ai_timeout", least: 10 * time.Second, most: 10 * time.Second,
		},
		{
			name: "an_open_circuit_costs_no_time", config: `{"circuit_breaker":{"failures":1},"retries":5}`,
			one: &script{replies: []reply{fails(unavailable())}}, two: &script{replies: []reply{says("Hello")}},
			calls: []int{1, 1},
		},
		{
			name: "a_key_that_does_not_do_is_no_failure_of_the_target", config: `{"circuit_breaker":{"failures":1}}`,
			one: &script{replies: []reply{fails(&provider.Error{Reason: provider.ReasonCredentials, Status: 401})}}, two: &script{replies: []reply{says("Hello")}},
			calls: []int{1, 1},
		},
	} {
		t.Run(tc.name, func(t *testing.T) {
			scripts := []*script{tc.one, tc.two}
			h := newGateway(t, durations(tc.config), scripts...)
			synctest.Test(t, func(t *testing.T) {
				begun := time.Now()
				a := ask(t, h, streamed)
				took := time.Since(begun)
				if tc.code == "" {
					a.wantWhole(t, "Hello")
				} else if a.code != tc.code {
					t.Errorf("error %q, want %q", a.code, tc.code)
				}
				wantCalls(t, scripts, tc.calls...)
				if took < tc.least || took > tc.most {
					t.Errorf("it took %v, want %v to %v", took, tc.least, tc.most)
				}
			})
		})
	}
}

// TestNothingWasCalled has targets that cannot be asked: they do not count.
func TestNothingWasCalled(t *testing.T) {
	unsupported := provider.Unsupported("audio", "there is none")
	t.Run("what_a_provider_does_not_have_is_no_call", func(t *testing.T) {
		one, two := &script{replies: []reply{fails(unsupported)}}, &script{replies: []reply{says("Hello")}}
		h := newGateway(t, `{}`, one, two)
		a := ask(t, h, streamed)
		a.wantWhole(t, "Hello")
		if n := a.header.Get("X-Ai-Attempts"); n != "1" || a.header.Get("X-Ai-Fallback") != "true" {
			t.Errorf("after %s attempts, fallback %q", n, a.header.Get("X-Ai-Fallback"))
		}
	})
	t.Run("of_all", func(t *testing.T) {
		one := &script{replies: []reply{fails(unsupported)}}
		a := ask(t, newGateway(t, `{}`, one), streamed)
		if a.status != http.StatusBadRequest || a.code != "invalid_request" {
			t.Errorf("status %d, %s", a.status, a.code)
		}
	})
	t.Run("and_the_others_may_be_back_soon", func(t *testing.T) {
		one, two := &script{replies: []reply{fails(unsupported)}}, &script{replies: []reply{says("Hello")}}
		h := newGateway(t, `{"circuit_breaker":{"failures":1}}`, one, two)
		open(t, h, "two")
		a := ask(t, h, streamed)
		if a.status != http.StatusServiceUnavailable || a.code != "ai_unavailable" || a.header.Get("Retry-After") == "" {
			t.Errorf("status %d, %s, retry after %q", a.status, a.code, a.header.Get("Retry-After"))
		}
	})
	t.Run("and_another_has_failed", func(t *testing.T) {
		one, two := &script{replies: []reply{fails(unavailable())}}, &script{replies: []reply{fails(unsupported)}}
		a := ask(t, newGateway(t, `{"retries":0}`, one, two), streamed)
		if a.code != "ai_error" {
			t.Errorf("error %q", a.code)
		}
	})
}

// open opens the circuit of a target of the model fast.
func open(t *testing.T, h *Handler, name string) {
	t.Helper()
	c, err := h.table.Resolve("fast", func(string) bool { return true })
	if err != nil {
		t.Fatal(err)
	}
	for _, hop := range c.Order(time.Now()) {
		if hop.Target.Provider != name {
			continue
		}
		for hop.Breaker.State(time.Now()) != route.Open {
			pass, _ := hop.Breaker.Enter(time.Now())
			pass.Failed(time.Now())
		}
		return
	}
	t.Fatalf("no target of %s", name)
}

// state is that of the first target's circuit.
func state(t *testing.T, h *Handler) route.CircuitState {
	t.Helper()
	return h.table.Circuits(time.Now(), func(name string) route.Key { return route.Key{Provider: name} })["one"]
}

func TestJudge(t *testing.T) {
	for reason, want := range map[provider.Reason]verdict{
		provider.ReasonUnavailable:     again,
		provider.ReasonBadAnswer:       again,
		provider.ReasonRateLimited:     again,
		provider.ReasonContextLength:   nextOne,
		provider.ReasonCredentials:     nextOne,
		provider.ReasonModel:           nextOne,
		provider.ReasonUnsupported:     nextOne,
		provider.ReasonContentFiltered: giveUp,
		provider.ReasonInvalid:         giveUp,
	} {
		if got := judge(&provider.Error{Reason: reason}); got != want {
			t.Errorf("reason %d: %d, want %d", reason, got, want)
		}
	}
	if judge(errSilent) != nextOne || judge(errOutOfTime) != nextOne || judge(errors.New("reset")) != again {
		t.Error("what has no reason of the provider's is judged wrong")
	}
}
