package budgets

import (
	"fmt"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/caddy-chat/caddy-chat/integration/harness"
)

// windowSite is the chain with token windows in front of a target.
func windowSite(t testing.TB, up *harness.Upstream, options, limits string) *harness.Caddy {
	t.Helper()
	return harness.Start(t, options, fmt.Sprintf(`
	tenant_resolve
	chat_ratelimit {
		requests 10000 1h
		%s
	}
	chat_session
	ai_gateway {
		provider openai {
			base_url %s
		}
		model fast {
			to openai/up
			price 0 0
		}
		%s
	}
`, limits, up.URL, harness.Patient))
}

// wantLimited checks that an answer is a rate_limited error in OpenAI's shape.
func wantLimited(a *harness.Completion, t testing.TB) {
	t.Helper()
	a.WantRefused(t, http.StatusTooManyRequests, "rate_limited")
	harness.WantWithin(t, "Retry-After", a.Header.Get("Retry-After"), time.Second, time.Second, time.Hour)
	if !strings.Contains(a.Frames[0], `"type":"rate_limit_error"`) {
		t.Errorf("not OpenAI's error body: %s", a.Frames)
	}
}

// TestTokenWindowsOfManyAtOnce makes 60 calls of 20 tokens at once against a
// window that fits five.
func TestTokenWindowsOfManyAtOnce(t *testing.T) {
	t.Parallel()
	for _, says := range []int{12, 50} {
		t.Run(fmt.Sprint("answers of ", says, " tokens"), func(t *testing.T) {
			hold := make(chan struct{})
			up := harness.NewTarget(t, "up", speaksAfter(hold, says))
			c := windowSite(t, up, harness.PlainTenants, "tokens 100 1h per tenant")
			own := harness.Transport.Clone()
			defer own.CloseIdleConnections()
			answers := make([]harness.Completion, 60)
			var refused atomic.Int64
			var wg sync.WaitGroup
			for i := range answers {
				wg.Go(func() {
					cl := harness.NewClient(c, "acme", fmt.Sprint("user", i))
					cl.HTTP = &http.Client{Transport: own}
					answers[i] = cl.Complete(budgetQuestion("fast", 12, true))
					if answers[i].Status == http.StatusTooManyRequests {
						refused.Add(1)
					}
				})
			}
			harness.Eventually(t, "all are admitted or refused", func() bool { return up.Count()+int(refused.Load()) == len(answers) })
			close(hold)
			wg.Wait()
			whole := 0
			for i := range answers {
				if answers[i].Status == http.StatusTooManyRequests {
					wantLimited(&answers[i], t)
					continue
				}
				// a window never cuts an answer
				answers[i].WantText(t, strings.Repeat(tokenText, says))
				whole++
			}
			if whole != 5 {
				t.Errorf("%d calls were allowed, want 5", whole)
			}
			next := harness.NewClient(c, "acme", "ann").Complete(budgetQuestion("fast", 1, true))
			wantLimited(&next, t)
			if a := harness.NewClient(c, "globex", "ann").Complete(budgetQuestion("fast", 1, true)); a.Status != http.StatusOK {
				t.Errorf("another tenant: %d %s", a.Status, a.Code)
			}
		})
	}
}

func TestTokenWindowsTell(t *testing.T) {
	t.Parallel()
	up := harness.NewTarget(t, "up", speaks(12))
	c := windowSite(t, up, harness.PlainTenants, "tokens 100 1h per tenant\n\t\ttokens 50 1h")
	ann, bob := harness.NewClient(c, "acme", "ann"), harness.NewClient(c, "acme", "bob")
	question := budgetQuestion("fast", 12, true)
	tell := func(cl *harness.Client, mine, all int) *harness.Completion {
		t.Helper()
		a := cl.Complete(question)
		left := min(mine, all)
		limit := "50"
		if all < mine {
			limit = "100"
		}
		harness.WantHeader(t, a.Header, map[string]string{
			"RateLimit-Policy":               `"requests";q=10000;w=3600, "tokens-tenant";q=100;w=3600, "tokens";q=50;w=3600`,
			"X-Ratelimit-Limit-Tokens":       limit,
			"X-Ratelimit-Remaining-Tokens":   fmt.Sprint(left),
			"X-Ratelimit-Limit-Requests":     "10000",
			"X-Ratelimit-Remaining-Requests": a.Header.Get("X-Ratelimit-Remaining-Requests"),
		})
		state := a.Header.Get("RateLimit")
		for _, want := range []string{fmt.Sprintf(`"tokens-tenant";r=%d;t=`, all), fmt.Sprintf(`"tokens";r=%d;t=`, mine)} {
			if !strings.Contains(state, want) {
				t.Errorf("RateLimit %s has no %s", state, want)
			}
		}
		return &a
	}
	first := harness.NewClient(c, "acme", "ann").Complete(question)
	harness.WantHeader(t, first.Header, map[string]string{"X-Ratelimit-Remaining-Tokens": "50", "X-Ratelimit-Reset-Tokens": "0s"})
	tell(ann, 30, 80)
	wantLimited(tell(ann, 10, 60), t) // 20 are more than 10
	tell(bob, 50, 60)
	tell(bob, 30, 40)
	tell(harness.NewClient(c, "acme", "carl"), 50, 20)
	wantLimited(tell(harness.NewClient(c, "acme", "dora"), 50, 0), t)

	// /chat has no OpenAI headers, and its own error
	resp := bob.Do(http.MethodPost, "/chat", harness.ChatRequest{SessionID: harness.NewSession(), Message: "hi"})
	harness.WantHeader(t, resp.Header, map[string]string{"X-Ratelimit-Limit-Tokens": "", "X-RateLimit-Limit": "100", "X-RateLimit-Remaining": "0"})
	if f := harness.WantFailure(t, resp, http.StatusTooManyRequests, "rate_limited"); f.TraceID == "" {
		t.Errorf("not the native error: %+v", f)
	}
	c.Stop()
	c.Restart()
	wantLimited(tell(bob, 10, 0), t)
}

func TestTokenWindowsAndBudgets(t *testing.T) {
	t.Parallel()
	inOneDay(t)
	up := harness.NewTarget(t, "up", speaks(12))
	c := windowSite(t, up, "chat {\ntenant acme {\nbudget 40 tokens/day\n}\n}", "tokens 60 1h")
	ann := harness.NewClient(c, "acme", "ann")
	for range 2 {
		a := ann.Complete(budgetQuestion("fast", 12, true))
		a.WantText(t, strings.Repeat(tokenText, 12))
	}
	// the window has room for the call, the budget does not
	a := ann.Complete(budgetQuestion("fast", 12, true))
	a.WantRefused(t, http.StatusTooManyRequests, "budget_exceeded")
	harness.WantHeader(t, a.Header, map[string]string{"X-Ratelimit-Remaining-Tokens": "20"})
}

// TestBudgetOfStoreThatFails has the store fail before, during and after calls.
func TestBudgetOfStoreThatFails(t *testing.T) {
	t.Parallel()
	inOneDay(t)
	up := harness.NewTarget(t, "up", speaks(12))
	tenants := strings.Replace("chat {\ntenant plain\ntenant paid {\nbudget 1000 tokens/day\n}\n}", "chat {", "chat {\nstore trouble", 1)
	question := budgetQuestion("fast", 12, true)
	ask := func(c *harness.Caddy, tenant string) *harness.Completion {
		a := harness.NewClient(c, tenant, "ann").Complete(question)
		return &a
	}

	t.Run("deny refuses the call", func(t *testing.T) {
		c := windowSite(t, up, tenants, "tokens 1000 1h")
		for _, op := range []string{"balances", "reserve"} {
			end := c.Trouble(op)
			for _, tenant := range []string{"plain", "paid"} {
				before := up.Count()
				ask(c, tenant).WantRefused(t, http.StatusServiceUnavailable, "storage_unavailable")
				if up.Count() != before {
					t.Error("the provider was asked")
				}
			}
			end()
		}
		c.WantMetrics(map[string]float64{`caddy_chat_store_errors_total{op="take"}`: 2, `caddy_chat_store_errors_total{op="reserve"}`: 2})
		ask(c, "paid").WantText(t, strings.Repeat(tokenText, 12))
		wantUsed(c, "paid", "day", 20, 1000)
	})
	t.Run("allow ignores token windows, but not budgets", func(t *testing.T) {
		c := windowSite(t, up, tenants, "tokens 1000 1h\n\t\ton_store_error allow")
		end := c.Trouble("balances")
		ask(c, "plain").WantText(t, strings.Repeat(tokenText, 12))
		endReserve := c.Trouble("reserve")
		ask(c, "plain").WantText(t, strings.Repeat(tokenText, 12))
		// a budget is not a rate limit
		ask(c, "paid").WantRefused(t, http.StatusServiceUnavailable, "storage_unavailable")
		endReserve()
		end()
		ask(c, "paid").WantText(t, strings.Repeat(tokenText, 12))
		wantUsed(c, "paid", "day", 20, 1000)
	})
	t.Run("during a call", func(t *testing.T) {
		c := windowSite(t, up, tenants, "tokens 1000 1h")
		hold := make(chan struct{})
		ended := make(chan struct{}, 1)
		up.Plays(harness.Steps(harness.Begins(tokenText), harness.Waits(hold), babbles(ended)))
		resp := harness.NewClient(c, "paid", "ann").Do(http.MethodPost, harness.CompletionsPath, question)
		readTokens(t, resp, 1)
		end := c.Trouble("reserve")
		close(hold)
		a := harness.ReadCompletion(t, resp)
		wantEnded(t, ended)
		end()
		// only what was already reserved is sent
		if a.Code != "storage_unavailable" || a.Done || a.Text != strings.Repeat(tokenText, 11) {
			t.Errorf("error %q, end mark %v, %d bytes", a.Code, a.Done, len(a.Text))
		}
		c.WantMetrics(map[string]float64{`caddy_ai_tokens_total{model="fast",provider="openai",tenant="paid",type="output"}`: 12})
		// the provider is not to blame
		c.WantMetrics(map[string]float64{`caddy_ai_attempts_total{model="fast",provider="openai",result="aborted"}`: 1})

		before := up.Count()
		hold = make(chan struct{})
		up.Plays(harness.Steps(harness.Waits(hold), babbles(ended)))
		asked := harness.NewClient(c, "paid", "ann").Start(harness.NewClient(c, "paid", "ann").Request(http.MethodPost, harness.CompletionsPath, budgetQuestion("fast", 0, false)))
		harness.Eventually(t, "the provider is asked", func() bool { return up.Count() > before })
		end = c.Trouble("reserve")
		defer end()
		close(hold)
		harness.WantFailure(t, asked.Answer(), http.StatusServiceUnavailable, "storage_unavailable")
		if n := up.Count() - before; n != 1 {
			t.Errorf("the provider was asked %d times", n)
		}
	})
	t.Run("when a call is settled", func(t *testing.T) {
		c := windowSite(t, up, tenants, "tokens 1000 1h")
		up.Plays(speaks(12))
		end := c.Trouble("settle")
		ask(c, "paid").WantText(t, strings.Repeat(tokenText, 12))
		c.WantMetrics(map[string]float64{`caddy_chat_store_errors_total{op="settle"}`: 1})
		end()
		harness.Eventually(t, "the failure is logged", func() bool { return strings.Contains(c.Log.String(), "settling what a call used") })
	})
}
