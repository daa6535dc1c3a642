package integration

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
)

// rememberOnce starts a completion with a session and a key.
func (c *client) rememberOnce(key, session string, body any, header ...string) *asking {
	c.t.Helper()
	return c.remember(session, body, append(header, headerIdempotency, key)...)
}

// statefulSites have chat_session in front of all that may stand behind it.
func statefulSites(up *wireUpstream, options string) map[string]string {
	cached := strings.Replace(up.gateway(options), "retries 0", "retries 0\ncache 1h", 1)
	return map[string]string{"gateway": up.gateway(options), "cached": cached, "proxy": up.proxied(options)}
}

// wantReused checks that a key is refused with this request.
func (c *client) wantReused(key, session, body string) {
	c.t.Helper()
	f := wantFailure(c.t, c.rememberOnce(key, session, body).answer(), http.StatusUnprocessableEntity, "idempotency_key_reused")
	if f.Error.Type != "invalid_request_error" || f.Error.Param == nil || *f.Error.Param != headerIdempotency {
		c.t.Errorf("not OpenAI's shape: %+v", f.Error)
	}
}

func TestStatefulIdempotencyKey(t *testing.T) {
	t.Parallel()
	up := newWireUpstream(t)
	for name, site := range statefulSites(up, "") {
		t.Run(name, func(t *testing.T) {
			c := startCaddy(t, plainTenants, site+"\n\tlog\n")
			ann := newClient(c, "acme", "ann")

			for _, more := range []string{"", streamed} {
				t.Run("a repeated request gets the first answer"+more, func(t *testing.T) {
					session, key := newSession(), "again"+more
					body := userSays("again"+name, more)
					a := ann.rememberOnce(key, session, body)
					up.call().answer("one answer")
					first := a.whole()
					a = ann.remember(session, userSays("in between"+name, more))
					up.call().answer("another")
					a.whole()
					tokens := c.metrics()[`caddy_ai_tokens_total{model="fast",provider="openai",tenant="acme",type="output"}`]
					for i := range 3 {
						trace := fmt.Sprint("again-", len(more), "-", i)
						got := ann.rememberOnce(key, session, body, "X-Trace-Id", trace).whole()
						if got.status != http.StatusOK || !slices.Equal(got.frames, first.frames) || got.Text != "one answer" {
							t.Errorf("%d %q, want %q", got.status, got.frames, first.frames)
						}
						wantHeader(t, got.header, map[string]string{
							"X-Trace-Id": trace, "X-Request-Id": trace, "X-Tenant-Id": "acme", headerCache: "",
							"Content-Type": first.header.Get("Content-Type"), "X-Model-Id": first.header.Get("X-Model-Id"),
							"X-Upstream": first.header.Get("X-Upstream"),
						})
						wantFields(t, c.accessLog(trace), map[string]any{
							"tenant": "acme", "user": "ann", "session": session, "trace_id": trace, "status": 200.0,
						})
					}
					if name != "proxy" {
						c.wantMetrics(map[string]float64{`caddy_ai_tokens_total{model="fast",provider="openai",tenant="acme",type="output"}`: tokens})
					}
					wantList(t, "history", contents(ann.history(session)),
						[]string{"user: again" + name, "assistant: one answer", "user: in between" + name, "assistant: another"})
				})
			}

			t.Run("it is followed while it runs", func(t *testing.T) {
				session, body := newSession(), userSays("follow", streamed)
				first := ann.rememberOnce("follow", session, body)
				call := up.call()
				call.event(chunkOf(`{"role":"assistant","content":"One"}`))
				r1 := first.ride()
				r1.text("One")
				r2 := ann.rememberOnce("follow", session, body, "X-Trace-Id", "follow-2").ride()
				r2.text("One")
				wantHeader(t, r2.header, map[string]string{"X-Trace-Id": "follow-2", headerCache: ""})
				refused := func() {
					t.Helper()
					ann.wantReused("follow", session, userSays("something else", streamed))
					ann.wantReused("follow", session, userSays("follow"))
					ann.wantReused("follow", newSession(), body)
				}
				refused()
				// a follower does not take the session, which is taken
				wantFailure(t, ann.remember(session, body).answer(), http.StatusConflict, "session_busy")
				call.event(chunkOf(`{"content":" two"}`))
				r1.text("One two")
				r2.text("One two")
				r1.ask.goAway()
				call.event(chunkOf(`{"content":" three"}`))
				r2.text("One two three")
				r3 := ann.rememberOnce("follow", session, body).ride()
				r3.text("One two three")
				call.stream(endOf("stop"))
				r2.rest().wantWhole(t, "One two three")
				r3.rest().wantWhole(t, "One two three")
				refused()
				wantList(t, "history", contents(ann.history(session)), []string{"user: follow", "assistant: One two three"})
			})

			t.Run("it goes on when nobody is there", func(t *testing.T) {
				for _, more := range []string{"", streamed} {
					session, body, key := newSession(), userSays("alone", more), "alone"+more
					a := ann.rememberOnce(key, session, body)
					call := up.call()
					a.goAway()
					if err := <-a.err; err == nil {
						t.Fatal("there was an answer")
					}
					b := ann.rememberOnce(key, session, body)
					call.answer("for whoever comes")
					for range 2 {
						if got := b.whole(); got.Text != "for whoever comes" || got.Finish != "stop" {
							t.Errorf("%d %q", got.status, got.frames)
						}
						b = ann.rememberOnce(key, session, body)
					}
					b.whole()
					wantList(t, "history", contents(ann.history(session)), []string{"user: alone", "assistant: for whoever comes"})
				}
			})

			t.Run("many at once are one", func(t *testing.T) {
				for _, more := range []string{"", streamed} {
					session := newSession()
					var list []*asking
					for range 20 {
						list = append(list, ann.rememberOnce("many"+more, session, userSays("many", more)))
					}
					up.call().answer("the one answer")
					var frames []string
					for _, a := range list {
						got := a.whole()
						if frames == nil {
							frames = got.frames
						}
						if got.Text != "the one answer" || !slices.Equal(got.frames, frames) {
							t.Errorf("%d %q", got.status, got.frames)
						}
					}
					wantList(t, "history", contents(ann.history(session)), []string{"user: many", "assistant: the one answer"})
				}
			})

			t.Run("a key is its tenant's and user's", func(t *testing.T) {
				session := newSession()
				for i, cl := range []*client{ann, newClient(c, "acme", "bob"), newClient(c, "acme", ""), newClient(c, "globex", "ann")} {
					a := cl.rememberOnce("mine", session, userSays(fmt.Sprint("mine ", i)))
					up.call().answer(fmt.Sprint("for ", i))
					if got := a.whole(); got.Text != fmt.Sprint("for ", i) {
						t.Errorf("%d got %q", i, got.frames)
					}
				}
				if got := ann.rememberOnce("mine", session, userSays("mine 0")).whole(); got.Text != "for 0" {
					t.Errorf("got %q", got.frames)
				}
			})

			t.Run("of a busy session it is free again", func(t *testing.T) {
				session := newSession()
				a := ann.rememberOnce("busy-1", session, userSays("first"))
				call := up.call()
				for range 2 {
					wantFailure(t, ann.rememberOnce("busy-2", session, userSays("second")).answer(), http.StatusConflict, "session_busy")
				}
				call.answer("1")
				a.whole()
				b := ann.rememberOnce("busy-2", session, userSays("second"))
				call = up.call()
				if got := ann.rememberOnce("busy-1", session, userSays("first")).whole(); got.Text != "1" {
					t.Errorf("beside another turn: %d %q", got.status, got.frames)
				}
				call.answer("2")
				b.whole()
			})

			t.Run("a deleted answer is forgotten", func(t *testing.T) {
				session := newSession()
				for i := range 2 {
					a := ann.rememberOnce("deleted", session, userSays(fmt.Sprint("deleted ", name), streamed), "Cache-Control", "no-cache")
					up.call().answer(fmt.Sprint("secret ", i))
					if got := a.whole(); got.Text != fmt.Sprint("secret ", i) {
						t.Errorf("got %q", got.frames)
					}
					ann.do(http.MethodDelete, "/chat/"+session, nil).Body.Close()
				}
			})

			t.Run("a long answer is kept", func(t *testing.T) {
				session, text := newSession(), strings.Repeat("0123456789abcdef", 1<<16)
				for _, more := range []string{"", streamed} {
					body, key := userSays("long", more), "long"+more
					a := ann.rememberOnce(key, session, body)
					call := up.call()
					if more == "" {
						call.answer(text)
					} else {
						for piece := range slices.Chunk([]byte(text), 1<<14) {
							call.event(chunkOf(`{"content":` + quote(string(piece)) + `}`))
						}
						call.stream(endOf("stop"))
					}
					first := a.whole()
					if got := ann.rememberOnce(key, session, body).whole(); got.Text != text || !slices.Equal(got.frames, first.frames) {
						t.Errorf("%d: %d bytes", got.status, len(got.Text))
					}
				}
			})

			t.Run("a key that is none", func(t *testing.T) {
				session := newSession()
				for _, key := range []string{"", "two words", "schlüssel", strings.Repeat("k", 256)} {
					f := wantFailure(t, ann.rememberOnce(key, session, userSays("bad")).answer(), http.StatusBadRequest, "invalid_request")
					if f.Error.Param == nil || *f.Error.Param != headerIdempotency {
						t.Errorf("%q: %+v", key, f.Error)
					}
				}
				req := ann.request(http.MethodPost, completions, userSays("bad"), "X-Session-Id", session)
				req.Header[headerIdempotency] = []string{"one", "two"}
				wantFailure(t, ann.start(req).answer(), http.StatusBadRequest, "invalid_request")
				wantFailure(t, ann.do(http.MethodGet, "/chat/"+session+"/history", nil), http.StatusNotFound, "session_not_found")
			})

			t.Run("a restart forgets nothing", func(t *testing.T) {
				var first [2]completion
				sessions := [2]string{newSession(), newSession()}
				for i, more := range []string{"", streamed} {
					a := ann.rememberOnce("restart"+more, sessions[i], userSays("restart", more))
					up.call().answer("kept")
					first[i] = a.whole()
				}
				c.stop()
				c.restart()
				for i, more := range []string{"", streamed} {
					got := ann.rememberOnce("restart"+more, sessions[i], userSays("restart", more)).whole()
					if got.Text != "kept" || !slices.Equal(got.frames, first[i].frames) {
						t.Errorf("%d %q, want %q", got.status, got.frames, first[i].frames)
					}
					ann.wantReused("restart"+more, sessions[i], userSays("other", more))
					ann.wantReused("restart"+more, newSession(), userSays("restart", more))
					if n := len(ann.history(sessions[i])); n != 2 {
						t.Errorf("%d messages", n)
					}
				}
			})

			t.Run("a kill in the middle frees it", func(t *testing.T) {
				session, body := newSession(), userSays("killed", streamed)
				a := ann.rememberOnce("killed", session, body)
				call := up.call()
				call.event(chunkOf(`{"role":"assistant","content":"half"}`))
				a.ride().text("half")
				c.kill()
				call.wantGone()
				c.restart()
				a = ann.rememberOnce("killed", session, body)
				up.call().answer("whole")
				if got := a.whole(); got.Text != "whole" {
					t.Errorf("got %q", got.frames)
				}
				wantList(t, "history", contents(ann.history(session)), []string{"user: killed", "assistant: whole"})
			})
			up.wantNoCall()
		})
	}
}
