package chat

import (
	"net/http"
	"strings"
	"testing"

	"github.com/caddy-chat/caddy-chat/integration/harness"
)

// begin starts a streamed completion that has sent "part one".
func begin(u *harness.Upstream, cl *harness.Client, session string) (*harness.Pending, *harness.HeldCall) {
	cl.T.Helper()
	a := cl.Remember(session, harness.UserSays("go", harness.Streamed))
	call := u.Call()
	call.Event(harness.ChunkOf(`{"role":"assistant","content":"part one"}`))
	return a, call
}

// wantStored waits until the answer to "go" is stored with this content and
// status.
func wantStored(c *harness.Client, session, content, status string) {
	c.T.Helper()
	c.WantLast(session, content, status)
	harness.WantList(c.T, "history", harness.Contents(c.History(session)), []string{"user: go", "assistant: " + content})
}

func TestStatefulEndings(t *testing.T) {
	t.Parallel()
	up := harness.NewUpstream(t)
	sites := map[string]string{"gateway": up.Sessions("on_disconnect continue"), "proxy": up.Proxied("on_disconnect continue")}
	for name, site := range sites {
		t.Run(name, func(t *testing.T) {
			c := harness.Start(t, harness.PlainTenants, site)
			ann := harness.NewClient(c, "acme", "ann")

			t.Run("cancel ends a stream", func(t *testing.T) {
				session := harness.NewSession()
				a, call := begin(up, ann, session)
				resp := a.Answer()
				follower := ann.Follow(session, "").Events()
				follower.Text("part one")
				if !ann.CancelTurn(session) {
					t.Error("cancelled is false for a running turn")
				}
				call.WantGone()
				if end := follower.Rest(); end.Done == nil || end.Done.FinishReason != "cancelled" || end.Failed != nil {
					t.Errorf("the follower saw %+v", end.Events)
				}
				got, err := readBytes(resp)
				if strings.Contains(got, "[DONE]") || (err == nil && !strings.Contains(got, `"error"`)) {
					t.Errorf("a cancelled answer looks finished: %q, %v", got, err)
				}
				wantStored(ann, session, "part one", "partial")
				wantFreeWire(t, up, ann, session)
			})

			t.Run("cancel ends a document", func(t *testing.T) {
				session := harness.NewSession()
				a := ann.Remember(session, harness.UserSays("go"))
				call := up.Call()
				if !ann.CancelTurn(session) {
					t.Error("cancelled is false for a running turn")
				}
				call.WantGone()
				select {
				case resp := <-a.Resp:
					if body, err := readBytes(resp); err == nil && resp.StatusCode == http.StatusOK {
						t.Errorf("answered %q", body)
					}
				case <-a.Err:
				}
				harness.WantList(t, "history", harness.Contents(ann.History(session)), []string{"user: go"})
			})

			t.Run("followers see the answer", func(t *testing.T) {
				session := harness.NewSession()
				a, call := begin(up, ann, session)
				follower := ann.Follow(session, "").Events()
				first := follower.Text("part one")
				call.Event(harness.ChunkOf(`{"content":", part two"}`))
				follower.Text(", part two")
				again := ann.Follow(session, first[0].ID).Events()
				again.Text(", part two")
				call.Stream(harness.EndOf("length"))
				for _, f := range []*harness.Events{follower, again} {
					if end := f.Rest(); end.Done == nil || end.Done.FinishReason != "length" || end.Failed != nil {
						t.Errorf("the end is %+v", end.Events)
					}
				}
				a.Whole()
				wantStored(ann, session, "part one, part two", "complete")
				replay := ann.Follow(session, "").Events().Rest()
				ids := make(map[string]bool) // /v1 has more events, and the numbers count these
				for _, ev := range replay.Events {
					ids[ev.ID] = true
				}
				if len(ids) != len(replay.Events) || replay.Text != "part one, part two" || replay.Done == nil {
					t.Errorf("replayed as %+v", replay.Events)
				}
				harness.WantFailure(t, harness.NewClient(c, "acme", "bob").Follow(session, "").Answer(), 404, "session_not_found")
			})

			t.Run("deleting the session ends the call", func(t *testing.T) {
				session := harness.NewSession()
				a, call := begin(up, ann, session)
				resp := a.Answer()
				if resp := ann.Do(http.MethodDelete, "/chat/"+session, nil); resp.StatusCode != http.StatusOK {
					t.Fatalf("DELETE answered %d", resp.StatusCode)
				}
				call.WantGone()
				_, _ = readBytes(resp)
				harness.WantFailure(t, ann.Do(http.MethodGet, "/chat/"+session+"/history", nil), 404, "session_not_found")
				wantFreeWire(t, up, ann, session)
				harness.WantList(t, "anew", harness.Contents(ann.History(session)), []string{"user: free?", "assistant: yes"})
			})

			t.Run("the answer continues without its client", func(t *testing.T) {
				session := harness.NewSession()
				a, call := begin(up, ann, session)
				a.Answer()
				a.GoAway()
				call.Event(harness.ChunkOf(`{"content":", part two"}`))
				call.Event(harness.ChunkOf(`{"content":", part three"}`))
				harness.WantFailure(t, ann.Remember(session, harness.UserSays("busy?")).Answer(), 409, "session_busy")
				call.Stream(harness.EndOf("stop"))
				wantStored(ann, session, "part one, part two, part three", "complete")

				session = harness.NewSession()
				a = ann.Remember(session, harness.UserSays("go"))
				call = up.Call()
				a.GoAway()
				if err := <-a.Err; err == nil {
					t.Fatal("the client that left got an answer")
				}
				call.Answer("whole document")
				wantStored(ann, session, "whole document", "complete")
			})

			t.Run("a stream with a finish reason but no end mark is complete", func(t *testing.T) {
				session := harness.NewSession()
				a, call := begin(up, ann, session)
				call.Event(harness.EndOf("stop"))
				call.Cut()
				_, _ = readBytes(a.Answer())
				wantStored(ann, session, "part one", "complete")
			})

			t.Run("a kill keeps what is stored", func(t *testing.T) {
				session := harness.NewSession()
				up.Turn(ann, session, harness.UserSays("before"), "kept")
				a, call := begin(up, ann, session)
				resp := a.Answer()
				c.Kill()
				if got, err := readBytes(resp); err == nil || strings.Contains(got, "[DONE]") {
					t.Errorf("a killed stream looks finished: %q", got)
				}
				call.WantGone()
				c.Restart()
				harness.WantList(t, "history", harness.Contents(ann.History(session)), []string{"user: before", "assistant: kept", "user: go"})
				b := ann.Remember(session, harness.UserSays("go", harness.Streamed))
				call = up.Call()
				harness.WantList(t, "asked again", call.Said(), []string{"user: before", "assistant: kept", "user: go"})
				call.Answer("done")
				b.Whole()
				if n := len(ann.History(session)); n != 4 {
					t.Errorf("%d messages", n)
				}
			})
		})
	}
}

// readBytes reads a body that may be cut.
func readBytes(resp *http.Response) (string, error) {
	defer resp.Body.Close()
	var b strings.Builder
	buf := make([]byte, 4096)
	for {
		n, err := resp.Body.Read(buf)
		b.Write(buf[:n])
		if err != nil {
			if err.Error() == "EOF" {
				err = nil
			}
			return b.String(), err
		}
	}
}

// wantFreeWire waits until the session accepts a message.
func wantFreeWire(t testing.TB, up *harness.Upstream, cl *harness.Client, session string) {
	t.Helper()
	harness.Eventually(t, "the session is free", func() bool {
		a := cl.Remember(session, harness.UserSays("free?"))
		select {
		case call := <-up.Calls:
			call.Answer("yes")
			a.Whole()
			return true
		case resp := <-a.Resp:
			harness.WantFailure(t, resp, 409, "session_busy")
			return false
		}
	})
}

// TestStatefulCut has upstreams break off behind reverse_proxy, which rescues
// no answer.
func TestStatefulCut(t *testing.T) {
	t.Parallel()
	up := harness.NewUpstream(t)
	c := harness.Start(t, harness.PlainTenants, up.Proxied("on_disconnect cancel"))
	ann := harness.NewClient(c, "acme", "ann")

	t.Run("the end of the connection", func(t *testing.T) {
		session := harness.NewSession()
		a, call := begin(up, ann, session)
		call.Cut()
		if got, _ := readBytes(a.Answer()); !strings.Contains(got, "part one") || strings.Contains(got, "[DONE]") {
			t.Errorf("got %q", got)
		}
		wantStored(ann, session, "part one", "partial")
	})

	t.Run("an abort", func(t *testing.T) {
		session := harness.NewSession()
		a, call := begin(up, ann, session)
		resp := a.Answer()
		call.Abort()
		if got, err := readBytes(resp); err == nil {
			t.Errorf("a broken answer looks whole: %q", got)
		}
		wantStored(ann, session, "part one", "partial")
	})

	t.Run("an error frame", func(t *testing.T) {
		session := harness.NewSession()
		a, call := begin(up, ann, session)
		follower := ann.Follow(session, "").Events()
		follower.Text("part one")
		const frame = `{"error":{"message":"overloaded","code":503}}`
		call.Event(frame)
		// a client that has read the error may continue, although the upstream lingers
		resp := a.Answer()
		got := ""
		for !strings.Contains(got, frame) {
			buf := make([]byte, 4096)
			n, err := resp.Body.Read(buf)
			if got += string(buf[:n]); err != nil {
				t.Fatalf("%v after %q", err, got)
			}
		}
		if end := follower.Rest(); end.Failed == nil || end.Failed.Code != "ai_error" || end.Done == nil || end.Done.FinishReason != "error" {
			t.Errorf("the follower saw %+v", end.Events)
		}
		b := ann.Remember(session, harness.UserSays("at once"))
		next := up.Call()
		harness.WantList(t, "prompt", next.Said(), []string{"user: go", "assistant: part one", "user: at once"})
		next.Answer("fine")
		b.Whole()
		call.Cut()
		if s := ann.History(session)[1].Status; s != "partial" {
			t.Errorf("status is %s", s)
		}
	})

	t.Run("a client that leaves", func(t *testing.T) {
		session := harness.NewSession()
		a, call := begin(up, ann, session)
		a.Answer()
		follower := ann.Follow(session, "").Events()
		follower.Text("part one")
		a.GoAway()
		call.WantGone()
		if end := follower.Rest(); end.Done == nil || end.Done.FinishReason != "cancelled" {
			t.Errorf("the follower saw %+v", end.Events)
		}
		wantStored(ann, session, "part one", "partial")
		wantFreeWire(t, up, ann, session)
	})

	t.Run("a cut document", func(t *testing.T) {
		session := harness.NewSession()
		a := ann.Remember(session, harness.UserSays("go"))
		call := up.Call()
		call.Write("application/json", harness.WholeOf(`{"role":"assistant","content":"x"}`, "stop")[:40])
		call.Abort()
		select {
		case resp := <-a.Resp:
			if got, err := readBytes(resp); err == nil {
				t.Errorf("a broken document looks whole: %q", got)
			}
		case <-a.Err:
		}
		wantFreeWire(t, up, ann, session)
		harness.WantList(t, "history", harness.Contents(ann.History(session)), []string{"user: go", "user: free?", "assistant: yes"})
	})
}
