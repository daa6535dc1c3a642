package budgets

import (
	"fmt"
	"math"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/caddy-chat/caddy-chat/integration/harness"
)

// tokenText counts as one token, however tokens are counted.
const tokenText = "word"

// spending is the estimate for a budgetQuestion's messages, in tokens.
const spending = 8

// budgetSite is a gateway whose tenant globex has budgets. A token costs one
// dollar in and two dollars out.
type budgetSite struct {
	*harness.TargetSite
	one, two *harness.Upstream
	prober   *harness.Upstream
}

// newBudgetSite starts a budgetSite. Its model fast tries the target one, then
// two. limits are lines of the tenants globex and t0 to t9.
func newBudgetSite(t testing.TB, limits string, gateway ...string) *budgetSite {
	t.Helper()
	inOneDay(t)
	list := harness.NewTargets(t, "one", "two")
	prober := harness.NewTarget(t, "prober", harness.Refuses(http.StatusBadRequest, "x"))
	tenants := "chat {\n"
	for _, name := range append([]string{"globex"}, manyTenants...) {
		tenants += fmt.Sprintf("tenant %s {\n%s\n}\n", name, limits)
	}
	s := harness.NewTargetSite(t, harness.TargetConfig{
		Targets: list,
		Tenants: tenants + "}",
		Gateway: harness.Patient + fmt.Sprintf("\nprovider prober openai {\nbase_url %s\n}\nmodel probe {\nto prober/x\nprice 1000000 2000000\n}\n", prober.URL) + strings.Join(gateway, "\n"),
	})
	return &budgetSite{TargetSite: s, one: list[0], two: list[1], prober: prober}
}

// manyTenants are for tests that use up a tenant for each case.
var manyTenants = []string{"t0", "t1", "t2", "t3", "t4", "t5", "t6", "t7", "t8", "t9", "t10", "t11"}

// inOneDay skips a test that might run past midnight UTC, when budgets reset.
func inOneDay(t testing.TB) {
	t.Helper()
	if now := time.Now().UTC(); now.Add(3*time.Minute).Day() != now.Day() {
		t.Skip("the day ends in less than three minutes")
	}
}

// budgetQuestion asks for an answer of at most outputCap tokens; 0 sets no cap.
func budgetQuestion(model string, outputCap int, stream bool) string {
	more := ""
	if outputCap > 0 {
		more += fmt.Sprintf(`,"max_tokens":%d`, outputCap)
	}
	if stream {
		more += `,"stream":true,"stream_options":{"include_usage":true}`
	}
	return fmt.Sprintf(`{"model":%q,"messages":[{"role":"user","content":"hi"}]%s}`, model, more)
}

// fits reports whether a tenant may make a call that reserves total tokens.
// The call fails, and so costs nothing.
func (s *budgetSite) fits(cl *harness.Client, total int) bool {
	s.T.Helper()
	a := cl.Complete(budgetQuestion("probe", total-spending, false))
	if a.Status == http.StatusTooManyRequests {
		s.wantExceeded(&a)
		return false
	}
	a.WantRefused(s.T, http.StatusBadRequest, "x") // the code that the target refuses it with
	return true
}

// wantLeft checks how many tokens a tenant has left: a call that reserves
// exactly these is allowed, and a call that reserves one more is refused.
func (s *budgetSite) wantLeft(cl *harness.Client, left int) {
	s.T.Helper()
	if left > spending && !s.fits(cl, left) {
		s.T.Errorf("%s has less than %d tokens left", cl.Tenant, left)
	}
	if over := max(left, spending) + 1; s.fits(cl, over) {
		s.T.Errorf("%s has %d tokens left, want %d", cl.Tenant, over, left)
	}
}

// wantUsed waits until used of a tenant's tightest budget of a period, which
// is limit, is counted. A call is counted when it ends, which its client may
// see earlier.
func wantUsed(c *harness.Caddy, tenant, period string, used, limit float64) {
	c.T.Helper()
	name := fmt.Sprintf(`caddy_ai_budget_used_ratio{period=%q,tenant=%q}`, period, tenant)
	var got float64
	defer func() {
		if c.T.Failed() {
			c.T.Logf("%s is %v of %v", name, got*limit, limit)
		}
	}()
	harness.Eventually(c.T, fmt.Sprintf("%s is %v of %v", name, used, limit), func() bool {
		got = c.Metrics()[name]
		return math.Abs(got*limit-used) < 1e-7
	})
}

// wantExceeded checks that an answer is a budget_exceeded error in OpenAI's
// shape.
func (s *budgetSite) wantExceeded(a *harness.Completion) {
	s.T.Helper()
	a.WantRefused(s.T, http.StatusTooManyRequests, "budget_exceeded")
	now := time.Now().UTC()
	month := time.Date(now.Year(), now.Month()+1, 1, 0, 0, 0, 0, time.UTC)
	harness.WantWithin(s.T, "Retry-After", a.Header.Get("Retry-After"), time.Second, time.Second, month.Sub(now))
	if len(a.Frames) != 1 || !strings.Contains(a.Frames[0], `"type":"rate_limit_error"`) || !strings.Contains(a.Frames[0], `"trace_id"`) {
		s.T.Errorf("not OpenAI's error body: %s", a.Frames)
	}
}

// tokensOf returns how many tokens the metrics count for a tenant, and their
// cost.
func (s *budgetSite) tokensOf(tenant string) (n, cost float64) {
	s.T.Helper()
	for name, value := range s.C.Metrics() {
		if harness.Label(name, "tenant") != tenant {
			continue
		}
		kind := harness.Label(name, "type")
		switch {
		case strings.HasPrefix(name, "caddy_ai_tokens_total{") && (kind == "input" || kind == "output"):
			n += value
		case strings.HasPrefix(name, "caddy_ai_cost_usd_total{"):
			cost += value
		}
	}
	return n, cost
}

// pieces returns n tokens, one per piece.
func pieces(n int) []string {
	list := make([]string, n)
	for i := range list {
		list[i] = tokenText
	}
	return list
}

// speaks answers with n tokens, and reports them and spending as usage.
func speaks(n int) harness.Script { return harness.Says(spending, n, pieces(n)...) }

// speaksAfter begins a stream, and continues when ch is closed.
func speaksAfter(ch <-chan struct{}, n int) harness.Script {
	return func(c *harness.Call) {
		if !c.Streams() {
			harness.Steps(harness.Waits(ch), speaks(n))(c)
			return
		}
		c.Send(c.Role(), c.Text(tokenText))
		harness.Waits(ch)(c)
		rest := c.Whole(spending, n, pieces(n)...)
		c.Send(rest[2:]...)
	}
}
