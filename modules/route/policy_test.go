package route

import (
	"slices"
	"testing"
	"time"
)

func balanced(t *testing.T, policy string, targets ...string) Choice {
	t.Helper()
	table, err := NewTable([]Alias{{Name: "m", Targets: to(targets...), Policy: policy}}, []string{"a", "b", "c"}, nil, "", Circuit{})
	if err != nil {
		t.Fatal(err)
	}
	c, err := table.Resolve("m", allowAll)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func TestPolicy(t *testing.T) {
	now := time.Now()
	t.Run("first_keeps_the_order", func(t *testing.T) {
		c := balanced(t, "", "a/1", "b/2", "c/3")
		for range 3 {
			if got := names(c.Order(now)); !slices.Equal(got, []string{"a/1", "b/2", "c/3"}) {
				t.Fatalf("got %q", got)
			}
		}
	})
	t.Run("round_robin_takes_turns_and_goes_on_from_there", func(t *testing.T) {
		c := balanced(t, policyRoundRobin, "a/1", "b/2", "c/3")
		for _, want := range [][]string{{"a/1", "b/2", "c/3"}, {"b/2", "c/3", "a/1"}, {"c/3", "a/1", "b/2"}, {"a/1", "b/2", "c/3"}} {
			if got := names(c.Order(now)); !slices.Equal(got, want) {
				t.Errorf("got %q, want %q", got, want)
			}
		}
	})
	t.Run("weighted_random_keeps_to_the_shares", func(t *testing.T) {
		c := balanced(t, policyWeightedRandom, "a/1 9", "b/2")
		const n = 20_000
		first := make(map[string]int)
		for range n {
			first[names(c.Order(now))[0]]++
		}
		// five standard deviations of a binomial are about 212
		if got := first["a/1"]; got < n*9/10-220 || got > n*9/10+220 {
			t.Errorf("%d of %d went to nine tenths", got, n)
		}
	})
	t.Run("least_conn_takes_the_one_with_fewest_calls", func(t *testing.T) {
		c := balanced(t, policyLeastConn, "a/1", "b/2", "c/3")
		hops := c.Order(now)
		endA, endB := hops[0].Begin(), hops[1].Begin()
		if got := c.Order(now)[0].Target; got != hops[2].Target {
			t.Errorf("went to %v, want the idle %v", got, hops[2].Target)
		}
		defer hops[2].Begin()()
		endB()
		if got := c.Order(now)[0].Target; got != hops[1].Target {
			t.Errorf("went to %v, want the idle %v", got, hops[1].Target)
		}
		endA()
	})
	t.Run("lowest_latency_takes_the_quickest", func(t *testing.T) {
		c := balanced(t, policyLowestLatency, "a/1", "b/2", "c/3")
		hops := c.Order(now)
		if got := names(hops); !slices.Equal(got, []string{"a/1", "b/2", "c/3"}) {
			t.Fatalf("unmeasured targets stand in order %q", got)
		}
		for i, d := range []time.Duration{900 * time.Millisecond, 100 * time.Millisecond, 300 * time.Millisecond} {
			hops[i].FirstToken(now, d)
		}
		if got := names(c.Order(now)); !slices.Equal(got, []string{"b/2", "c/3", "a/1"}) {
			t.Errorf("got %q", got)
		}
		// with two calls in flight a third would wait three times as long
		defer hops[1].Begin()()
		defer hops[1].Begin()()
		defer hops[1].Begin()()
		if got := names(c.Order(now))[0]; got != "c/3" {
			t.Errorf("a busy target is still the first: %q", got)
		}
	})
	t.Run("a_target_under_its_first_call_waits_for_it", func(t *testing.T) {
		c := balanced(t, policyLowestLatency, "a/1", "b/2")
		defer c.Order(now)[0].Begin()()
		if got := names(c.Order(now))[0]; got != "b/2" {
			t.Errorf("went to %q", got)
		}
	})
}

func TestLatency(t *testing.T) {
	var l latency
	now := time.Now()
	l.observe(now, time.Second)
	l.observe(now, 3*time.Second)
	if got := l.now(now); got != 3 {
		t.Errorf("a peak counts at once: got %v", got)
	}
	l.observe(now.Add(latencyDecay), time.Second)
	if got := l.now(now.Add(latencyDecay)); got < 1.7 || got > 1.8 {
		t.Errorf("got %v, want about 1.74", got)
	}
	if got := l.now(now.Add(10 * latencyDecay)); got > 0.01 {
		t.Errorf("what was not measured for long still counts %v", got)
	}
}

func TestBackoff(t *testing.T) {
	for n, base := range map[int]time.Duration{1: 200 * time.Millisecond, 2: 400 * time.Millisecond, 5: 3200 * time.Millisecond, 6: 5 * time.Second, 99: 5 * time.Second} {
		for range 100 {
			if d := Backoff(n); d < base/2 || d > base*3/2 {
				t.Fatalf("retry %d waits %v, want half to one and a half of %v", n, d, base)
			}
		}
	}
}
