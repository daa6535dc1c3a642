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
func flightSite(up *steered, more ...string) string {
	f := &fakeProvider{url: up.url}
	return cacheSite(f, append(more, "response_timeout 10m", "first_token_timeout 10m", "stall_timeout 10m")...)
}

// rides counts requests whose answer is on its way, or being waited for.
func (c *caddyProcess) rides() int { return c.goroutinesIn("sharedanswer.(*Flight).ride(") }

// goroutinesIn counts the goroutines that are in a function.
func (c *caddyProcess) goroutinesIn(name string) int {
	c.t.Helper()
	resp, err := http.Get(c.admin + "/debug/pprof/goroutine?debug=2")
	if err != nil {
		c.t.Fatal(err)
	}
	n := 0
	for g := range strings.SplitSeq(readAll(c.t, resp), "\n\n") {
		if strings.Contains(g, name) {
			n++
		}
	}
	return n
}

// wantRides waits until so many requests wait for their answers.
func (c *caddyProcess) wantRides(want int) {
	c.t.Helper()
	eventually(c.t, fmt.Sprintf("%d requests ride", want), func() bool { return c.rides() == want })
}

// wantNothingLeft waits until nothing of the gateway's runs any more.
func (c *caddyProcess) wantNothingLeft() {
	c.t.Helper()
	eventually(c.t, "no goroutine is left", func() bool {
		return c.goroutinesIn("modules/aigateway.")+c.goroutinesIn("modules/sharedanswer.") == 0
	})
}

// riding is a stream of completions that is being read.
type riding struct {
	completion
	t    testing.TB
	resp *http.Response
	dec  *sse.Decoder
	ask  *asking
}

// startCompletion asks for a completion, whose answer may not have begun.
func (c *client) startCompletion(q any, header ...string) *asking {
	c.t.Helper()
	return c.start(c.request(http.MethodPost, completions, q, header...))
}

// ride waits for the stream to begin.
func (a *asking) ride() *riding {
	a.t.Helper()
	resp := a.answer()
	if resp.Header.Get("Content-Type") != "text/event-stream" {
		a.t.Fatalf("status %d: %s", resp.StatusCode, readAll(a.t, resp))
	}
	r := &riding{t: a.t, resp: resp, dec: sse.NewDecoder(resp.Body, 0), ask: a}
	r.status, r.header = resp.StatusCode, resp.Header
	return r
}

// text reads until that is the text so far.
func (r *riding) text(want string) {
	r.t.Helper()
	for r.Text != want {
		if !r.next() || !strings.HasPrefix(want, r.Text) {
			r.t.Fatalf("the text is %q, want %q", r.Text, want)
		}
	}
}

func (r *riding) next() bool {
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

// rest reads the stream to its end.
func (r *riding) rest() *completion {
	r.t.Helper()
	for r.next() {
	}
	return &r.completion
}

// coalesced has n clients of one tenant follow one answer that has begun with
// "One". The first of them leads.
func coalesced(c *caddyProcess, up *steered, n int, header ...string) ([]*riding, *upstreamCall) {
	c.t.Helper()
	q := newQuestion("fast").streamed()
	var list []*riding
	var call *upstreamCall
	for i := range n {
		cl := newClient(c, "globex", fmt.Sprint("user-", i))
		a := cl.startCompletion(q, append(header, "X-Trace-Id", fmt.Sprint("trace-", i))...)
		if i == 0 {
			call = up.call()
			call.say("One")
		}
		r := a.ride()
		r.text("One")
		list = append(list, r)
	}
	return list, call
}

func TestCoalescing(t *testing.T) {
	t.Parallel()
	up := newSteered(t)
	c := startCaddy(t, cacheTenants, flightSite(up))

	t.Run("every client gets every chunk as it comes", func(t *testing.T) {
		list, call := coalesced(c, up, 5)
		for i, r := range list {
			want := "hit"
			if i == 0 {
				want = "miss"
			}
			wantCache(t, r.header, want)
			wantHeader(t, r.header, map[string]string{
				"X-Trace-Id": fmt.Sprint("trace-", i), "X-Tenant-Id": "globex", "X-Model-Id": "fast",
				"X-Ai-Provider": "openai", "X-Ai-Attempts": "1", "Cache-Control": "no-cache",
			})
		}
		if open := c.metrics()[`caddy_chat_open_streams{tenant="globex"}`]; open != 5 {
			t.Errorf("%v open streams, want 5", open)
		}
		for _, text := range []string{" two", " three"} {
			call.say(text)
			for _, r := range list {
				r.text(r.Text + text)
			}
		}
		call.finish("stop")
		for _, r := range list {
			r.rest().wantWhole(t, "One two three")
		}
		if len(up.calls) > 0 {
			t.Error("the upstream is called again")
		}
		c.wantMetrics(map[string]float64{
			`caddy_ai_cache_total{result="miss",tenant="globex"}`:                                 1,
			`caddy_ai_cache_total{result="hit",tenant="globex"}`:                                  4,
			`caddy_ai_tokens_total{model="fast",provider="openai",tenant="globex",type="output"}`: upstreamTokensOut,
			`caddy_ai_requests_total{code="200",model="fast",provider="openai",tenant="globex"}`:  1,
			`caddy_chat_requests_total{code="200",tenant="globex"}`:                               5,
			`caddy_chat_open_streams{tenant="globex"}`:                                            0,
		})
		a := newClient(c, "globex", "late").complete(newQuestion("fast").streamed())
		wantCache(t, a.header, "hit")
		a.wantWhole(t, "One two three")
		c.wantNothingLeft()
	})
}

// TestCoalescedEndings has streams that are given up, cut or fail. Each has a
// server of its own, since what is whole is kept.
func TestCoalescedEndings(t *testing.T) {
	t.Parallel()
	up := newSteered(t)
	c := startCaddy(t, cacheTenants, flightSite(up))

	t.Run("all are gone", func(t *testing.T) {
		list, call := coalesced(c, up, 3)
		for _, r := range list {
			select {
			case <-call.gone:
				t.Fatal("the call ended while there were clients")
			default:
			}
			r.ask.goAway()
		}
		call.wantGone()
		c.wantNothingLeft()
		c.wantMetrics(map[string]float64{`caddy_ai_attempts_total{model="fast",provider="openai",result="aborted"}`: 1})
		again := newClient(c, "globex", "ann").startCompletion(newQuestion("fast").streamed())
		call = up.call()
		call.fail(http.StatusInternalServerError, "{}")
		wantFailure(t, again.answer(), http.StatusBadGateway, "ai_error")
	})

	t.Run("all are gone before the first token", func(t *testing.T) {
		var list []*asking
		for range 3 {
			list = append(list, newClient(c, "globex", "ann").startCompletion(newQuestion("fast").streamed()))
		}
		call := up.call()
		c.wantRides(3)
		for _, a := range list {
			a.goAway()
		}
		call.wantGone()
		c.wantNothingLeft()
	})

	t.Run("the upstream fails before the first token", func(t *testing.T) {
		for _, q := range []question{newQuestion("fast").streamed(), newQuestion("fast")} {
			var list []*asking
			for i := range 3 {
				list = append(list, newClient(c, "globex", "ann").startCompletion(q, "X-Trace-Id", fmt.Sprint("trace-", i)))
			}
			call := up.call()
			c.wantRides(3)
			call.fail(http.StatusTooManyRequests, `{"error":{"message":"slow down"}}`)
			for i, a := range list {
				resp := a.answer()
				wantHeader(t, resp.Header, map[string]string{"X-Trace-Id": fmt.Sprint("trace-", i), "Retry-After": "#", headerCache: "miss"})
				if f := wantFailure(t, resp, http.StatusTooManyRequests, "provider_rate_limited"); f.TraceID2 != fmt.Sprint("trace-", i) {
					t.Errorf("trace_id %q, want that of client %d", f.TraceID2, i)
				}
			}
			c.wantNothingLeft()
		}
	})

	t.Run("the upstream breaks off", func(t *testing.T) {
		list, call := coalesced(c, up, 3)
		call.cut()
		for i, r := range list {
			a := r.rest()
			a.wantCut(t, "One", "ai_error")
			if last := a.frames[len(a.frames)-1]; !strings.Contains(last, fmt.Sprintf(`"trace_id":"trace-%d"`, i)) {
				t.Errorf("client %d is told %s", i, last)
			}
		}
		c.wantNothingLeft()
	})

	t.Run("a turn is cancelled while others follow its answer", func(t *testing.T) {
		ann, bob := newClient(c, "globex", "ann"), newClient(c, "globex", "bob")
		mine, his := newSession(), newSession()
		a := ann.ask(mine, "shared")
		call := up.call()
		call.say("One")
		annEvents := a.events()
		annEvents.text("One")
		bobEvents := bob.ask(his, "shared").events()
		bobEvents.text("One")

		if !ann.cancelTurn(mine) {
			t.Error("the turn is not running")
		}
		if end := annEvents.rest(); end.done == nil || end.done.FinishReason != "cancelled" {
			t.Fatalf("the cancelled turn ended with %+v", end.events)
		}
		next := ann.ask(mine, "go on")
		up.call().finish("stop") // the session is free
		next.events().rest()

		call.say(" two")
		call.finish("stop")
		if end := bobEvents.rest(); end.text != " two" || end.done == nil || end.done.FinishReason != "stop" {
			t.Errorf("the other turn ended with %+v", end.events)
		}
		wantList(t, "history", contents(bob.history(his)), []string{"user: shared", "assistant: One two"})
		c.wantNothingLeft()
	})

	t.Run("the first client is gone", func(t *testing.T) {
		list, call := coalesced(c, up, 3)
		list[0].ask.goAway()
		c.wantRides(2)
		call.say(" two")
		for _, r := range list[1:] {
			r.text("One two")
		}
		call.finish("stop")
		for _, r := range list[1:] {
			r.rest().wantWhole(t, "One two")
		}
		a := newClient(c, "globex", "late").complete(newQuestion("fast").streamed())
		wantCache(t, a.header, "hit")
		a.wantWhole(t, "One two")
		c.wantNothingLeft()
	})
}

// TestCoalescedFresh has a client that wants no earlier answer, also not one
// that is on its way.
func TestCoalescedFresh(t *testing.T) {
	t.Parallel()
	up := newSteered(t)
	c := startCaddy(t, cacheTenants, flightSite(up))
	q := newQuestion("fast").streamed()
	old, call := coalesced(c, up, 2)

	fresh := newClient(c, "globex", "ann").startCompletion(q, "Cache-Control", "no-cache")
	freshCall := up.call()
	freshCall.say("New")
	freshRide := fresh.ride()
	freshRide.text("New")
	wantCache(t, freshRide.header, "miss")
	joined := newClient(c, "globex", "bob").startCompletion(q).ride()
	joined.text("New")
	wantCache(t, joined.header, "hit")
	freshCall.finish("stop")
	freshRide.rest().wantWhole(t, "New")
	joined.rest().wantWhole(t, "New")

	// the older answer comes later, and does not take the newer one's place
	call.finish("stop")
	for _, r := range old {
		r.rest().wantWhole(t, "One")
	}
	if a := newClient(c, "globex", "ann").complete(q); a.Text != "New" {
		t.Errorf("kept is %q", a.Text)
	}
	c.wantNothingLeft()
}
