package idempotency

import (
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/caddy-chat/caddy-chat/integration/harness"
)

// TestStatefulIdempotencyKeyEndings has turns that do not go well.
func TestStatefulIdempotencyKeyEndings(t *testing.T) {
	t.Parallel()
	up := harness.NewUpstream(t)
	for name, site := range statefulSites(up, "") {
		t.Run(name, func(t *testing.T) {
			c := harness.Start(t, harness.PlainTenants, site)
			ann := harness.NewClient(c, "acme", "ann")

			t.Run("a failure before the answer frees the key", func(t *testing.T) {
				for i, more := range []string{"", harness.Streamed} {
					session, key := harness.NewSession(), fmt.Sprint("failed-", i)
					body := harness.UserSays("go "+key, more)
					for _, tc := range []struct {
						status int
						body   string
					}{
						{500, `{"error":{"message":"down","code":"ai_error"}}`},
						{400, `{"error":{"message":"too odd","type":"invalid_request_error","code":"invalid_request"}}`},
					} {
						a := rememberOnce(ann, key, session, body, "X-Trace-Id", "trace-a")
						call := up.Call()
						b := rememberOnce(ann, key, session, body, "X-Trace-Id", "trace-b")
						c.WantFollowing(1)
						call.Fail(tc.status, tc.body)
						for trace, x := range map[string]*harness.Pending{"trace-a": a, "trace-b": b} {
							got := x.Whole()
							if got.Status < tc.status || got.Status > tc.status+2 || got.Code == "" {
								t.Errorf("%d: %d %q", tc.status, got.Status, got.Frames)
							}
							if got.Header.Get("X-Trace-Id") != trace || name != "proxy" && !strings.Contains(got.Frames[0], trace) {
								t.Errorf("with %s: %v, %q", trace, got.Header, got.Frames)
							}
						}
					}
					a := rememberOnce(ann, key, session, body)
					up.Call().Answer("at last")
					if got := a.Whole(); got.Text != "at last" {
						t.Errorf("%d %q", got.Status, got.Frames)
					}
					harness.WantList(t, "history", harness.Contents(ann.History(session)), []string{"user: go " + key, "assistant: at last"})
				}
			})

			t.Run("and so it may be used with another body", func(t *testing.T) {
				session := harness.NewSession()
				a := rememberOnce(ann, "freed", session, harness.UserSays("refused"))
				up.Call().Fail(400, `{"error":{"message":"too odd","type":"invalid_request_error"}}`)
				a.Whole()
				a = rememberOnce(ann, "freed", session, harness.UserSays("taken", harness.Streamed))
				up.Call().Answer("fine")
				a.Whole()
				harness.WantList(t, "history", harness.Contents(ann.History(session)), []string{"user: taken", "assistant: fine"})
			})

			t.Run("a failure after some of it is the answer", func(t *testing.T) {
				session, body := harness.NewSession(), harness.UserSays("cut", harness.Streamed)
				a := rememberOnce(ann, "cut", session, body)
				call := up.Call()
				call.Event(harness.ChunkOf(`{"role":"assistant","content":"half"}`))
				r1 := a.Stream()
				r1.ReadText("half")
				r2 := rememberOnce(ann, "cut", session, body).Stream()
				r2.ReadText("half")
				call.Abort()
				r1.Rest().WantCut(t, "half", "ai_error")
				r2.Rest().WantCut(t, "half", "ai_error")
				got := rememberOnce(ann, "cut", session, body, "X-Trace-Id", "cut-again").Whole()
				got.WantCut(t, "half", "ai_error")
				if last := got.Frames[len(got.Frames)-1]; !strings.Contains(last, "cut-again") {
					t.Errorf("it is told %s", last)
				}
				harness.WantList(t, "history", harness.Contents(ann.History(session)), []string{"user: cut", "assistant: half"})
				wantReused(ann, "cut", session, harness.UserSays("cut"))
			})

			t.Run("so is one that was cancelled", func(t *testing.T) {
				session, body := harness.NewSession(), harness.UserSays("cancelled", harness.Streamed)
				a := rememberOnce(ann, "cancelled", session, body)
				call := up.Call()
				call.Event(harness.ChunkOf(`{"role":"assistant","content":"half"}`))
				r := a.Stream()
				r.ReadText("half")
				if !ann.CancelTurn(session) {
					t.Error("cancelled is false for a running turn")
				}
				call.WantGone()
				first := r.Rest()
				got := rememberOnce(ann, "cancelled", session, body).Whole()
				if first.Done || first.Code == "" || got.Done || got.Code != first.Code || got.Text != "half" {
					t.Errorf("first %q, then %q", first.Frames, got.Frames)
				}
				harness.WantList(t, "history", harness.Contents(ann.History(session)), []string{"user: cancelled", "assistant: half"})
			})

			t.Run("a session that is deleted meanwhile keeps nothing", func(t *testing.T) {
				session, body := harness.NewSession(), harness.UserSays("deleted", harness.Streamed)
				a := rememberOnce(ann, "deleted", session, body)
				call := up.Call()
				call.Event(harness.ChunkOf(`{"role":"assistant","content":"half"}`))
				r := a.Stream()
				r.ReadText("half")
				ann.Do(http.MethodDelete, "/chat/"+session, nil).Body.Close()
				call.WantGone()
				r.Rest()
				a = rememberOnce(ann, "deleted", session, body)
				up.Call().Answer("anew")
				if got := a.Whole(); got.Text != "anew" {
					t.Errorf("%d %q", got.Status, got.Frames)
				}
				harness.WantList(t, "history", harness.Contents(ann.History(session)), []string{"user: deleted", "assistant: anew"})
			})
			up.WantNoCall(t)
		})
	}
}

// TestStatefulIdempotencyKeyLeft has the clients leave where that ends a turn.
func TestStatefulIdempotencyKeyLeft(t *testing.T) {
	t.Parallel()
	up := harness.NewUpstream(t)
	for name, site := range statefulSites(up, "on_disconnect cancel") {
		t.Run(name, func(t *testing.T) {
			c := harness.Start(t, harness.PlainTenants, site)
			ann := harness.NewClient(c, "acme", "ann")
			session, body := harness.NewSession(), harness.UserSays("left", harness.Streamed)
			first := rememberOnce(ann, "left", session, body)
			call := up.Call()
			call.Event(harness.ChunkOf(`{"role":"assistant","content":"One"}`))
			r1 := first.Stream()
			r1.ReadText("One")
			r2 := rememberOnce(ann, "left", session, body).Stream()
			r2.ReadText("One")

			// the second one is still there
			r1.Ask.GoAway()
			call.Event(harness.ChunkOf(`{"content":" two"}`))
			r2.ReadText("One two")
			r2.Ask.GoAway()
			call.WantGone()
			ann.WantLast(session, "One two", "partial")

			var again *harness.Pending
			harness.Eventually(t, "the session and the key are free", func() bool {
				again = rememberOnce(ann, "left", session, body)
				select {
				case call = <-up.Calls:
					return true
				case resp := <-again.Resp:
					harness.ReadAll(t, resp)
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
	up := harness.NewUpstream(t)
	c := harness.Start(t, harness.PlainTenants, up.Proxied(""))
	ann := harness.NewClient(c, "acme", "ann")
	session, body := harness.NewSession(), harness.UserSays("go", harness.Streamed)
	a := rememberOnce(ann, "charset", session, body)
	call := up.Call()
	call.Write("text/event-stream; charset=utf-8", "data: "+harness.ChunkOf(`{"content":"One"}`)+"\n\n")
	b := rememberOnce(ann, "charset", session, body)
	for _, x := range []*harness.Pending{a, b} {
		buf := make([]byte, 4096)
		if n, err := x.Answer().Body.Read(buf); err != nil || !strings.Contains(string(buf[:n]), "One") {
			t.Errorf("%q, %v", buf[:n], err)
		}
	}
	call.Stream(harness.EndOf("stop"))
}
