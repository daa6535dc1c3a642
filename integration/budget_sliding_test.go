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
func windowSite(t testing.TB, up *target, options, limits string) *caddyProcess {
	t.Helper()
	return startCaddy(t, options, fmt.Sprintf(`
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
`, limits, up.url, patient))
}

// wantLimited checks that an answer says in OpenAI's shape that a window has
// no room for the request.
func (a *completion) wantLimited(t testing.TB) {
	t.Helper()
	a.wantRefused(t, http.StatusTooManyRequests, "rate_limited")
	within(t, "Retry-After", a.header.Get("Retry-After"), time.Second, time.Second, time.Hour)
	if !strings.Contains(a.frames[0], `"type":"rate_limit_error"`) {
		t.Errorf("not OpenAI's error body: %s", a.frames)
	}
}

// TestTokenWindowsOfManyAtOnce has 60 calls of 20 tokens against a window
// that fits five.
func TestTokenWindowsOfManyAtOnce(t *testing.T) {
	t.Parallel()
	for _, says := range []int{12, 50} {
		t.Run(fmt.Sprint("that say ", says), func(t *testing.T) {
			hold := make(chan struct{})
			up := newTarget(t, "up", speaksAfter(hold, says))
			c := windowSite(t, up, plainTenants, "tokens 100 1h per tenant")
			own := transport.Clone()
			defer own.CloseIdleConnections()
			answers := make([]completion, 60)
			var refused atomic.Int64
			var wg sync.WaitGroup
			for i := range answers {
				wg.Go(func() {
					cl := newClient(c, "acme", fmt.Sprint("user", i))
					cl.http = &http.Client{Transport: own}
					answers[i] = cl.complete(budgetQuestion("fast", 12, true))
					if answers[i].status == http.StatusTooManyRequests {
						refused.Add(1)
					}
				})
			}
			eventually(t, "all are admitted or refused", func() bool { return up.count()+int(refused.Load()) == len(answers) })
			close(hold)
			wg.Wait()
			whole := 0
			for i := range answers {
				if answers[i].status == http.StatusTooManyRequests {
					answers[i].wantLimited(t)
					continue
				}
				// a window never cuts an answer
				answers[i].wantText(t, strings.Repeat(tokenText, says))
				whole++
			}
			if whole != 5 {
				t.Errorf("%d were let through, want 5", whole)
			}
			next := newClient(c, "acme", "ann").complete(budgetQuestion("fast", 1, true))
			next.wantLimited(t)
			if a := newClient(c, "globex", "ann").complete(budgetQuestion("fast", 1, true)); a.status != http.StatusOK {
				t.Errorf("another tenant: %d %s", a.status, a.code)
			}
		})
	}
}

func TestTokenWindowsTell(t *testing.T) {
	t.Parallel()
	up := newTarget(t, "up", speaks(12))
	c := windowSite(t, up, plainTenants, "tokens 100 1h per tenant\n\t\ttokens 50 1h")
	ann, bob := newClient(c, "acme", "ann"), newClient(c, "acme", "bob")
	question := budgetQuestion("fast", 12, true)
	tell := func(cl *client, mine, all int) *completion {
		t.Helper()
		a := cl.complete(question)
		left := min(mine, all)
		limit := "50"
		if all < mine {
			limit = "100"
		}
		wantHeaders(t, a.header, map[string]string{
			"RateLimit-Policy":               `"requests";q=10000;w=3600, "tokens-tenant";q=100;w=3600, "tokens";q=50;w=3600`,
			"X-Ratelimit-Limit-Tokens":       limit,
			"X-Ratelimit-Remaining-Tokens":   fmt.Sprint(left),
			"X-Ratelimit-Limit-Requests":     "10000",
			"X-Ratelimit-Remaining-Requests": a.header.Get("X-Ratelimit-Remaining-Requests"),
		})
		state := a.header.Get("RateLimit")
		for _, want := range []string{fmt.Sprintf(`"tokens-tenant";r=%d;t=`, all), fmt.Sprintf(`"tokens";r=%d;t=`, mine)} {
			if !strings.Contains(state, want) {
				t.Errorf("RateLimit %s has no %s", state, want)
			}
		}
		return &a
	}
	first := newClient(c, "acme", "ann").complete(question)
	wantHeaders(t, first.header, map[string]string{"X-Ratelimit-Remaining-Tokens": "50", "X-Ratelimit-Reset-Tokens": "0s"})
	tell(ann, 30, 80)
	tell(ann, 10, 60).wantLimited(t) // 20 are more than 10
	tell(bob, 50, 60)
	tell(bob, 30, 40)
	tell(newClient(c, "acme", "carl"), 50, 20)
	tell(newClient(c, "acme", "dora"), 50, 0).wantLimited(t)

	// /chat has no OpenAI headers, and its own error
	resp := bob.do(http.MethodPost, "/chat", ask{SessionID: newSession(), Message: "hi"})
	wantHeaders(t, resp.Header, map[string]string{"X-Ratelimit-Limit-Tokens": "", "X-RateLimit-Limit": "100", "X-RateLimit-Remaining": "0"})
	if f := wantFailure(t, resp, http.StatusTooManyRequests, "rate_limited"); f.TraceID == "" {
		t.Errorf("not the native error: %+v", f)
	}
	c.stop()
	c.restart()
	tell(bob, 10, 0).wantLimited(t)
}

func TestTokenWindowsAndBudgets(t *testing.T) {
	t.Parallel()
	inOneDay(t)
	up := newTarget(t, "up", speaks(12))
	c := windowSite(t, up, "chat {\ntenant acme {\nbudget 40 tokens/day\n}\n}", "tokens 60 1h")
	ann := newClient(c, "acme", "ann")
	for range 2 {
		a := ann.complete(budgetQuestion("fast", 12, true))
		a.wantText(t, strings.Repeat(tokenText, 12))
	}
	// the window has room for it, the budget has none
	a := ann.complete(budgetQuestion("fast", 12, true))
	a.wantRefused(t, http.StatusTooManyRequests, "budget_exceeded")
	wantHeaders(t, a.header, map[string]string{"X-Ratelimit-Remaining-Tokens": "20"})
}

// TestBudgetOfStoreThatFails has the store fail before, in and behind calls.
func TestBudgetOfStoreThatFails(t *testing.T) {
	t.Parallel()
	inOneDay(t)
	up := newTarget(t, "up", speaks(12))
	tenants := strings.Replace("chat {\ntenant plain\ntenant paid {\nbudget 1000 tokens/day\n}\n}", "chat {", "chat {\nstore trouble", 1)
	question := budgetQuestion("fast", 12, true)
	ask := func(c *caddyProcess, tenant string) *completion {
		a := newClient(c, tenant, "ann").complete(question)
		return &a
	}

	t.Run("deny", func(t *testing.T) {
		c := windowSite(t, up, tenants, "tokens 1000 1h")
		for _, op := range []string{"balances", "reserve"} {
			end := c.trouble(op)
			for _, tenant := range []string{"plain", "paid"} {
				before := up.count()
				ask(c, tenant).wantRefused(t, http.StatusServiceUnavailable, "storage_unavailable")
				if up.count() != before {
					t.Error("the provider was asked")
				}
			}
			end()
		}
		c.wantMetrics(map[string]float64{`caddy_chat_store_errors_total{op="take"}`: 2, `caddy_chat_store_errors_total{op="reserve"}`: 2})
		ask(c, "paid").wantText(t, strings.Repeat(tokenText, 12))
		c.wantUsed("paid", "day", 20, 1000)
	})
	t.Run("allow", func(t *testing.T) {
		c := windowSite(t, up, tenants, "tokens 1000 1h\n\t\ton_store_error allow")
		end := c.trouble("balances")
		ask(c, "plain").wantText(t, strings.Repeat(tokenText, 12))
		endReserve := c.trouble("reserve")
		ask(c, "plain").wantText(t, strings.Repeat(tokenText, 12))
		// a budget is not a rate limit
		ask(c, "paid").wantRefused(t, http.StatusServiceUnavailable, "storage_unavailable")
		endReserve()
		end()
		ask(c, "paid").wantText(t, strings.Repeat(tokenText, 12))
		c.wantUsed("paid", "day", 20, 1000)
	})
	t.Run("in the middle", func(t *testing.T) {
		c := windowSite(t, up, tenants, "tokens 1000 1h")
		hold := make(chan struct{})
		ended := make(chan struct{}, 1)
		up.plays(steps(begins(tokenText), waits(hold), babbles(ended)))
		resp := newClient(c, "paid", "ann").do(http.MethodPost, completions, question)
		readTokens(t, resp, 1)
		end := c.trouble("reserve")
		close(hold)
		a := readCompletion(t, resp)
		wantEnded(t, ended)
		end()
		// what was held is given out, and no more
		if a.code != "storage_unavailable" || a.done || a.Text != strings.Repeat(tokenText, 11) {
			t.Errorf("error %q, end mark %v, %d bytes", a.code, a.done, len(a.Text))
		}
		c.wantMetrics(map[string]float64{`caddy_ai_tokens_total{model="fast",provider="openai",tenant="paid",type="output"}`: 12})
		// which is not the provider's doing
		c.wantMetrics(map[string]float64{`caddy_ai_attempts_total{model="fast",provider="openai",result="aborted"}`: 1})

		before := up.count()
		hold = make(chan struct{})
		up.plays(steps(waits(hold), babbles(ended)))
		asked := newClient(c, "paid", "ann").start(newClient(c, "paid", "ann").request(http.MethodPost, completions, budgetQuestion("fast", 0, false)))
		eventually(t, "the provider is asked", func() bool { return up.count() > before })
		end = c.trouble("reserve")
		defer end()
		close(hold)
		wantFailure(t, asked.answer(), http.StatusServiceUnavailable, "storage_unavailable")
		if n := up.count() - before; n != 1 {
			t.Errorf("the provider was asked %d times", n)
		}
	})
	t.Run("at the end", func(t *testing.T) {
		c := windowSite(t, up, tenants, "tokens 1000 1h")
		up.plays(speaks(12))
		end := c.trouble("settle")
		ask(c, "paid").wantText(t, strings.Repeat(tokenText, 12))
		c.wantMetrics(map[string]float64{`caddy_chat_store_errors_total{op="settle"}`: 1})
		end()
		eventually(t, "the log tells of it", func() bool { return strings.Contains(c.log.String(), "settling what a call used") })
	})
}
