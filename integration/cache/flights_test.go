package cache

import (
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/caddy-chat/caddy-chat/integration/harness"
)

// flightSite is a gateway with a cache in front of an upstream that the test
// controls. Its timeouts are longer than any test.
func flightSite(up *harness.Upstream, more ...string) string {
	return harness.CacheSite(up, append(more, "response_timeout 10m", "first_token_timeout 10m", "stall_timeout 10m")...)
}

// coalesced has n clients of one tenant share an answer that has begun with
// "One". The first of them leads.
func coalesced(c *harness.Caddy, up *harness.Upstream, n int, header ...string) ([]*harness.CompletionStream, *harness.HeldCall) {
	c.T.Helper()
	q := harness.NewQuestion("fast").Streamed()
	var list []*harness.CompletionStream
	var call *harness.HeldCall
	for i := range n {
		cl := harness.NewClient(c, "globex", fmt.Sprint("user-", i))
		a := cl.StartCompletion(q, append(header, "X-Trace-Id", fmt.Sprint("trace-", i))...)
		if i == 0 {
			call = up.Call()
			call.Say("One")
		}
		r := a.Stream()
		r.ReadText("One")
		list = append(list, r)
	}
	return list, call
}

func TestCoalescing(t *testing.T) {
	t.Parallel()
	up := harness.NewUpstream(t)
	c := harness.Start(t, harness.CacheTenants, flightSite(up))

	t.Run("every client gets every chunk as it comes", func(t *testing.T) {
		list, call := coalesced(c, up, 5)
		for i, r := range list {
			want := "hit"
			if i == 0 {
				want = "miss"
			}
			wantCache(t, r.Header, want)
			harness.WantHeader(t, r.Header, map[string]string{
				"X-Trace-Id": fmt.Sprint("trace-", i), "X-Tenant-Id": "globex", "X-Model-Id": "fast",
				"X-Ai-Provider": "openai", "X-Ai-Attempts": "1", "Cache-Control": "no-cache",
			})
		}
		if open := c.Metrics()[`caddy_chat_open_streams{tenant="globex"}`]; open != 5 {
			t.Errorf("%v open streams, want 5", open)
		}
		for _, text := range []string{" two", " three"} {
			call.Say(text)
			for _, r := range list {
				r.ReadText(r.Text + text)
			}
		}
		call.Finish("stop")
		for _, r := range list {
			r.Rest().WantWhole(t, "One two three")
		}
		if len(up.Calls) > 0 {
			t.Error("the upstream is called again")
		}
		c.WantMetrics(map[string]float64{
			`caddy_ai_cache_total{result="miss",tenant="globex"}`:                                 1,
			`caddy_ai_cache_total{result="hit",tenant="globex"}`:                                  4,
			`caddy_ai_tokens_total{model="fast",provider="openai",tenant="globex",type="output"}`: harness.UpstreamTokensOut,
			`caddy_ai_requests_total{code="200",model="fast",provider="openai",tenant="globex"}`:  1,
			`caddy_chat_requests_total{code="200",tenant="globex"}`:                               5,
			`caddy_chat_open_streams{tenant="globex"}`:                                            0,
		})
		a := harness.NewClient(c, "globex", "late").Complete(harness.NewQuestion("fast").Streamed())
		wantCache(t, a.Header, "hit")
		a.WantWhole(t, "One two three")
		c.WantNothingLeft()
	})
}

// TestCoalescedEndings has shared streams that are abandoned, cut or fail. The
// test that completes an answer comes last, since a complete answer is cached.
func TestCoalescedEndings(t *testing.T) {
	t.Parallel()
	up := harness.NewUpstream(t)
	c := harness.Start(t, harness.CacheTenants, flightSite(up))

	t.Run("all clients leave", func(t *testing.T) {
		list, call := coalesced(c, up, 3)
		for _, r := range list {
			select {
			case <-call.Gone:
				t.Fatal("the call ended while there were clients")
			default:
			}
			r.Ask.GoAway()
		}
		call.WantGone()
		c.WantNothingLeft()
		c.WantMetrics(map[string]float64{`caddy_ai_attempts_total{model="fast",provider="openai",result="aborted"}`: 1})
		again := harness.NewClient(c, "globex", "ann").StartCompletion(harness.NewQuestion("fast").Streamed())
		call = up.Call()
		call.Fail(http.StatusInternalServerError, "{}")
		harness.WantFailure(t, again.Answer(), http.StatusBadGateway, "ai_error")
	})

	t.Run("all clients leave before the first token", func(t *testing.T) {
		var list []*harness.Pending
		for range 3 {
			list = append(list, harness.NewClient(c, "globex", "ann").StartCompletion(harness.NewQuestion("fast").Streamed()))
		}
		call := up.Call()
		c.WantWaiting(3)
		for _, a := range list {
			a.GoAway()
		}
		call.WantGone()
		c.WantNothingLeft()
	})

	t.Run("the upstream fails before the first token", func(t *testing.T) {
		for _, q := range []harness.Question{harness.NewQuestion("fast").Streamed(), harness.NewQuestion("fast")} {
			var list []*harness.Pending
			for i := range 3 {
				list = append(list, harness.NewClient(c, "globex", "ann").StartCompletion(q, "X-Trace-Id", fmt.Sprint("trace-", i)))
			}
			call := up.Call()
			c.WantWaiting(3)
			call.Fail(http.StatusTooManyRequests, `{"error":{"message":"slow down"}}`)
			for i, a := range list {
				resp := a.Answer()
				harness.WantHeader(t, resp.Header, map[string]string{"X-Trace-Id": fmt.Sprint("trace-", i), "Retry-After": "#", harness.HeaderCache: "miss"})
				if f := harness.WantFailure(t, resp, http.StatusTooManyRequests, "provider_rate_limited"); f.TraceID2 != fmt.Sprint("trace-", i) {
					t.Errorf("trace_id %q, want that of client %d", f.TraceID2, i)
				}
			}
			c.WantNothingLeft()
		}
	})

	t.Run("the upstream breaks off", func(t *testing.T) {
		list, call := coalesced(c, up, 3)
		call.Cut()
		for i, r := range list {
			a := r.Rest()
			a.WantCut(t, "One", "ai_error")
			if last := a.Frames[len(a.Frames)-1]; !strings.Contains(last, fmt.Sprintf(`"trace_id":"trace-%d"`, i)) {
				t.Errorf("client %d got %s", i, last)
			}
		}
		c.WantNothingLeft()
	})

	t.Run("a turn is cancelled while others follow its answer", func(t *testing.T) {
		ann, bob := harness.NewClient(c, "globex", "ann"), harness.NewClient(c, "globex", "bob")
		mine, his := harness.NewSession(), harness.NewSession()
		a := ann.Ask(mine, "shared")
		call := up.Call()
		call.Say("One")
		annEvents := a.Events()
		annEvents.Text("One")
		bobEvents := bob.Ask(his, "shared").Events()
		bobEvents.Text("One")

		if !ann.CancelTurn(mine) {
			t.Error("the turn is not running")
		}
		if end := annEvents.Rest(); end.Done == nil || end.Done.FinishReason != "cancelled" {
			t.Fatalf("the cancelled turn ended with %+v", end.Events)
		}
		next := ann.Ask(mine, "go on")
		up.Call().Finish("stop") // the session is free
		next.Events().Rest()

		call.Say(" two")
		call.Finish("stop")
		if end := bobEvents.Rest(); end.Text != " two" || end.Done == nil || end.Done.FinishReason != "stop" {
			t.Errorf("the other turn ended with %+v", end.Events)
		}
		harness.WantList(t, "history", harness.Contents(bob.History(his)), []string{"user: shared", "assistant: One two"})
		c.WantNothingLeft()
	})

	t.Run("the first client leaves", func(t *testing.T) {
		list, call := coalesced(c, up, 3)
		list[0].Ask.GoAway()
		c.WantWaiting(2)
		call.Say(" two")
		for _, r := range list[1:] {
			r.ReadText("One two")
		}
		call.Finish("stop")
		for _, r := range list[1:] {
			r.Rest().WantWhole(t, "One two")
		}
		a := harness.NewClient(c, "globex", "late").Complete(harness.NewQuestion("fast").Streamed())
		wantCache(t, a.Header, "hit")
		a.WantWhole(t, "One two")
		c.WantNothingLeft()
	})
}

// TestCoalescedFresh has a client that wants a new answer, not even one that is
// in progress.
func TestCoalescedFresh(t *testing.T) {
	t.Parallel()
	up := harness.NewUpstream(t)
	c := harness.Start(t, harness.CacheTenants, flightSite(up))
	q := harness.NewQuestion("fast").Streamed()
	old, call := coalesced(c, up, 2)

	fresh := harness.NewClient(c, "globex", "ann").StartCompletion(q, "Cache-Control", "no-cache")
	freshCall := up.Call()
	freshCall.Say("New")
	freshStream := fresh.Stream()
	freshStream.ReadText("New")
	wantCache(t, freshStream.Header, "miss")
	joined := harness.NewClient(c, "globex", "bob").StartCompletion(q).Stream()
	joined.ReadText("New")
	wantCache(t, joined.Header, "hit")
	freshCall.Finish("stop")
	freshStream.Rest().WantWhole(t, "New")
	joined.Rest().WantWhole(t, "New")

	// the older answer ends later, and does not replace the newer one
	call.Finish("stop")
	for _, r := range old {
		r.Rest().WantWhole(t, "One")
	}
	if a := harness.NewClient(c, "globex", "ann").Complete(q); a.Text != "New" {
		t.Errorf("the cache holds %q", a.Text)
	}
	c.WantNothingLeft()
}
