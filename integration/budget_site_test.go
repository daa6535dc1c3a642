package integration

import (
	"fmt"
	"math"
	"net/http"
	"strings"
	"testing"
	"time"
)

// tokenText is a piece of an answer that is a token, by every way to count.
const tokenText = "word"

// spending is what a budgetQuestion's messages are taken for, in tokens.
const spending = 8

// budgetSite is a gateway whose tenant globex has budgets. A token costs one
// dollar in and two dollars out.
type budgetSite struct {
	*faultSite
	one, two *target
	prober   *target
}

// newBudgetSite has the model fast go to the target one, and to two where
// that fails. limits are lines of the tenant globex; acme has the same.
func newBudgetSite(t testing.TB, limits string, gateway ...string) *budgetSite {
	t.Helper()
	if now := time.Now().UTC(); now.Add(3*time.Minute).Day() != now.Day() {
		t.Skip("a day ends, and with it what was used of it")
	}
	list := newTargets(t, "one", "two")
	prober := newTarget(t, "prober", refuses(http.StatusBadRequest, "x"))
	tenants := fmt.Sprintf("chat {\ntenant globex {\n%s\n}\ntenant acme {\n%[1]s\n}\ntenant free\n}", limits)
	s := newFaultSite(t, faultConfig{
		targets: list,
		tenants: tenants,
		gateway: patient + fmt.Sprintf("\nprovider prober openai {\nbase_url %s\n}\nmodel probe {\nto prober/x\nprice 1000000 2000000\n}\n", prober.url) + strings.Join(gateway, "\n"),
	})
	return &budgetSite{faultSite: s, one: list[0], two: list[1], prober: prober}
}

// budgetQuestion asks for an answer of so many tokens at most, 0 for any.
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

// fits says whether a tenant may make a call that reserves so many tokens.
// The call fails, and so costs nothing.
func (s *budgetSite) fits(cl *client, total int) bool {
	s.t.Helper()
	a := cl.complete(budgetQuestion("probe", total-spending, false))
	if a.status == http.StatusTooManyRequests {
		s.wantExceeded(&a)
		return false
	}
	a.wantRefused(s.t, http.StatusBadRequest, "invalid_request")
	return true
}

// wantLeft checks how many tokens a tenant has left: a call that reserves
// them is let through, and one that reserves another one is not.
func (s *budgetSite) wantLeft(cl *client, left int) {
	s.t.Helper()
	if left > spending && !s.fits(cl, left) {
		s.t.Errorf("%s has not %d tokens left", cl.tenant, left)
	}
	if over := max(left, spending) + 1; s.fits(cl, over) {
		s.t.Errorf("%s has %d tokens left, want %d", cl.tenant, over, left)
	}
}

// settlesTo waits until a tenant's budgets of a period are used to a part.
func (s *budgetSite) settlesTo(tenant, period string, used, limit float64) {
	s.t.Helper()
	name := fmt.Sprintf(`caddy_ai_budget_used_ratio{period=%q,tenant=%q}`, period, tenant)
	var got float64
	defer func() {
		if s.t.Failed() {
			s.t.Logf("%s is %v of %v", name, got*limit, limit)
		}
	}()
	eventually(s.t, fmt.Sprintf("%s is %v of %v", name, used, limit), func() bool {
		got = s.c.metrics()[name]
		return math.Abs(got*limit-used) < 1e-6
	})
}

// wantExceeded checks that an answer says in OpenAI's shape that a budget has
// no room for the request.
func (s *budgetSite) wantExceeded(a *completion) {
	s.t.Helper()
	a.wantRefused(s.t, http.StatusTooManyRequests, "budget_exceeded")
	now := time.Now().UTC()
	month := time.Date(now.Year(), now.Month()+1, 1, 0, 0, 0, 0, time.UTC)
	within(s.t, "Retry-After", a.header.Get("Retry-After"), time.Second, time.Second, month.Sub(now))
	if len(a.frames) != 1 || !strings.Contains(a.frames[0], `"type":"rate_limit_error"`) || !strings.Contains(a.frames[0], `"trace_id"`) {
		s.t.Errorf("not OpenAI's error body: %s", a.frames)
	}
}

// tokensOf is how many tokens are counted for a tenant, and what they cost.
func (s *budgetSite) tokensOf(tenant string) (n, cost float64) {
	s.t.Helper()
	for name, value := range s.c.metrics() {
		if label(name, "tenant") != tenant {
			continue
		}
		kind := label(name, "type")
		switch {
		case strings.HasPrefix(name, "caddy_ai_tokens_total{") && (kind == "input" || kind == "output"):
			n += value
		case strings.HasPrefix(name, "caddy_ai_cost_usd_total{"):
			cost += value
		}
	}
	return n, cost
}

// pieces are so many tokens, a piece each.
func pieces(n int) []string {
	list := make([]string, n)
	for i := range list {
		list[i] = tokenText
	}
	return list
}

// speaks answers with so many tokens and counts them, and the question for
// what it is taken for.
func speaks(n int) behaviour { return says(spending, n, pieces(n)...) }

// speaksAfter begins a stream, and goes on when ch is closed.
func speaksAfter(ch <-chan struct{}, n int) behaviour {
	return func(c *targetCall) {
		if !c.stream {
			steps(waits(ch), speaks(n))(c)
			return
		}
		c.send(c.role(), c.text(tokenText))
		waits(ch)(c)
		rest := c.whole(spending, n, pieces(n)...)
		c.send(rest[2:]...)
	}
}
