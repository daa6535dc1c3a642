package failover

import (
	"net/http"
	"slices"
	"testing"
	"time"

	"github.com/caddy-chat/caddy-chat/integration/harness"
)

// answeredBy makes n requests in sequence and returns which targets answered.
func (s *faultSite) answeredBy(t testing.TB, n int) []string {
	t.Helper()
	var list []string
	for range n {
		got := s.Globex.Complete(harness.NewQuestion("fast").WithUsage())
		got.WantText(t, "Hello")
		harness.WantHeader(t, got.Header, map[string]string{"X-Ai-Fallback": "", "X-Ai-Attempts": "1"})
		list = append(list, got.Header.Get("X-Ai-Provider"))
	}
	return list
}

func share(list []string, name string) int {
	n := 0
	for _, got := range list {
		if got == name {
			n++
		}
	}
	return n
}

func TestBalance(t *testing.T) {
	t.Parallel()
	const to = "to one/up-one\nto two/up-two\nto three/up-three\n"

	t.Run("first", func(t *testing.T) {
		t.Parallel()
		s := newFaultSite(t, harness.TargetConfig{Targets: harness.NewTargets(t, "one", "two", "three"), Fast: "lb_policy first\n" + to})
		if got := s.answeredBy(t, 9); share(got, "one") != 9 {
			t.Errorf("answered by %v", got)
		}
	})
	t.Run("round_robin", func(t *testing.T) {
		t.Parallel()
		targets := harness.NewTargets(t, "one", "two", "three")
		s := newFaultSite(t, harness.TargetConfig{Targets: targets, Fast: "lb_policy round_robin\n" + to, Gateway: "retries 0"})
		got := s.answeredBy(t, 9)
		if want := []string{"one", "two", "three"}; !slices.Equal(got, slices.Repeat(want, 3)) {
			t.Errorf("answered by %v, want %v in turn", got, want)
		}
		// if the target whose turn it is fails, another one answers
		targets[1].Plays(harness.Refuses(500, "x"))
		fallbacks := 0
		for range 6 {
			tr := s.try(t, harness.NewQuestion("fast"))
			tr.WantText(t, "Hello")
			if tr.Header.Get("X-Ai-Fallback") == "true" {
				fallbacks++
				tr.wantFrom(t, "three", 2, true)
			}
		}
		if fallbacks != 2 || targets[1].Count() != 3+2 {
			t.Errorf("%d fallbacks of 6, %d calls of the failing target; want 2 and 5", fallbacks, targets[1].Count())
		}
	})
	t.Run("weighted_random", func(t *testing.T) {
		t.Parallel()
		targets := harness.NewTargets(t, "one", "two")
		s := newFaultSite(t, harness.TargetConfig{Targets: targets, Fast: "lb_policy weighted_random\nto one/up-one 9\nto two/up-two 1\n"})
		// 40 are expected; fewer than 8 or more than 90 occur once in many millions
		if n := share(s.answeredBy(t, 400), "two"); n < 8 || n > 90 {
			t.Errorf("a target with a tenth of the weight answered %d of 400", n)
		}
		targets[0].Plays(harness.Refuses(401, "x"))
		tr := s.try(t, harness.NewQuestion("fast"))
		tr.WantText(t, "Hello")
		if by := tr.Header.Get("X-Ai-Provider"); by != "two" {
			t.Errorf("answered by %s", by)
		}
	})
	t.Run("weights without a policy", func(t *testing.T) {
		t.Parallel()
		s := newFaultSite(t, harness.TargetConfig{Targets: harness.NewTargets(t, "one", "two"), Fast: "to one/up-one 1\nto two/up-two 9\n"})
		if got := s.answeredBy(t, 5); share(got, "one") != 5 {
			t.Errorf("answered by %v, want only the first target without lb_policy", got)
		}
	})
	t.Run("least_conn", func(t *testing.T) {
		t.Parallel()
		targets := harness.NewTargets(t, "one", "two", "three")
		s := newFaultSite(t, harness.TargetConfig{Targets: targets, Fast: "lb_policy least_conn\n" + to, Gateway: harness.Patient})
		ends := make(map[string]chan struct{})
		for _, f := range targets {
			end := make(chan struct{})
			ends[f.Name] = end
			f.Plays(harness.Steps(harness.Begins("Hel"), harness.Waits(end), harness.SendsOf(func(w harness.Wire) []string {
				return []string{w.Text("lo"), w.Finish("stop"), w.Usage(11, 5), harness.EndMark}
			})))
		}
		// each open stream goes to a target that has none yet
		held := make(map[string]*http.Response)
		for range targets {
			resp := s.Globex.Do(http.MethodPost, harness.CompletionsPath, harness.NewQuestion("fast").WithUsage())
			by := resp.Header.Get("X-Ai-Provider")
			if held[by] != nil {
				t.Errorf("%s got a second stream", by)
			}
			held[by] = resp
		}
		// the next requests go to the target whose stream has ended
		close(ends["two"])
		got := harness.ReadCompletion(t, held["two"])
		got.WantText(t, "Hello")
		s.C.AccessLog(got.Header.Get("X-Trace-Id"))
		targets[1].Plays(harness.Says(11, 5, "Hello"))
		for range 5 {
			tr := s.try(t, harness.NewQuestion("fast").WithUsage())
			tr.WantText(t, "Hello")
			tr.wantFrom(t, "two", 1, false)
		}
		close(ends["one"])
		close(ends["three"])
		for _, name := range []string{"one", "three"} {
			got := harness.ReadCompletion(t, held[name])
			got.WantText(t, "Hello")
		}
	})
	t.Run("lowest_latency", func(t *testing.T) {
		t.Parallel()
		targets := harness.NewTargets(t, "one", "two", "three")
		s := newFaultSite(t, harness.TargetConfig{Targets: targets, Fast: "lb_policy lowest_latency\n" + to})
		for _, f := range targets[:2] {
			f.Plays(harness.Steps(harness.HeaderOnly, harness.Takes(2*time.Second), harness.Says(11, 5, "Hello")))
		}
		got := s.answeredBy(t, 23)
		if n := share(got, "three"); n < 20 {
			t.Errorf("the fastest target answered %d of 23: %v", n, got)
		}
	})
}
