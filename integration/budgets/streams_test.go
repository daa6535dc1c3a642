package budgets

import (
	"fmt"
	"math"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/caddy-chat/caddy-chat/integration/harness"
	"github.com/caddy-chat/caddy-chat/modules/provider"
)

// crowd sums up the answers of many calls at once.
type crowd struct {
	whole, cut, refused int
	total               float64 // tokens, as the answers report
	out                 float64 // the output tokens among them
}

// rush makes n calls at once. No admitted call ends before the last one has
// been admitted or refused.
func (s *budgetSite) rush(n, says int, question string) crowd {
	s.T.Helper()
	// a connection that was dialled but never used would delay the shutdown
	own := harness.Transport.Clone()
	defer own.CloseIdleConnections()
	s.Globex.HTTP = &http.Client{Transport: own}
	hold := make(chan struct{})
	s.one.Plays(speaksAfter(hold, says))
	before := s.one.Count()
	answers := make([]harness.Completion, n)
	var refused atomic.Int64
	var wg sync.WaitGroup
	for i := range n {
		wg.Go(func() {
			answers[i] = s.Globex.Complete(question)
			if answers[i].Status == http.StatusTooManyRequests {
				refused.Add(1)
			}
		})
	}
	harness.Eventually(s.T, "all are admitted or refused", func() bool { return s.one.Count()-before+int(refused.Load()) == n })
	close(hold)
	wg.Wait()

	var c crowd
	for i := range answers {
		c.add(s, &answers[i], says)
	}
	return c
}

func (c *crowd) add(s *budgetSite, a *harness.Completion, says int) {
	s.T.Helper()
	if a.Status == http.StatusTooManyRequests {
		c.refused++
		s.wantExceeded(a)
		return
	}
	all, counted := strings.Repeat(tokenText, says), a.Usage.Get("total_tokens").Num
	streamed := a.Header.Get("Content-Type") == "text/event-stream"
	if a.Status != http.StatusOK || streamed && !a.Done || !strings.HasPrefix(all, a.Text) {
		s.T.Errorf("status %d, end mark %v, text %.100q", a.Status, a.Done, a.Text)
	}
	switch {
	case a.Finish == "stop" && a.Text == all:
		c.whole++
	case a.Finish == "length":
		c.cut++
		if got := provider.EstimateTokens(len(a.Text)); float64(spending+got) > counted {
			s.T.Errorf("the client got %d output tokens, but the usage is %s", got, a.Usage)
		}
	default:
		s.T.Errorf("ended with %q after %d bytes", a.Finish, len(a.Text))
	}
	if streamed {
		a.WantOne(s.T)
	}
	c.total += counted
	c.out += a.Usage.Get("completion_tokens").Num
}

// TestBudgetOfManyAtOnce makes 200 calls at once against budgets that fit 20.
// Each is held mid-stream until all have been admitted or refused.
func TestBudgetOfManyAtOnce(t *testing.T) {
	t.Parallel()
	const calls = 200
	// 20 calls of 12 tokens
	const tokens, usd = 20 * (spending + 12), 20 * (spending + 2*12)
	for _, tc := range []struct {
		name      string
		budgets   string  // T and U stand for the figures below
		tokens    float64 // the smallest budget in tokens, or none
		usd       float64
		outputCap int
		stream    bool
		says      int // tokens
		taught    bool
		admitted  int // 0 for any number from one up
		whole     bool
	}{
		{name: "streams", budgets: "T tokens/day", tokens: tokens, outputCap: 12, stream: true, says: 12, admitted: 20, whole: true},
		{name: "documents", budgets: "T tokens/day", tokens: tokens, outputCap: 12, says: 12, admitted: 20, whole: true},
		{name: "streams longer than max_tokens", budgets: "T tokens/day", tokens: tokens, outputCap: 12, stream: true, says: 50, admitted: 20},
		{name: "streams without max_tokens", budgets: "T tokens/day", tokens: 20 * (spending + 1000), stream: true, says: 3000, admitted: 20},
		{name: "documents without max_tokens", budgets: "T tokens/day", tokens: 20 * (spending + 1000), says: 3000, admitted: 20},
		{name: "streams without max_tokens after a first answer", budgets: "T tokens/month", tokens: tokens, stream: true, says: 12, taught: true},
		{name: "streams with max_tokens beyond the budget", budgets: "T tokens/day", tokens: tokens, outputCap: 100000, stream: true, says: 500, admitted: 1},
		{name: "documents with max_tokens beyond the budget", budgets: "T tokens/day", tokens: tokens, outputCap: 100000, says: 500, admitted: 1},
		{name: "streams paid in dollars", budgets: "U usd/day", usd: usd, outputCap: 12, stream: true, says: 12, admitted: 20, whole: true},
		{name: "streams paid in dollars, longer than max_tokens", budgets: "U usd/month", usd: usd, outputCap: 12, stream: true, says: 50, admitted: 20},
		{name: "documents paid in dollars, without max_tokens", budgets: "U usd/day", usd: 20 * (spending + 2*1000), says: 3000, admitted: 20},
		{name: "streams under four budgets", budgets: "100000 tokens/day T tokens/month\nbudget 1000000 usd/day U usd/month", tokens: tokens, usd: 1.2 * usd, outputCap: 12, stream: true, says: 50, admitted: 20},
	} {
		t.Run(tc.name, func(t *testing.T) {
			s := newBudgetSite(t, "budget "+strings.NewReplacer("T", fmt.Sprint(tc.tokens), "U", fmt.Sprint(tc.usd)).Replace(tc.budgets))
			question := budgetQuestion("fast", tc.outputCap, tc.stream)
			var c crowd
			if tc.taught {
				s.one.Plays(speaks(tc.says))
				first := s.Globex.Complete(question)
				c.add(s, &first, tc.says)
			}
			got := s.rush(calls, tc.says, question)
			if n := got.whole + got.cut; n == 0 || tc.admitted > 0 && n != tc.admitted || tc.whole && got.cut > 0 {
				t.Errorf("%d answers whole, %d cut, %d refused; want %d whole or cut", got.whole, got.cut, got.refused, tc.admitted)
			}
			c.total, c.out = c.total+got.total, c.out+got.out
			s.wantSpent("globex", c, tc.tokens, tc.usd)
			if other := harness.NewClient(s.C, "t0", "ann"); !s.fits(other, spending+1) {
				t.Error("another tenant's budget is used up too")
			}
		})
	}
}

// wantSpent checks that metrics, gauge and answers agree on what a tenant has
// used, and that it is within the budgets.
func (s *budgetSite) wantSpent(tenant string, c crowd, tokens, usd float64) {
	s.T.Helper()
	// counting may lag behind the last client's answer
	harness.Eventually(s.T, "all tokens are counted", func() bool {
		n, _ := s.tokensOf(tenant)
		return n >= c.total
	})
	n, cost := s.tokensOf(tenant)
	want := c.total - c.out + 2*c.out
	if n != c.total || math.Abs(cost-want) > 1e-6 {
		s.T.Errorf("counted %v tokens and %v dollars, the answers report %v and %v", n, cost, c.total, want)
	}
	if tokens > 0 && n > tokens || usd > 0 && cost > usd {
		s.T.Errorf("used %v tokens and %v dollars of %v and %v", n, cost, tokens, usd)
	}
	ratio := 0.0
	if tokens > 0 {
		ratio = n / tokens
	}
	if usd > 0 {
		ratio = max(ratio, cost/usd)
	}
	harness.Eventually(s.T, "the gauge agrees", func() bool {
		got := 0.0
		for name, value := range s.C.Metrics() {
			if strings.HasPrefix(name, "caddy_ai_budget_used_ratio{") && harness.Label(name, "tenant") == tenant {
				got = max(got, value)
			}
		}
		return math.Abs(got-ratio) < 1e-9
	})
	if usd == 0 {
		s.wantLeft(harness.NewClient(s.C, tenant, "bob"), int(tokens-n))
	}
}

// TestBudgetOfWhatProvidersCount has providers report more tokens than they
// streamed.
func TestBudgetOfWhatProvidersCount(t *testing.T) {
	t.Parallel()
	for _, stream := range []bool{true, false} {
		t.Run(fmt.Sprint("stream ", stream), func(t *testing.T) {
			s := newBudgetSite(t, "budget 400 tokens/day 100000 tokens/month")
			hold := make(chan struct{})
			s.one.Plays(harness.Steps(harness.Waits(hold), harness.Says(100, 200, pieces(12)...)))
			var wg sync.WaitGroup
			for range 20 {
				wg.Go(func() {
					a := s.Globex.Complete(budgetQuestion("fast", 12, stream))
					a.WantText(t, strings.Repeat(tokenText, 12))
					if a.Usage.Get("total_tokens").Num != 300 {
						t.Errorf("usage is %s, want the provider's count", a.Usage)
					}
				})
			}
			harness.Eventually(t, "all are admitted", func() bool { return s.one.Count() == 20 })
			close(hold)
			wg.Wait()
			wantUsed(s.C, "globex", "day", 400, 400)
			wantUsed(s.C, "globex", "month", 20*300, 100000)
			s.wantLeft(s.Globex, 0)
			if n, _ := s.tokensOf("globex"); n != 20*300 {
				t.Errorf("counted %v tokens, want the provider's count", n)
			}
			harness.Eventually(t, "the overdraft is logged", func() bool {
				return strings.Contains(s.C.Log.String(), "a budget is overdrawn")
			})
		})
	}
	t.Run("a count within the budget is charged in full", func(t *testing.T) {
		s := newBudgetSite(t, "budget 400 tokens/day")
		s.one.Plays(harness.Says(100, 200, pieces(12)...))
		s.Globex.Complete(budgetQuestion("fast", 12, true))
		wantUsed(s.C, "globex", "day", 300, 400)
		s.wantLeft(s.Globex, 100)
	})
	t.Run("a usage in the first chunk does not cover later chunks", func(t *testing.T) {
		s := newBudgetSite(t, "budget 108 tokens/day")
		s.one.Plays(harness.SendsOf(func(w harness.Wire) []string {
			list := w.Whole(spending, 1000, pieces(1000)...)
			return append([]string{harness.WithUsage(w.Role(), harness.UsageOf(spending, 1))}, list[1:]...)
		}))
		a := s.Globex.Complete(budgetQuestion("fast", 0, true))
		if a.Finish != "length" || a.Usage.Get("total_tokens").Num != 108 || len(a.Text) > 100*len(tokenText) {
			t.Errorf("ended with %q after %d bytes, usage %s", a.Finish, len(a.Text), a.Usage)
		}
		wantUsed(s.C, "globex", "day", 108, 108)
	})
}
