package budgets

import (
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/tidwall/gjson"

	"github.com/caddy-chat/caddy-chat/integration/harness"
	"github.com/caddy-chat/caddy-chat/modules/sse"
)

// babbles streams tokens until the caller ends the call, then signals ended.
func babbles(ended chan<- struct{}) harness.Script {
	return func(c *harness.Call) {
		c.Send(c.Role())
		for c.R.Context().Err() == nil {
			c.Send(c.Text(tokenText))
		}
		ended <- struct{}{}
	}
}

// wantEnded waits until an upstream call has ended.
func wantEnded(t testing.TB, ended <-chan struct{}) {
	t.Helper()
	select {
	case <-ended:
	case <-harness.TimeUp(t):
		t.Fatal("the upstream call is still running")
	}
}

// TestBudgetUsedUp lets endless answers use up a budget of 100 output tokens.
func TestBudgetUsedUp(t *testing.T) {
	t.Parallel()
	const limit = spending + 100
	s := newBudgetSite(t, fmt.Sprintf("budget %d tokens/day", limit))
	ended := make(chan struct{}, 64)
	s.one.Plays(babbles(ended))
	all := strings.Repeat(tokenText, 100)

	// used checks what holds for every kind of request
	used := func(t *testing.T, cl *harness.Client, calls int) {
		t.Helper()
		for range calls {
			wantEnded(t, ended)
		}
		wantUsed(s.C, cl.Tenant, "day", limit, limit)
		s.C.WantMetrics(map[string]float64{
			fmt.Sprintf(`caddy_ai_budget_exhausted_total{period="day",tenant=%q}`, cl.Tenant):                                   1,
			fmt.Sprintf(`caddy_ai_tokens_total{model="fast",provider="one",tenant=%q,type="output"}`, cl.Tenant):                100,
			fmt.Sprintf(`caddy_ai_requests_total{code="200",model="fast",provider="one",tenant=%q}`, cl.Tenant):                 1,
			fmt.Sprintf(`caddy_ai_budget_warnings_total{fraction="1",period="day",tenant=%q}`, cl.Tenant):                       1,
			fmt.Sprintf(`caddy_ai_cost_usd_total{model="fast",provider="one",tenant=%q}`, cl.Tenant):                            spending + 200,
			fmt.Sprintf(`caddy_ai_tokens_total{model="fast",provider="one",tenant=%q,type="input"}`, cl.Tenant):                 spending,
			fmt.Sprintf(`caddy_ai_time_to_first_token_seconds_count{model="fast",provider="one",tenant=%q}`, cl.Tenant):         1,
			fmt.Sprintf(`caddy_ai_request_duration_seconds_bucket{model="fast",provider="one",tenant=%q,le="+Inf"}`, cl.Tenant): 1,
		})
		harness.Eventually(t, "the log says why", func() bool {
			for line := range strings.Lines(s.C.Log.String()) {
				if gjson.Get(line, "msg").Str == "an answer is ended: the tenant's budget is used up" && gjson.Get(line, "tenant").Str == cl.Tenant {
					return gjson.Get(line, "level").Str == "warn" && gjson.Get(line, "trace_id").Str != "" && strings.Contains(gjson.Get(line, "error").Str, "tokens/day")
				}
			}
			return false
		})
		next := cl.Complete(budgetQuestion("fast", 1, false))
		s.wantExceeded(&next)
	}
	tenant := func(i int) *harness.Client { return harness.NewClient(s.C, manyTenants[i], "ann") }

	t.Run("a stream with usage", func(t *testing.T) {
		cl := tenant(0)
		a := cl.Complete(budgetQuestion("fast", 0, true))
		if a.Finish != "length" || !a.Done || a.Text != all || a.Code != "" {
			t.Errorf("finish %q, end mark %v, %d bytes, error %q", a.Finish, a.Done, len(a.Text), a.Code)
		}
		a.WantOne(t)
		if want := `{"prompt_tokens":8,"completion_tokens":100,"total_tokens":108,"estimated":true}`; a.Usage.Raw != want {
			t.Errorf("usage %s, want %s", a.Usage, want)
		}
		used(t, cl, 1)
	})
	t.Run("a stream without usage", func(t *testing.T) {
		cl := tenant(1)
		a := cl.Complete(harness.NewQuestion("fast").Streamed())
		if a.Finish != "length" || !a.Done || a.Text != all || a.Usage.Exists() {
			t.Errorf("finish %q, end mark %v, %d bytes, usage %s", a.Finish, a.Done, len(a.Text), a.Usage)
		}
		used(t, cl, 1)
	})
	for i, stream := range []bool{true, false} {
		t.Run(fmt.Sprintf("a message, streamed %t", stream), func(t *testing.T) {
			cl := tenant(10 + i)
			body := fmt.Sprintf(`{"model":"fast","max_tokens":100000,"stream":%t,"messages":[{"role":"user","content":"hi"}]}`, stream)
			answer := harness.ReadAll(t, cl.Do(http.MethodPost, "/v1/messages", body))
			if !strings.Contains(answer, `"stop_reason":"max_tokens"`) || !strings.Contains(answer, `"output_tokens":100,"estimated":true}`) || strings.Contains(answer, `"type":"error"`) {
				t.Errorf("the answer is %s", answer)
			}
			wantEnded(t, ended)
		})
	}
	t.Run("a document", func(t *testing.T) {
		cl := tenant(2)
		a := cl.Complete(budgetQuestion("fast", 0, false))
		if a.Status != http.StatusOK || a.Finish != "length" || a.Text != all || a.Usage.Get("total_tokens").Num != limit {
			t.Errorf("status %d, finish %q, %d bytes, usage %s", a.Status, a.Finish, len(a.Text), a.Usage)
		}
		used(t, cl, 1)
	})
	t.Run("a stream of /chat", func(t *testing.T) {
		cl := tenant(3)
		session := harness.NewSession()
		a := cl.Say(session, "hi")
		if a.Done == nil || a.Failed != nil || a.Done.FinishReason != "budget" || a.Text != all || a.Done.Usage.TotalTokens != limit || !a.Done.Usage.Estimated {
			t.Errorf("%d bytes, done %+v, error %+v", len(a.Text), a.Done, a.Failed)
		}
		harness.WantIDs(t, a.Events)
		cl.WantLast(session, all, "partial")
		used(t, cl, 1)
		harness.WantFailure(t, cl.Do(http.MethodPost, "/chat", harness.ChatRequest{SessionID: session, Message: "more"}), http.StatusTooManyRequests, "budget_exceeded")
		harness.WantList(t, "history", harness.Contents(cl.History(session)), []string{"user: hi", "assistant: " + all})
	})
	t.Run("a document of /chat", func(t *testing.T) {
		cl := tenant(4)
		session := harness.NewSession()
		text := harness.ReadAll(t, cl.Do(http.MethodPost, "/chat", harness.ChatRequest{SessionID: session, Message: "hi", Stream: new(false)}))
		data := gjson.Get(text, "data")
		if data.Get("finishReason").Str != "budget" || data.Get("message").Str != all || data.Get("usage.totalTokens").Num != limit {
			t.Errorf("got %s", text)
		}
		cl.WantLast(session, all, "partial")
		used(t, cl, 1)
	})
	t.Run("a stream in a session", func(t *testing.T) {
		cl := tenant(5)
		session := harness.NewSession()
		a := cl.Complete(budgetQuestion("fast", 0, true), "X-Session-Id", session)
		if a.Finish != "length" || !a.Done || a.Text != all {
			t.Errorf("finish %q, end mark %v, %d bytes", a.Finish, a.Done, len(a.Text))
		}
		cl.WantLast(session, all, "partial")
		used(t, cl, 1)
	})
	t.Run("a document in a session", func(t *testing.T) {
		cl := tenant(6)
		session := harness.NewSession()
		a := cl.Complete(budgetQuestion("fast", 0, false), "X-Session-Id", session)
		if a.Finish != "length" || a.Text != all {
			t.Errorf("finish %q, %d bytes", a.Finish, len(a.Text))
		}
		cl.WantLast(session, all, "partial")
		used(t, cl, 1)
	})
	t.Run("the arguments of a tool call", func(t *testing.T) {
		cl := tenant(7)
		s.one.Plays(harness.Steps(harness.SendsOf(func(w harness.Wire) []string {
			return []string{w.Role(), w.Tool(0, "call-a", "tell", "")}
		}), func(c *harness.Call) {
			for c.R.Context().Err() == nil {
				c.Send(c.Tool(0, "", "", tokenText))
			}
			ended <- struct{}{}
		}))
		a := cl.Complete(budgetQuestion("fast", 0, true))
		if call := a.Calls[0]; a.Finish != "length" || !a.Done || call == nil || call.Name != "tell" || call.Arguments != strings.Repeat(tokenText, 99) {
			t.Errorf("finish %q, end mark %v, %+v", a.Finish, a.Done, a.Calls)
		}
		used(t, cl, 1)
	})
	t.Run("in the first chunk", func(t *testing.T) {
		for i, stream := range []bool{true, false} {
			cl := tenant(8 + i)
			s.one.Plays(func(c *harness.Call) {
				c.Send(c.Text(strings.Repeat(tokenText, 101)))
				harness.Stalls(c)
				ended <- struct{}{}
			})
			a := cl.Complete(budgetQuestion("fast", 0, stream))
			wantEnded(t, ended)
			if a.Status != http.StatusOK || a.Finish != "length" || a.Text != "" || a.Usage.Get("total_tokens").Num != spending {
				t.Errorf("status %d, finish %q, %d bytes, usage %s", a.Status, a.Finish, len(a.Text), a.Usage)
			}
			if doc := gjson.Parse(a.Frames[0]); doc.Get("id").Str == "" || doc.Get("model").Str != "up-one" || doc.Get("created").Num == 0 {
				t.Errorf("not the provider's answer: %s", a.Frames[0])
			}
			wantUsed(s.C, cl.Tenant, "day", spending, limit)
			s.wantLeft(cl, 100)
		}
	})
}

// readTokens reads n tokens of a stream.
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

// TestBudgetOfClientsThatGo has clients disconnect mid-stream.
func TestBudgetOfClientsThatGo(t *testing.T) {
	t.Parallel()
	inOneDay(t)
	const tenants = "chat {\ntenant acme {\nbudget 1000 tokens/day\n}\ntenant globex {\nbudget 1000 tokens/day\n}\n}"
	up := harness.NewUpstream(t)
	c := harness.Start(t, tenants, up.Chain("on_disconnect cancel"))
	ann := harness.NewClient(c, "acme", "ann")

	req := ann.Request(http.MethodPost, harness.CompletionsPath, `{"stream":true,"messages":[{"role":"user","content":"hi"}]}`)
	a := ann.Start(req)
	call := up.Call()
	call.Say(pieces(3)...)
	readTokens(t, a.Answer(), 3)
	a.GoAway()
	call.WantGone()
	used := float64(spending + 3)
	wantUsed(c, "acme", "day", used, 1000)

	a = ann.Ask(harness.NewSession(), "hi")
	call = up.Call()
	call.Say(pieces(5)...)
	a.Events().Text(strings.Repeat(tokenText, 5))
	a.GoAway()
	call.WantGone()
	used += spending + 5
	wantUsed(c, "acme", "day", used, 1000)

	session := harness.NewSession()
	a = ann.Ask(session, "hi")
	call = up.Call()
	call.Say(pieces(2)...)
	stream := a.Events()
	stream.Text(strings.Repeat(tokenText, 2))
	ann.CancelTurn(session)
	call.WantGone()
	if end := stream.Rest(); end.Done == nil || end.Done.FinishReason != "cancelled" || end.Done.Usage.TotalTokens != spending+2 {
		t.Errorf("the stream ended with %+v", end.Done)
	}
	used += spending + 2
	wantUsed(c, "acme", "day", used, 1000)

	// a call that ends before any output costs nothing, streamed or not
	for _, body := range []string{`{"stream":true,"max_tokens":1,"messages":[{"role":"user","content":"hi"}]}`, `{"max_tokens":1,"messages":[{"role":"user","content":"hi"}]}`, `{"messages":[{"role":"user","content":"hi"}]}`} {
		a = ann.Start(ann.Request(http.MethodPost, harness.CompletionsPath, body))
		call = up.Call()
		a.GoAway()
		call.WantGone()
	}
	a = ann.Ask(harness.NewSession(), "hi")
	call = up.Call()
	call.Say("last")
	call.Finish("stop")
	if u := a.Events().Rest().Done.Usage; u.TotalTokens != harness.UpstreamTokensIn+harness.UpstreamTokensOut {
		t.Errorf("usage %+v", u)
	}
	used += harness.UpstreamTokensIn + harness.UpstreamTokensOut
	wantUsed(c, "acme", "day", used, 1000)

	// an answer that goes on without its client is charged in full
	c.WriteConfig(tenants, up.Chain("on_disconnect continue"))
	c.Reload()
	bob := harness.NewClient(c, "globex", "bob")
	session = harness.NewSession()
	a = bob.Ask(session, "hi")
	call = up.Call()
	call.Say(pieces(2)...)
	a.Events().Text(strings.Repeat(tokenText, 2))
	a.GoAway()
	call.Say(pieces(2)...)
	call.Finish("stop")
	bob.WantLast(session, strings.Repeat(tokenText, 4), "complete")
	wantUsed(c, "globex", "day", harness.UpstreamTokensIn+harness.UpstreamTokensOut, 1000)
	if n := c.Metrics()[`caddy_chat_store_errors_total{op="reserve"}`] + c.Metrics()[`caddy_chat_store_errors_total{op="settle"}`]; n != 0 {
		t.Errorf("%v store errors were counted", n)
	}
}

// TestBudgetOfFailures has targets fail before, during and after the answer.
func TestBudgetOfFailures(t *testing.T) {
	t.Parallel()
	s := newBudgetSite(t, "budget 1000 tokens/day")
	const text = "Once upon a time"
	first := harness.Begins("Once ", "upon ")
	whole := harness.Says(11, 5, "On", "ce up", "on a ti", "me")
	for i, tc := range []struct {
		name     string
		one, two []harness.Script
		used     int
	}{
		{"a refused call", []harness.Script{harness.Refuses(400, "x")}, []harness.Script{whole}, 0},
		{"a failed call", []harness.Script{harness.Refuses(500, "x")}, []harness.Script{harness.Reset}, 0},
		{"a call cut before its answer", []harness.Script{harness.Steps(harness.Begins(), harness.Reset)}, []harness.Script{harness.HeaderOnly}, 0},
		{"a fallback", []harness.Script{harness.Refuses(500, "x"), harness.Reset}, []harness.Script{whole}, 16},
		{"a retry", []harness.Script{harness.Steps(harness.Begins(), harness.Reset), whole}, []harness.Script{harness.Reset}, 16},
		{"a rescued answer", []harness.Script{harness.Steps(first, harness.Reset), whole}, []harness.Script{harness.Reset}, 16},
		{"an answer rescued by another", []harness.Script{harness.Steps(first, harness.Reset), harness.Reset}, []harness.Script{whole}, 16},
		{"an answer that cannot be rescued", []harness.Script{harness.Steps(first, harness.Reset), harness.Says(12, 6, "Long ago")}, []harness.Script{harness.Says(12, 6, "Never")}, spending + 3},
		{"a document cut, and the retry refused", []harness.Script{harness.Steps(first, harness.Reset), harness.Refuses(400, "x")}, []harness.Script{whole}, 0},
		{"a document cut, and the fallback whole", []harness.Script{harness.Steps(first, harness.Reset), harness.Steps(first, harness.ErrorFrame)}, []harness.Script{whole}, 16},
	} {
		t.Run(tc.name, func(t *testing.T) {
			cl := harness.NewClient(s.C, manyTenants[i], "ann")
			s.one.Plays(tc.one...)
			s.two.Plays(tc.two...)
			a := cl.Complete(budgetQuestion("fast", 0, !strings.HasPrefix(tc.name, "a document")))
			if tc.used == 16 {
				a.WantText(t, text)
			}
			if tc.used == 0 {
				if n, _ := s.tokensOf(cl.Tenant); n != 0 || !s.fits(cl, 1000) {
					t.Errorf("the call cost %v tokens", n)
				}
				return
			}
			wantUsed(s.C, cl.Tenant, "day", float64(tc.used), 1000)
			s.wantLeft(cl, 1000-tc.used)
		})
	}
}
