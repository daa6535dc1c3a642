package integration

import (
	"fmt"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// windowSite is the chain with token windows before a target.
func windowSite(t testing.TB, up *Target, options, limits string) *Caddy {
	t.Helper()
	return Start(t, options, fmt.Sprintf(`
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
`, limits, up.URL, Patient))
}

// wantLimited checks that an answer says in OpenAI's shape that a window has
// no room for the request.
func (a *Completion) wantLimited(t testing.TB) {
	t.Helper()
	a.WantRefused(t, http.StatusTooManyRequests, "rate_limited")
	WantWithin(t, "Retry-After", a.Header.Get("Retry-After"), time.Second, time.Second, time.Hour)
	if !strings.Contains(a.Frames[0], `"type":"rate_limit_error"`) {
		t.Errorf("not OpenAI's error body: %s", a.Frames)
	}
}

// TestTokenWindowsOfManyAtOnce has 60 calls of 20 tokens against a window
// that fits five.
func TestTokenWindowsOfManyAtOnce(t *testing.T) {
	t.Parallel()
	for _, says := range []int{12, 50} {
		t.Run(fmt.Sprint("that say ", says), func(t *testing.T) {
			hold := make(chan struct{})
			up := NewTarget(t, "up", speaksAfter(hold, says))
			c := windowSite(t, up, PlainTenants, "tokens 100 1h per tenant")
			own := Transport.Clone()
			defer own.CloseIdleConnections()
			answers := make([]Completion, 60)
			var refused atomic.Int64
			var wg sync.WaitGroup
			for i := range answers {
				wg.Go(func() {
					cl := NewClient(c, "acme", fmt.Sprint("user", i))
					cl.HTTP = &http.Client{Transport: own}
					answers[i] = cl.Complete(budgetQuestion("fast", 12, true))
					if answers[i].Status == http.StatusTooManyRequests {
						refused.Add(1)
					}
				})
			}
			Eventually(t, "all are admitted or refused", func() bool { return up.Count()+int(refused.Load()) == len(answers) })
			close(hold)
			wg.Wait()
			whole := 0
			for i := range answers {
				if answers[i].Status == http.StatusTooManyRequests {
					answers[i].wantLimited(t)
					continue
				}
				// a window never cuts an answer
				answers[i].WantText(t, strings.Repeat(tokenText, says))
				whole++
			}
			if whole != 5 {
				t.Errorf("%d were let through, want 5", whole)
			}
			next := NewClient(c, "acme", "ann").Complete(budgetQuestion("fast", 1, true))
			next.wantLimited(t)
			if a := NewClient(c, "globex", "ann").Complete(budgetQuestion("fast", 1, true)); a.Status != http.StatusOK {
				t.Errorf("another tenant: %d %s", a.Status, a.Code)
			}
		})
	}
}

func TestTokenWindowsTell(t *testing.T) {
	t.Parallel()
	up := NewTarget(t, "up", speaks(12))
	c := windowSite(t, up, PlainTenants, "tokens 100 1h per tenant\n\t\ttokens 50 1h")
	ann, bob := NewClient(c, "acme", "ann"), NewClient(c, "acme", "bob")
	question := budgetQuestion("fast", 12, true)
	tell := func(cl *Client, mine, all int) *Completion {
		t.Helper()
		a := cl.Complete(question)
		left := min(mine, all)
		limit := "50"
		if all < mine {
			limit = "100"
		}
		WantHeader(t, a.Header, map[string]string{
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
	first := NewClient(c, "acme", "ann").Complete(question)
	WantHeader(t, first.Header, map[string]string{"X-Ratelimit-Remaining-Tokens": "50", "X-Ratelimit-Reset-Tokens": "0s"})
	tell(ann, 30, 80)
	tell(ann, 10, 60).wantLimited(t) // 20 are more than 10
	tell(bob, 50, 60)
	tell(bob, 30, 40)
	tell(NewClient(c, "acme", "carl"), 50, 20)
	tell(NewClient(c, "acme", "dora"), 50, 0).wantLimited(t)

	// /chat has no OpenAI headers, and its own error
	resp := bob.Do(http.MethodPost, "/chat", ChatRequest{SessionID: NewSession(), Message: "hi"})
	WantHeader(t, resp.Header, map[string]string{"X-Ratelimit-Limit-Tokens": "", "X-RateLimit-Limit": "100", "X-RateLimit-Remaining": "0"})
	if f := WantFailure(t, resp, http.StatusTooManyRequests, "rate_limited"); f.TraceID == "" {
		t.Errorf("not the native error: %+v", f)
	}
	c.Stop()
	c.Restart()
	tell(bob, 10, 0).wantLimited(t)
}

func TestTokenWindowsAndBudgets(t *testing.T) {
	t.Parallel()
	inOneDay(t)
	up := NewTarget(t, "up", speaks(12))
	c := windowSite(t, up, "chat {\ntenant acme {\nbudget 40 tokens/day\n}\n}", "tokens 60 1h")
	ann := NewClient(c, "acme", "ann")
	for range 2 {
		a := ann.Complete(budgetQuestion("fast", 12, true))
		a.WantText(t, strings.Repeat(tokenText, 12))
	}
	// the window has room for it, the budget has none
	a := ann.Complete(budgetQuestion("fast", 12, true))
	a.WantRefused(t, http.StatusTooManyRequests, "budget_exceeded")
	WantHeader(t, a.Header, map[string]string{"X-Ratelimit-Remaining-Tokens": "20"})
}

// TestBudgetOfStoreThatFails has the store fail before, in and behind calls.
func TestBudgetOfStoreThatFails(t *testing.T) {
	t.Parallel()
	inOneDay(t)
	up := NewTarget(t, "up", speaks(12))
	tenants := strings.Replace("chat {\ntenant plain\ntenant paid {\nbudget 1000 tokens/day\n}\n}", "chat {", "chat {\nstore trouble", 1)
	question := budgetQuestion("fast", 12, true)
	ask := func(c *Caddy, tenant string) *Completion {
		a := NewClient(c, tenant, "ann").Complete(question)
		return &a
	}

	t.Run("deny", func(t *testing.T) {
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
		c.wantUsed("paid", "day", 20, 1000)
	})
	t.Run("allow", func(t *testing.T) {
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
		c.wantUsed("paid", "day", 20, 1000)
	})
	t.Run("in the middle", func(t *testing.T) {
		c := windowSite(t, up, tenants, "tokens 1000 1h")
		hold := make(chan struct{})
		ended := make(chan struct{}, 1)
		up.Plays(Steps(Begins(tokenText), Waits(hold), babbles(ended)))
		resp := NewClient(c, "paid", "ann").Do(http.MethodPost, CompletionsPath, question)
		readTokens(t, resp, 1)
		end := c.Trouble("reserve")
		close(hold)
		a := ReadCompletion(t, resp)
		wantEnded(t, ended)
		end()
		// what was held is given out, and no more
		if a.Code != "storage_unavailable" || a.Done || a.Text != strings.Repeat(tokenText, 11) {
			t.Errorf("error %q, end mark %v, %d bytes", a.Code, a.Done, len(a.Text))
		}
		c.WantMetrics(map[string]float64{`caddy_ai_tokens_total{model="fast",provider="openai",tenant="paid",type="output"}`: 12})
		// which is not the provider's doing
		c.WantMetrics(map[string]float64{`caddy_ai_attempts_total{model="fast",provider="openai",result="aborted"}`: 1})

		before := up.Count()
		hold = make(chan struct{})
		up.Plays(Steps(Waits(hold), babbles(ended)))
		asked := NewClient(c, "paid", "ann").Start(NewClient(c, "paid", "ann").Request(http.MethodPost, CompletionsPath, budgetQuestion("fast", 0, false)))
		Eventually(t, "the provider is asked", func() bool { return up.Count() > before })
		end = c.Trouble("reserve")
		defer end()
		close(hold)
		WantFailure(t, asked.Answer(), http.StatusServiceUnavailable, "storage_unavailable")
		if n := up.Count() - before; n != 1 {
			t.Errorf("the provider was asked %d times", n)
		}
	})
	t.Run("at the end", func(t *testing.T) {
		c := windowSite(t, up, tenants, "tokens 1000 1h")
		up.Plays(speaks(12))
		end := c.Trouble("settle")
		ask(c, "paid").WantText(t, strings.Repeat(tokenText, 12))
		c.WantMetrics(map[string]float64{`caddy_chat_store_errors_total{op="settle"}`: 1})
		end()
		Eventually(t, "the log tells of it", func() bool { return strings.Contains(c.Log.String(), "settling what a call used") })
	})
}
