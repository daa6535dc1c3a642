package integration

import (
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/tidwall/gjson"

	"github.com/caddy-chat/caddy-chat/modules/sse"
)

// babbles streams tokens until the caller ends the call, which it tells.
func babbles(ended chan<- struct{}) behaviour {
	return func(c *targetCall) {
		c.send(c.role())
		for c.r.Context().Err() == nil {
			c.send(c.text(tokenText))
		}
		ended <- struct{}{}
	}
}

// wantEnded waits until an upstream call has been ended.
func wantEnded(t testing.TB, ended <-chan struct{}) {
	t.Helper()
	select {
	case <-ended:
	case <-timeUp(t):
		t.Fatal("the upstream call goes on")
	}
}

// TestBudgetUsedUp has answers that never end use up a budget of 100 tokens
// of output.
func TestBudgetUsedUp(t *testing.T) {
	t.Parallel()
	const limit = spending + 100
	s := newBudgetSite(t, fmt.Sprintf("budget %d tokens/day", limit))
	ended := make(chan struct{}, 64)
	s.one.plays(babbles(ended))
	all := strings.Repeat(tokenText, 100)

	// used checks what is the same however the answer was asked for
	used := func(t *testing.T, cl *client, calls int) {
		t.Helper()
		for range calls {
			wantEnded(t, ended)
		}
		s.c.wantUsed(cl.tenant, "day", limit, limit)
		s.c.wantMetrics(map[string]float64{
			fmt.Sprintf(`caddy_ai_budget_exhausted_total{period="day",tenant=%q}`, cl.tenant):                                   1,
			fmt.Sprintf(`caddy_ai_tokens_total{model="fast",provider="one",tenant=%q,type="output"}`, cl.tenant):                100,
			fmt.Sprintf(`caddy_ai_requests_total{code="200",model="fast",provider="one",tenant=%q}`, cl.tenant):                 1,
			fmt.Sprintf(`caddy_ai_budget_warnings_total{fraction="1",period="day",tenant=%q}`, cl.tenant):                       1,
			fmt.Sprintf(`caddy_ai_cost_usd_total{model="fast",provider="one",tenant=%q}`, cl.tenant):                            spending + 200,
			fmt.Sprintf(`caddy_ai_tokens_total{model="fast",provider="one",tenant=%q,type="input"}`, cl.tenant):                 spending,
			fmt.Sprintf(`caddy_ai_time_to_first_token_seconds_count{model="fast",provider="one",tenant=%q}`, cl.tenant):         1,
			fmt.Sprintf(`caddy_ai_request_duration_seconds_bucket{model="fast",provider="one",tenant=%q,le="+Inf"}`, cl.tenant): 1,
		})
		eventually(t, "the log says why", func() bool {
			for line := range strings.Lines(s.c.log.String()) {
				if gjson.Get(line, "msg").Str == "an answer is ended: the tenant's budget is used up" && gjson.Get(line, "tenant").Str == cl.tenant {
					return gjson.Get(line, "level").Str == "warn" && gjson.Get(line, "trace_id").Str != "" && strings.Contains(gjson.Get(line, "error").Str, "tokens/day")
				}
			}
			return false
		})
		next := cl.complete(budgetQuestion("fast", 1, false))
		s.wantExceeded(&next)
	}
	tenant := func(i int) *client { return newClient(s.c, manyTenants[i], "ann") }

	t.Run("a stream with usage", func(t *testing.T) {
		cl := tenant(0)
		a := cl.complete(budgetQuestion("fast", 0, true))
		if a.Finish != "length" || !a.done || a.Text != all || a.code != "" {
			t.Errorf("finish %q, end mark %v, %d bytes, error %q", a.Finish, a.done, len(a.Text), a.code)
		}
		a.wantOne(t)
		if want := `{"prompt_tokens":8,"completion_tokens":100,"total_tokens":108,"estimated":true}`; a.usage.Raw != want {
			t.Errorf("usage %s, want %s", a.usage, want)
		}
		used(t, cl, 1)
	})
	t.Run("a stream without usage", func(t *testing.T) {
		cl := tenant(1)
		a := cl.complete(newQuestion("fast").streamed())
		if a.Finish != "length" || !a.done || a.Text != all || a.usage.Exists() {
			t.Errorf("finish %q, end mark %v, %d bytes, usage %s", a.Finish, a.done, len(a.Text), a.usage)
		}
		used(t, cl, 1)
	})
	t.Run("a document", func(t *testing.T) {
		cl := tenant(2)
		a := cl.complete(budgetQuestion("fast", 0, false))
		if a.status != http.StatusOK || a.Finish != "length" || a.Text != all || a.usage.Get("total_tokens").Num != limit {
			t.Errorf("status %d, finish %q, %d bytes, usage %s", a.status, a.Finish, len(a.Text), a.usage)
		}
		used(t, cl, 1)
	})
	t.Run("a stream of /chat", func(t *testing.T) {
		cl := tenant(3)
		session := newSession()
		a := cl.say(session, "hi")
		if a.done == nil || a.failed != nil || a.done.FinishReason != "budget" || a.text != all || a.done.Usage.TotalTokens != limit || !a.done.Usage.Estimated {
			t.Errorf("%d bytes, done %+v, error %+v", len(a.text), a.done, a.failed)
		}
		wantIDs(t, a.events)
		cl.wantLast(session, all, "partial")
		used(t, cl, 1)
		wantFailure(t, cl.do(http.MethodPost, "/chat", ask{SessionID: session, Message: "more"}), http.StatusTooManyRequests, "budget_exceeded")
		wantList(t, "history", contents(cl.history(session)), []string{"user: hi", "assistant: " + all})
	})
	t.Run("a document of /chat", func(t *testing.T) {
		cl := tenant(4)
		session := newSession()
		text := readAll(t, cl.do(http.MethodPost, "/chat", ask{SessionID: session, Message: "hi", Stream: new(false)}))
		data := gjson.Get(text, "data")
		if data.Get("finishReason").Str != "budget" || data.Get("message").Str != all || data.Get("usage.totalTokens").Num != limit {
			t.Errorf("got %s", text)
		}
		cl.wantLast(session, all, "partial")
		used(t, cl, 1)
	})
	t.Run("a stream that is remembered", func(t *testing.T) {
		cl := tenant(5)
		session := newSession()
		a := cl.complete(budgetQuestion("fast", 0, true), "X-Session-Id", session)
		if a.Finish != "length" || !a.done || a.Text != all {
			t.Errorf("finish %q, end mark %v, %d bytes", a.Finish, a.done, len(a.Text))
		}
		cl.wantLast(session, all, "partial")
		used(t, cl, 1)
	})
	t.Run("a document that is remembered", func(t *testing.T) {
		cl := tenant(6)
		session := newSession()
		a := cl.complete(budgetQuestion("fast", 0, false), "X-Session-Id", session)
		if a.Finish != "length" || a.Text != all {
			t.Errorf("finish %q, %d bytes", a.Finish, len(a.Text))
		}
		cl.wantLast(session, all, "partial")
		used(t, cl, 1)
	})
	t.Run("the arguments of a tool call", func(t *testing.T) {
		cl := tenant(7)
		s.one.plays(steps(sendsOf(func(w wire) []string {
			return []string{w.role(), w.tool(0, "call-a", "tell", "")}
		}), func(c *targetCall) {
			for c.r.Context().Err() == nil {
				c.send(c.tool(0, "", "", tokenText))
			}
			ended <- struct{}{}
		}))
		a := cl.complete(budgetQuestion("fast", 0, true))
		if call := a.calls[0]; a.Finish != "length" || !a.done || call == nil || call.Name != "tell" || call.Arguments != strings.Repeat(tokenText, 99) {
			t.Errorf("finish %q, end mark %v, %+v", a.Finish, a.done, a.calls)
		}
		used(t, cl, 1)
	})
	t.Run("by the first chunk", func(t *testing.T) {
		for i, stream := range []bool{true, false} {
			cl := tenant(8 + i)
			s.one.plays(func(c *targetCall) {
				c.send(c.text(strings.Repeat(tokenText, 101)))
				stalls(c)
				ended <- struct{}{}
			})
			a := cl.complete(budgetQuestion("fast", 0, stream))
			wantEnded(t, ended)
			if a.status != http.StatusOK || a.Finish != "length" || a.Text != "" || a.usage.Get("total_tokens").Num != spending {
				t.Errorf("status %d, finish %q, %d bytes, usage %s", a.status, a.Finish, len(a.Text), a.usage)
			}
			if doc := gjson.Parse(a.frames[0]); doc.Get("id").Str == "" || doc.Get("model").Str != "up-one" || doc.Get("created").Num == 0 {
				t.Errorf("it is not the provider's answer: %s", a.frames[0])
			}
			s.c.wantUsed(cl.tenant, "day", spending, limit)
			s.wantLeft(cl, 100)
		}
	})
}

// readTokens reads a stream until so many tokens have come.
func readTokens(t testing.TB, resp *http.Response, n int) {
	t.Helper()
	dec := sse.NewDecoder(resp.Body, 0)
	for got := ""; len(got) < n*len(tokenText); {
		ev, err := dec.Next()
		if err != nil {
			t.Fatalf("after %q: %v", got, err)
		}
		got += gjson.GetBytes(ev.Data, "choices.0.delta.content").Str
	}
}

// TestBudgetOfClientsThatGo has clients leave in the middle.
func TestBudgetOfClientsThatGo(t *testing.T) {
	t.Parallel()
	inOneDay(t)
	const tenants = "chat {\ntenant acme {\nbudget 1000 tokens/day\n}\ntenant globex {\nbudget 1000 tokens/day\n}\n}"
	up := newSteered(t)
	c := startCaddy(t, tenants, up.chain("on_disconnect cancel"))
	ann := newClient(c, "acme", "ann")

	req := ann.request(http.MethodPost, completions, `{"stream":true,"messages":[{"role":"user","content":"hi"}]}`)
	a := ann.start(req)
	call := up.call()
	call.say(pieces(3)...)
	readTokens(t, a.answer(), 3)
	a.goAway()
	call.wantGone()
	used := float64(spending + 3)
	c.wantUsed("acme", "day", used, 1000)

	a = ann.ask(newSession(), "hi")
	call = up.call()
	call.say(pieces(5)...)
	a.events().text(strings.Repeat(tokenText, 5))
	a.goAway()
	call.wantGone()
	used += spending + 5
	c.wantUsed("acme", "day", used, 1000)

	session := newSession()
	a = ann.ask(session, "hi")
	call = up.call()
	call.say(pieces(2)...)
	stream := a.events()
	stream.text(strings.Repeat(tokenText, 2))
	ann.cancelTurn(session)
	call.wantGone()
	if end := stream.rest(); end.done == nil || end.done.FinishReason != "cancelled" || end.done.Usage.TotalTokens != spending+2 {
		t.Errorf("it ended with %+v", end.done)
	}
	used += spending + 2
	c.wantUsed("acme", "day", used, 1000)

	// before anything was produced it costs nothing, streamed or not
	for _, body := range []string{`{"stream":true,"max_tokens":1,"messages":[{"role":"user","content":"hi"}]}`, `{"max_tokens":1,"messages":[{"role":"user","content":"hi"}]}`, `{"messages":[{"role":"user","content":"hi"}]}`} {
		a = ann.start(ann.request(http.MethodPost, completions, body))
		call = up.call()
		a.goAway()
		call.wantGone()
	}
	a = ann.ask(newSession(), "hi")
	call = up.call()
	call.say("last")
	call.finish("stop")
	if u := a.events().rest().done.Usage; u.TotalTokens != upstreamTokensIn+upstreamTokensOut {
		t.Errorf("usage %+v", u)
	}
	used += upstreamTokensIn + upstreamTokensOut
	c.wantUsed("acme", "day", used, 1000)

	// an answer that goes on without its client is paid for whole
	c.writeConfig(tenants, up.chain("on_disconnect continue"))
	c.reload()
	bob := newClient(c, "globex", "bob")
	session = newSession()
	a = bob.ask(session, "hi")
	call = up.call()
	call.say(pieces(2)...)
	a.events().text(strings.Repeat(tokenText, 2))
	a.goAway()
	call.say(pieces(2)...)
	call.finish("stop")
	bob.wantLast(session, strings.Repeat(tokenText, 4), "complete")
	c.wantUsed("globex", "day", upstreamTokensIn+upstreamTokensOut, 1000)
	if n := c.metrics()[`caddy_chat_store_errors_total{op="reserve"}`] + c.metrics()[`caddy_chat_store_errors_total{op="settle"}`]; n != 0 {
		t.Errorf("%v times the store is blamed", n)
	}
}

// TestBudgetOfFailures has targets fail before, in and behind the answer.
func TestBudgetOfFailures(t *testing.T) {
	t.Parallel()
	s := newBudgetSite(t, "budget 1000 tokens/day")
	const text = "Once upon a time"
	first := begins("Once ", "upon ")
	whole := says(11, 5, "On", "ce up", "on a ti", "me")
	for i, tc := range []struct {
		name     string
		one, two []behaviour
		used     int
	}{
		{"a refused call", []behaviour{refuses(400, "x")}, []behaviour{whole}, 0},
		{"a failed call", []behaviour{refuses(500, "x")}, []behaviour{reset}, 0},
		{"a call that is cut before its answer", []behaviour{steps(begins(), reset)}, []behaviour{headerOnly}, 0},
		{"a fallback", []behaviour{refuses(500, "x"), reset}, []behaviour{whole}, 16},
		{"a retry", []behaviour{steps(begins(), reset), whole}, []behaviour{reset}, 16},
		{"a rescued answer", []behaviour{steps(first, reset), whole}, []behaviour{reset}, 16},
		{"an answer rescued by another", []behaviour{steps(first, reset), reset}, []behaviour{whole}, 16},
		{"an answer that is lost", []behaviour{steps(first, reset), says(12, 6, "Long ago")}, []behaviour{says(12, 6, "Never")}, spending + 3},
		{"a document of which a part came before", []behaviour{steps(first, reset), refuses(400, "x")}, []behaviour{whole}, 0},
		{"a document after a part of another", []behaviour{steps(first, reset), steps(first, errorFrame)}, []behaviour{whole}, 16},
	} {
		t.Run(tc.name, func(t *testing.T) {
			cl := newClient(s.c, manyTenants[i], "ann")
			s.one.plays(tc.one...)
			s.two.plays(tc.two...)
			a := cl.complete(budgetQuestion("fast", 0, !strings.HasPrefix(tc.name, "a document")))
			if tc.used == 16 {
				a.wantText(t, text)
			}
			if tc.used == 0 {
				if n, _ := s.tokensOf(cl.tenant); n != 0 || !s.fits(cl, 1000) {
					t.Errorf("it costs %v tokens", n)
				}
				return
			}
			s.c.wantUsed(cl.tenant, "day", float64(tc.used), 1000)
			s.wantLeft(cl, 1000-tc.used)
		})
	}
}
