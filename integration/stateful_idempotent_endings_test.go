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
	up := NewWireUpstream(t)
	for name, site := range statefulSites(up, "") {
		t.Run(name, func(t *testing.T) {
			c := Start(t, PlainTenants, site)
			ann := NewClient(c, "acme", "ann")

			t.Run("a failure before the answer frees the key", func(t *testing.T) {
				for i, more := range []string{"", Streamed} {
					session, key := NewSession(), fmt.Sprint("failed-", i)
					body := UserSays("go "+key, more)
					for _, tc := range []struct {
						status int
						body   string
					}{
						{500, `{"error":{"message":"down","code":"ai_error"}}`},
						{400, `{"error":{"message":"too odd","type":"invalid_request_error","code":"invalid_request"}}`},
					} {
						a := ann.rememberOnce(key, session, body, "X-Trace-Id", "trace-a")
						call := up.Call()
						b := ann.rememberOnce(key, session, body, "X-Trace-Id", "trace-b")
						c.WantWaiting(map[bool]int{false: 2, true: 3}[name == "cached"])
						call.Fail(tc.status, tc.body)
						for trace, x := range map[string]*Pending{"trace-a": a, "trace-b": b} {
							got := x.Whole()
							if got.Status < tc.status || got.Status > tc.status+2 || got.Code == "" {
								t.Errorf("%d: %d %q", tc.status, got.Status, got.Frames)
							}
							if got.Header.Get("X-Trace-Id") != trace || name != "proxy" && !strings.Contains(got.Frames[0], trace) {
								t.Errorf("with %s: %v, %q", trace, got.Header, got.Frames)
							}
						}
					}
					a := ann.rememberOnce(key, session, body)
					up.Call().Answer("at last")
					if got := a.Whole(); got.Text != "at last" {
						t.Errorf("%d %q", got.Status, got.Frames)
					}
					WantList(t, "history", Contents(ann.History(session)), []string{"user: go " + key, "assistant: at last"})
				}
			})

			t.Run("and so it may be used with another body", func(t *testing.T) {
				session := NewSession()
				a := ann.rememberOnce("freed", session, UserSays("refused"))
				up.Call().Fail(400, `{"error":{"message":"too odd","type":"invalid_request_error"}}`)
				a.Whole()
				a = ann.rememberOnce("freed", session, UserSays("taken", Streamed))
				up.Call().Answer("fine")
				a.Whole()
				WantList(t, "history", Contents(ann.History(session)), []string{"user: taken", "assistant: fine"})
			})

			t.Run("a failure after some of it is the answer", func(t *testing.T) {
				session, body := NewSession(), UserSays("cut", Streamed)
				a := ann.rememberOnce("cut", session, body)
				call := up.Call()
				call.Event(ChunkOf(`{"role":"assistant","content":"half"}`))
				r1 := a.Stream()
				r1.ReadText("half")
				r2 := ann.rememberOnce("cut", session, body).Stream()
				r2.ReadText("half")
				call.Abort()
				r1.Rest().WantCut(t, "half", "ai_error")
				r2.Rest().WantCut(t, "half", "ai_error")
				got := ann.rememberOnce("cut", session, body, "X-Trace-Id", "cut-again").Whole()
				got.WantCut(t, "half", "ai_error")
				if last := got.Frames[len(got.Frames)-1]; !strings.Contains(last, "cut-again") {
					t.Errorf("it is told %s", last)
				}
				WantList(t, "history", Contents(ann.History(session)), []string{"user: cut", "assistant: half"})
				ann.wantReused("cut", session, UserSays("cut"))
			})

			t.Run("so is one that was cancelled", func(t *testing.T) {
				session, body := NewSession(), UserSays("cancelled", Streamed)
				a := ann.rememberOnce("cancelled", session, body)
				call := up.Call()
				call.Event(ChunkOf(`{"role":"assistant","content":"half"}`))
				r := a.Stream()
				r.ReadText("half")
				if !ann.CancelTurn(session) {
					t.Error("cancelled is false for a running turn")
				}
				call.WantGone()
				first := r.Rest()
				got := ann.rememberOnce("cancelled", session, body).Whole()
				if first.Done || first.Code == "" || got.Done || got.Code != first.Code || got.Text != "half" {
					t.Errorf("first %q, then %q", first.Frames, got.Frames)
				}
				WantList(t, "history", Contents(ann.History(session)), []string{"user: cancelled", "assistant: half"})
			})

			t.Run("a session that is deleted meanwhile keeps nothing", func(t *testing.T) {
				session, body := NewSession(), UserSays("deleted", Streamed)
				a := ann.rememberOnce("deleted", session, body)
				call := up.Call()
				call.Event(ChunkOf(`{"role":"assistant","content":"half"}`))
				r := a.Stream()
				r.ReadText("half")
				ann.Do(http.MethodDelete, "/chat/"+session, nil).Body.Close()
				call.WantGone()
				r.Rest()
				a = ann.rememberOnce("deleted", session, body)
				up.Call().Answer("anew")
				if got := a.Whole(); got.Text != "anew" {
					t.Errorf("%d %q", got.Status, got.Frames)
				}
				WantList(t, "history", Contents(ann.History(session)), []string{"user: deleted", "assistant: anew"})
			})
			up.wantNoCall()
		})
	}
}

// TestStatefulIdempotencyKeyLeft has the clients leave where that ends a turn.
func TestStatefulIdempotencyKeyLeft(t *testing.T) {
	t.Parallel()
	up := NewWireUpstream(t)
	for name, site := range statefulSites(up, "on_disconnect cancel") {
		t.Run(name, func(t *testing.T) {
			c := Start(t, PlainTenants, site)
			ann := NewClient(c, "acme", "ann")
			session, body := NewSession(), UserSays("left", Streamed)
			first := ann.rememberOnce("left", session, body)
			call := up.Call()
			call.Event(ChunkOf(`{"role":"assistant","content":"One"}`))
			r1 := first.Stream()
			r1.ReadText("One")
			r2 := ann.rememberOnce("left", session, body).Stream()
			r2.ReadText("One")

			// the second one is still there
			r1.Ask.GoAway()
			call.Event(ChunkOf(`{"content":" two"}`))
			r2.ReadText("One two")
			r2.Ask.GoAway()
			call.WantGone()
			ann.WantLast(session, "One two", "partial")

			var again *Pending
			Eventually(t, "the session and the key are free", func() bool {
				again = ann.rememberOnce("left", session, body)
				select {
				case call = <-up.Calls:
					return true
				case resp := <-again.Resp:
					ReadAll(t, resp)
					return false
				}
			})
			call.Answer("whole")
			if got := again.Whole(); got.Text != "whole" {
				t.Errorf("%d %q", got.Status, got.Frames)
			}
		})
	}
}

// TestStatefulIdempotencyKeyCharset has an upstream that names its charset:
// every chunk is passed on as it comes all the same.
func TestStatefulIdempotencyKeyCharset(t *testing.T) {
	t.Parallel()
	up := NewWireUpstream(t)
	c := Start(t, PlainTenants, up.Proxied(""))
	ann := NewClient(c, "acme", "ann")
	session, body := NewSession(), UserSays("go", Streamed)
	a := ann.rememberOnce("charset", session, body)
	call := up.Call()
	call.Write("text/event-stream; charset=utf-8", "data: "+ChunkOf(`{"content":"One"}`)+"\n\n")
	b := ann.rememberOnce("charset", session, body)
	for _, x := range []*Pending{a, b} {
		buf := make([]byte, 4096)
		if n, err := x.Answer().Body.Read(buf); err != nil || !strings.Contains(string(buf[:n]), "One") {
			t.Errorf("%q, %v", buf[:n], err)
		}
	}
	call.Stream(EndOf("stop"))
}
