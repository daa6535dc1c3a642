package integration

import (
	"net/http"
	"strings"
	"testing"
)

// begin has a streamed completion asked that has said "part one".
func (u *wireUpstream) begin(cl *client, session string) (*asking, *wireCall) {
	u.t.Helper()
	a := cl.remember(session, userSays("go", streamed))
	call := u.call()
	call.event(chunkOf(`{"role":"assistant","content":"part one"}`))
	return a, call
}

// wantStored waits until the answer to "go" is stored like this.
func (c *client) wantStored(session, content, status string) {
	c.t.Helper()
	c.wantLast(session, content, status)
	wantList(c.t, "history", contents(c.history(session)), []string{"user: go", "assistant: " + content})
}

func TestStatefulEndings(t *testing.T) {
	t.Parallel()
	up := newWireUpstream(t)
	sites := map[string]string{"gateway": up.gateway("on_disconnect continue"), "proxy": up.proxied("on_disconnect continue")}
	for name, site := range sites {
		t.Run(name, func(t *testing.T) {
			c := startCaddy(t, plainTenants, site)
			ann := newClient(c, "acme", "ann")

			t.Run("cancel", func(t *testing.T) {
				session := newSession()
				a, call := up.begin(ann, session)
				resp := a.answer()
				follower := ann.follow(session, "").events()
				follower.text("part one")
				if !ann.cancelTurn(session) {
					t.Error("cancelled is false for a running turn")
				}
				call.wantGone()
				if end := follower.rest(); end.done == nil || end.done.FinishReason != "cancelled" || end.failed != nil {
					t.Errorf("the follower saw %+v", end.events)
				}
				got, err := readBytes(resp)
				if strings.Contains(got, "[DONE]") || (err == nil && !strings.Contains(got, `"error"`)) {
					t.Errorf("a cancelled answer looks finished: %q, %v", got, err)
				}
				ann.wantStored(session, "part one", "partial")
				wantFreeWire(t, up, ann, session)
			})

			t.Run("cancel of a document", func(t *testing.T) {
				session := newSession()
				a := ann.remember(session, userSays("go"))
				call := up.call()
				if !ann.cancelTurn(session) {
					t.Error("cancelled is false for a running turn")
				}
				call.wantGone()
				select {
				case resp := <-a.resp:
					if body, err := readBytes(resp); err == nil && resp.StatusCode == http.StatusOK {
						t.Errorf("answered %q", body)
					}
				case <-a.err:
				}
				wantList(t, "history", contents(ann.history(session)), []string{"user: go"})
			})

			t.Run("followers see the answer", func(t *testing.T) {
				session := newSession()
				a, call := up.begin(ann, session)
				follower := ann.follow(session, "").events()
				first := follower.text("part one")
				call.event(chunkOf(`{"content":", part two"}`))
				follower.text(", part two")
				again := ann.follow(session, first[0].ID).events()
				again.text(", part two")
				call.stream(endOf("length"))
				for _, f := range []*events{follower, again} {
					if end := f.rest(); end.done == nil || end.done.FinishReason != "length" || end.failed != nil {
						t.Errorf("the end is %+v", end.events)
					}
				}
				a.whole()
				ann.wantStored(session, "part one, part two", "complete")
				replay := ann.follow(session, "").events().rest()
				wantIDs(t, replay.events)
				if replay.text != "part one, part two" || replay.done == nil {
					t.Errorf("replayed as %+v", replay.events)
				}
				wantFailure(t, newClient(c, "acme", "bob").follow(session, "").answer(), 404, "session_not_found")
			})

			t.Run("delete", func(t *testing.T) {
				session := newSession()
				a, call := up.begin(ann, session)
				resp := a.answer()
				if resp := ann.do(http.MethodDelete, "/chat/"+session, nil); resp.StatusCode != http.StatusOK {
					t.Fatalf("DELETE answered %d", resp.StatusCode)
				}
				call.wantGone()
				_, _ = readBytes(resp)
				wantFailure(t, ann.do(http.MethodGet, "/chat/"+session+"/history", nil), 404, "session_not_found")
				wantFreeWire(t, up, ann, session)
				wantList(t, "anew", contents(ann.history(session)), []string{"user: free?", "assistant: yes"})
			})

			t.Run("the client goes away and it goes on", func(t *testing.T) {
				session := newSession()
				a, call := up.begin(ann, session)
				a.answer()
				a.goAway()
				call.event(chunkOf(`{"content":", part two"}`))
				call.event(chunkOf(`{"content":", part three"}`))
				wantFailure(t, ann.remember(session, userSays("busy?")).answer(), 409, "session_busy")
				call.stream(endOf("stop"))
				ann.wantStored(session, "part one, part two, part three", "complete")

				session = newSession()
				a = ann.remember(session, userSays("go"))
				call = up.call()
				a.goAway()
				if err := <-a.err; err == nil {
					t.Fatal("there was an answer")
				}
				call.answer("whole document")
				ann.wantStored(session, "whole document", "complete")
			})

			t.Run("a stream that finished without its end mark is whole", func(t *testing.T) {
				session := newSession()
				a, call := up.begin(ann, session)
				call.event(endOf("stop"))
				call.cut()
				_, _ = readBytes(a.answer())
				ann.wantStored(session, "part one", "complete")
			})

			t.Run("a kill", func(t *testing.T) {
				session := newSession()
				up.turn(ann, session, userSays("before"), "kept")
				a, call := up.begin(ann, session)
				resp := a.answer()
				c.kill()
				if got, err := readBytes(resp); err == nil || strings.Contains(got, "[DONE]") {
					t.Errorf("a killed stream looks finished: %q", got)
				}
				call.wantGone()
				c.restart()
				wantList(t, "history", contents(ann.history(session)), []string{"user: before", "assistant: kept", "user: go"})
				b := ann.remember(session, userSays("go", streamed))
				call = up.call()
				wantList(t, "asked again", call.said(), []string{"user: before", "assistant: kept", "user: go"})
				call.answer("done")
				b.whole()
				if n := len(ann.history(session)); n != 4 {
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

// wantFreeWire waits until the session takes a message.
func wantFreeWire(t testing.TB, up *wireUpstream, cl *client, session string) {
	t.Helper()
	eventually(t, "the session is free", func() bool {
		a := cl.remember(session, userSays("free?"))
		select {
		case call := <-up.calls:
			call.answer("yes")
			a.whole()
			return true
		case resp := <-a.resp:
			wantFailure(t, resp, 409, "session_busy")
			return false
		}
	})
}

// TestStatefulCut has upstreams break off where nobody rescues the answer.
func TestStatefulCut(t *testing.T) {
	t.Parallel()
	up := newWireUpstream(t)
	c := startCaddy(t, plainTenants, up.proxied("on_disconnect cancel"))
	ann := newClient(c, "acme", "ann")

	t.Run("the end of the connection", func(t *testing.T) {
		session := newSession()
		a, call := up.begin(ann, session)
		call.cut()
		if got, _ := readBytes(a.answer()); !strings.Contains(got, "part one") || strings.Contains(got, "[DONE]") {
			t.Errorf("got %q", got)
		}
		ann.wantStored(session, "part one", "partial")
	})

	t.Run("an abort", func(t *testing.T) {
		session := newSession()
		a, call := up.begin(ann, session)
		resp := a.answer()
		call.abort()
		if got, err := readBytes(resp); err == nil {
			t.Errorf("a broken answer looks whole: %q", got)
		}
		ann.wantStored(session, "part one", "partial")
	})

	t.Run("an error frame", func(t *testing.T) {
		session := newSession()
		a, call := up.begin(ann, session)
		follower := ann.follow(session, "").events()
		follower.text("part one")
		const frame = `{"error":{"message":"overloaded","code":503}}`
		call.event(frame)
		// whoever has seen it may go on at once, though the upstream lingers
		resp := a.answer()
		got := ""
		for !strings.Contains(got, frame) {
			buf := make([]byte, 4096)
			n, err := resp.Body.Read(buf)
			if got += string(buf[:n]); err != nil {
				t.Fatalf("%v after %q", err, got)
			}
		}
		if end := follower.rest(); end.failed == nil || end.failed.Code != "ai_error" || end.done == nil || end.done.FinishReason != "error" {
			t.Errorf("the follower saw %+v", end.events)
		}
		b := ann.remember(session, userSays("at once"))
		next := up.call()
		wantList(t, "prompt", next.said(), []string{"user: go", "assistant: part one", "user: at once"})
		next.answer("fine")
		b.whole()
		call.cut()
		if s := ann.history(session)[1].Status; s != "partial" {
			t.Errorf("status is %s", s)
		}
	})

	t.Run("a client that goes away", func(t *testing.T) {
		session := newSession()
		a, call := up.begin(ann, session)
		a.answer()
		follower := ann.follow(session, "").events()
		follower.text("part one")
		a.goAway()
		call.wantGone()
		if end := follower.rest(); end.done == nil || end.done.FinishReason != "cancelled" {
			t.Errorf("the follower saw %+v", end.events)
		}
		ann.wantStored(session, "part one", "partial")
		wantFreeWire(t, up, ann, session)
	})

	t.Run("a document cut in the middle", func(t *testing.T) {
		session := newSession()
		a := ann.remember(session, userSays("go"))
		call := up.call()
		call.write("application/json", wholeOf(`{"role":"assistant","content":"x"}`, "stop")[:40])
		call.abort()
		select {
		case resp := <-a.resp:
			if got, err := readBytes(resp); err == nil {
				t.Errorf("a broken document looks whole: %q", got)
			}
		case <-a.err:
		}
		wantFreeWire(t, up, ann, session)
		wantList(t, "history", contents(ann.history(session)), []string{"user: go", "user: free?", "assistant: yes"})
	})
}

// abort breaks the connection.
func (c *wireCall) abort() {
	c.t.Helper()
	c.do(func(w http.ResponseWriter) bool {
		conn, _, err := http.NewResponseController(w).Hijack()
		if err != nil {
			c.t.Error(err)
			return true
		}
		conn.Close()
		return true
	})
}
