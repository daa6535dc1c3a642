package integration

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/caddy-chat/caddy-chat/modules/sse"
)

// flightSite is a gateway with a cache before an upstream that the test
// steers; it waits as long as the test does.
func flightSite(up *Steered, more ...string) string {
	f := &FakeProvider{URL: up.URL}
	return CacheSite(f, append(more, "response_timeout 10m", "first_token_timeout 10m", "stall_timeout 10m")...)
}

// waiting counts requests whose answer is on its way, or being waited for.
func (c *Caddy) waiting() int { return c.goroutinesIn("sharedanswer.(*Flight).ride(") }

// goroutinesIn counts the goroutines that are in a function.
func (c *Caddy) goroutinesIn(name string) int {
	c.T.Helper()
	resp, err := http.Get(c.Admin + "/debug/pprof/goroutine?debug=2")
	if err != nil {
		c.T.Fatal(err)
	}
	n := 0
	for g := range strings.SplitSeq(ReadAll(c.T, resp), "\n\n") {
		if strings.Contains(g, name) {
			n++
		}
	}
	return n
}

// WantWaiting waits until so many requests wait for their answers.
func (c *Caddy) WantWaiting(want int) {
	c.T.Helper()
	Eventually(c.T, fmt.Sprintf("%d requests ride", want), func() bool { return c.waiting() == want })
}

// WantNothingLeft waits until nothing of the gateway's runs any more.
func (c *Caddy) WantNothingLeft() {
	c.T.Helper()
	Eventually(c.T, "no goroutine is left", func() bool {
		return c.goroutinesIn("modules/aigateway.")+c.goroutinesIn("modules/sharedanswer.") == 0
	})
}

// CompletionStream is a stream of completions that is being read.
type CompletionStream struct {
	Completion
	t    testing.TB
	resp *http.Response
	dec  *sse.Decoder
	Ask  *Pending
}

// StartCompletion asks for a completion, whose answer may not have begun.
func (c *Client) StartCompletion(q any, header ...string) *Pending {
	c.T.Helper()
	return c.Start(c.Request(http.MethodPost, CompletionsPath, q, header...))
}

// Stream waits for the stream to begin.
func (a *Pending) Stream() *CompletionStream {
	a.t.Helper()
	resp := a.Answer()
	if resp.Header.Get("Content-Type") != "text/event-stream" {
		a.t.Fatalf("status %d: %s", resp.StatusCode, ReadAll(a.t, resp))
	}
	r := &CompletionStream{t: a.t, resp: resp, dec: sse.NewDecoder(resp.Body, 0), Ask: a}
	r.Status, r.Header = resp.StatusCode, resp.Header
	return r
}

// ReadText reads until that is the text so far.
func (r *CompletionStream) ReadText(want string) {
	r.t.Helper()
	for r.Text != want {
		if !r.next() || !strings.HasPrefix(want, r.Text) {
			r.t.Fatalf("the text is %q, want %q", r.Text, want)
		}
	}
}

func (r *CompletionStream) next() bool {
	r.t.Helper()
	ev, err := r.dec.Next()
	if err != nil {
		if !errors.Is(err, io.EOF) {
			r.t.Errorf("reading the stream: %v", err)
		}
		r.resp.Body.Close()
		return false
	}
	r.frame(r.t, string(ev.Data))
	return true
}

// Rest reads the stream to its end.
func (r *CompletionStream) Rest() *Completion {
	r.t.Helper()
	for r.next() {
	}
	return &r.Completion
}

// coalesced has n clients of one tenant follow one answer that has begun with
// "One". The first of them leads.
func coalesced(c *Caddy, up *Steered, n int, header ...string) ([]*CompletionStream, *UpstreamCall) {
	c.T.Helper()
	q := NewQuestion("fast").Streamed()
	var list []*CompletionStream
	var call *UpstreamCall
	for i := range n {
		cl := NewClient(c, "globex", fmt.Sprint("user-", i))
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
	up := NewSteered(t)
	c := Start(t, CacheTenants, flightSite(up))

	t.Run("every client gets every chunk as it comes", func(t *testing.T) {
		list, call := coalesced(c, up, 5)
		for i, r := range list {
			want := "hit"
			if i == 0 {
				want = "miss"
			}
			wantCache(t, r.Header, want)
			WantHeader(t, r.Header, map[string]string{
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
			`caddy_ai_tokens_total{model="fast",provider="openai",tenant="globex",type="output"}`: UpstreamTokensOut,
			`caddy_ai_requests_total{code="200",model="fast",provider="openai",tenant="globex"}`:  1,
			`caddy_chat_requests_total{code="200",tenant="globex"}`:                               5,
			`caddy_chat_open_streams{tenant="globex"}`:                                            0,
		})
		a := NewClient(c, "globex", "late").Complete(NewQuestion("fast").Streamed())
		wantCache(t, a.Header, "hit")
		a.WantWhole(t, "One two three")
		c.WantNothingLeft()
	})
}

// TestCoalescedEndings has streams that are given up, cut or fail. Each has a
// server of its own, since what is whole is kept.
func TestCoalescedEndings(t *testing.T) {
	t.Parallel()
	up := NewSteered(t)
	c := Start(t, CacheTenants, flightSite(up))

	t.Run("all are gone", func(t *testing.T) {
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
		again := NewClient(c, "globex", "ann").StartCompletion(NewQuestion("fast").Streamed())
		call = up.Call()
		call.Fail(http.StatusInternalServerError, "{}")
		WantFailure(t, again.Answer(), http.StatusBadGateway, "ai_error")
	})

	t.Run("all are gone before the first token", func(t *testing.T) {
		var list []*Pending
		for range 3 {
			list = append(list, NewClient(c, "globex", "ann").StartCompletion(NewQuestion("fast").Streamed()))
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
		for _, q := range []Question{NewQuestion("fast").Streamed(), NewQuestion("fast")} {
			var list []*Pending
			for i := range 3 {
				list = append(list, NewClient(c, "globex", "ann").StartCompletion(q, "X-Trace-Id", fmt.Sprint("trace-", i)))
			}
			call := up.Call()
			c.WantWaiting(3)
			call.Fail(http.StatusTooManyRequests, `{"error":{"message":"slow down"}}`)
			for i, a := range list {
				resp := a.Answer()
				WantHeader(t, resp.Header, map[string]string{"X-Trace-Id": fmt.Sprint("trace-", i), "Retry-After": "#", HeaderCache: "miss"})
				if f := WantFailure(t, resp, http.StatusTooManyRequests, "provider_rate_limited"); f.TraceID2 != fmt.Sprint("trace-", i) {
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
				t.Errorf("client %d is told %s", i, last)
			}
		}
		c.WantNothingLeft()
	})

	t.Run("a turn is cancelled while others follow its answer", func(t *testing.T) {
		ann, bob := NewClient(c, "globex", "ann"), NewClient(c, "globex", "bob")
		mine, his := NewSession(), NewSession()
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
		WantList(t, "history", Contents(bob.History(his)), []string{"user: shared", "assistant: One two"})
		c.WantNothingLeft()
	})

	t.Run("the first client is gone", func(t *testing.T) {
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
		a := NewClient(c, "globex", "late").Complete(NewQuestion("fast").Streamed())
		wantCache(t, a.Header, "hit")
		a.WantWhole(t, "One two")
		c.WantNothingLeft()
	})
}

// TestCoalescedFresh has a client that wants no earlier answer, also not one
// that is on its way.
func TestCoalescedFresh(t *testing.T) {
	t.Parallel()
	up := NewSteered(t)
	c := Start(t, CacheTenants, flightSite(up))
	q := NewQuestion("fast").Streamed()
	old, call := coalesced(c, up, 2)

	fresh := NewClient(c, "globex", "ann").StartCompletion(q, "Cache-Control", "no-cache")
	freshCall := up.Call()
	freshCall.Say("New")
	freshRide := fresh.Stream()
	freshRide.ReadText("New")
	wantCache(t, freshRide.Header, "miss")
	joined := NewClient(c, "globex", "bob").StartCompletion(q).Stream()
	joined.ReadText("New")
	wantCache(t, joined.Header, "hit")
	freshCall.Finish("stop")
	freshRide.Rest().WantWhole(t, "New")
	joined.Rest().WantWhole(t, "New")

	// the older answer comes later, and does not take the newer one's place
	call.Finish("stop")
	for _, r := range old {
		r.Rest().WantWhole(t, "One")
	}
	if a := NewClient(c, "globex", "ann").Complete(q); a.Text != "New" {
		t.Errorf("kept is %q", a.Text)
	}
	c.WantNothingLeft()
}
