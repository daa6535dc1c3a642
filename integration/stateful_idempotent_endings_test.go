package integration

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
)

// TestStatefulIdempotencyKeyEndings has turns that do not go well.
func TestStatefulIdempotencyKeyEndings(t *testing.T) {
	t.Parallel()
	up := newWireUpstream(t)
	for name, site := range statefulSites(up, "") {
		t.Run(name, func(t *testing.T) {
			c := startCaddy(t, plainTenants, site)
			ann := newClient(c, "acme", "ann")

			t.Run("a failure before the answer frees the key", func(t *testing.T) {
				for i, more := range []string{"", streamed} {
					session, key := newSession(), fmt.Sprint("failed-", i)
					body := userSays("go "+key, more)
					for _, tc := range []struct {
						status int
						body   string
					}{
						{500, `{"error":{"message":"down","code":"ai_error"}}`},
						{400, `{"error":{"message":"too odd","type":"invalid_request_error","code":"invalid_request"}}`},
					} {
						a := ann.rememberOnce(key, session, body, "X-Trace-Id", "trace-a")
						call := up.call()
						b := ann.rememberOnce(key, session, body, "X-Trace-Id", "trace-b")
						c.wantRides(map[bool]int{false: 2, true: 3}[name == "cached"])
						call.fail(tc.status, tc.body)
						for trace, x := range map[string]*asking{"trace-a": a, "trace-b": b} {
							got := x.whole()
							if got.status < tc.status || got.status > tc.status+2 || got.code == "" {
								t.Errorf("%d: %d %q", tc.status, got.status, got.frames)
							}
							if got.header.Get("X-Trace-Id") != trace || name != "proxy" && !strings.Contains(got.frames[0], trace) {
								t.Errorf("with %s: %v, %q", trace, got.header, got.frames)
							}
						}
					}
					a := ann.rememberOnce(key, session, body)
					up.call().answer("at last")
					if got := a.whole(); got.Text != "at last" {
						t.Errorf("%d %q", got.status, got.frames)
					}
					wantList(t, "history", contents(ann.history(session)), []string{"user: go " + key, "assistant: at last"})
				}
			})

			t.Run("and so it may be used with another body", func(t *testing.T) {
				session := newSession()
				a := ann.rememberOnce("freed", session, userSays("refused"))
				up.call().fail(400, `{"error":{"message":"too odd","type":"invalid_request_error"}}`)
				a.whole()
				a = ann.rememberOnce("freed", session, userSays("taken", streamed))
				up.call().answer("fine")
				a.whole()
				wantList(t, "history", contents(ann.history(session)), []string{"user: taken", "assistant: fine"})
			})

			t.Run("a failure after some of it is the answer", func(t *testing.T) {
				session, body := newSession(), userSays("cut", streamed)
				a := ann.rememberOnce("cut", session, body)
				call := up.call()
				call.event(chunkOf(`{"role":"assistant","content":"half"}`))
				r1 := a.ride()
				r1.text("half")
				r2 := ann.rememberOnce("cut", session, body).ride()
				r2.text("half")
				call.abort()
				r1.rest().wantCut(t, "half", "ai_error")
				r2.rest().wantCut(t, "half", "ai_error")
				got := ann.rememberOnce("cut", session, body, "X-Trace-Id", "cut-again").whole()
				got.wantCut(t, "half", "ai_error")
				if last := got.frames[len(got.frames)-1]; !strings.Contains(last, "cut-again") {
					t.Errorf("it is told %s", last)
				}
				wantList(t, "history", contents(ann.history(session)), []string{"user: cut", "assistant: half"})
				ann.wantReused("cut", session, userSays("cut"))
			})

			t.Run("so is one that was cancelled", func(t *testing.T) {
				session, body := newSession(), userSays("cancelled", streamed)
				a := ann.rememberOnce("cancelled", session, body)
				call := up.call()
				call.event(chunkOf(`{"role":"assistant","content":"half"}`))
				r := a.ride()
				r.text("half")
				if !ann.cancelTurn(session) {
					t.Error("cancelled is false for a running turn")
				}
				call.wantGone()
				first := r.rest()
				got := ann.rememberOnce("cancelled", session, body).whole()
				if first.done || first.code == "" || got.done || got.code != first.code || got.Text != "half" {
					t.Errorf("first %q, then %q", first.frames, got.frames)
				}
				wantList(t, "history", contents(ann.history(session)), []string{"user: cancelled", "assistant: half"})
			})

			t.Run("a session that is deleted meanwhile keeps nothing", func(t *testing.T) {
				session, body := newSession(), userSays("deleted", streamed)
				a := ann.rememberOnce("deleted", session, body)
				call := up.call()
				call.event(chunkOf(`{"role":"assistant","content":"half"}`))
				r := a.ride()
				r.text("half")
				ann.do(http.MethodDelete, "/chat/"+session, nil).Body.Close()
				call.wantGone()
				r.rest()
				a = ann.rememberOnce("deleted", session, body)
				up.call().answer("anew")
				if got := a.whole(); got.Text != "anew" {
					t.Errorf("%d %q", got.status, got.frames)
				}
				wantList(t, "history", contents(ann.history(session)), []string{"user: deleted", "assistant: anew"})
			})
			up.wantNoCall()
		})
	}
}

// TestStatefulIdempotencyKeyLeft has the clients leave where that ends a turn.
func TestStatefulIdempotencyKeyLeft(t *testing.T) {
	t.Parallel()
	up := newWireUpstream(t)
	for name, site := range statefulSites(up, "on_disconnect cancel") {
		t.Run(name, func(t *testing.T) {
			c := startCaddy(t, plainTenants, site)
			ann := newClient(c, "acme", "ann")
			session, body := newSession(), userSays("left", streamed)
			first := ann.rememberOnce("left", session, body)
			call := up.call()
			call.event(chunkOf(`{"role":"assistant","content":"One"}`))
			r1 := first.ride()
			r1.text("One")
			r2 := ann.rememberOnce("left", session, body).ride()
			r2.text("One")

			// the second one is still there
			r1.ask.goAway()
			call.event(chunkOf(`{"content":" two"}`))
			r2.text("One two")
			r2.ask.goAway()
			call.wantGone()
			ann.wantLast(session, "One two", "partial")

			var again *asking
			eventually(t, "the session and the key are free", func() bool {
				again = ann.rememberOnce("left", session, body)
				select {
				case call = <-up.calls:
					return true
				case resp := <-again.resp:
					readAll(t, resp)
					return false
				}
			})
			call.answer("whole")
			if got := again.whole(); got.Text != "whole" {
				t.Errorf("%d %q", got.status, got.frames)
			}
		})
	}
}

// TestStatefulIdempotencyKeyCharset has an upstream that names its charset:
// every chunk is passed on as it comes all the same.
func TestStatefulIdempotencyKeyCharset(t *testing.T) {
	t.Parallel()
	up := newWireUpstream(t)
	c := startCaddy(t, plainTenants, up.proxied(""))
	ann := newClient(c, "acme", "ann")
	session, body := newSession(), userSays("go", streamed)
	a := ann.rememberOnce("charset", session, body)
	call := up.call()
	call.write("text/event-stream; charset=utf-8", "data: "+chunkOf(`{"content":"One"}`)+"\n\n")
	b := ann.rememberOnce("charset", session, body)
	for _, x := range []*asking{a, b} {
		buf := make([]byte, 4096)
		if n, err := x.answer().Body.Read(buf); err != nil || !strings.Contains(string(buf[:n]), "One") {
			t.Errorf("%q, %v", buf[:n], err)
		}
	}
	call.stream(endOf("stop"))
}
