package integration

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
)

// rememberOnce starts a completion with a session and a key.
func (c *Client) rememberOnce(key, session string, body any, header ...string) *Pending {
	c.T.Helper()
	return c.Remember(session, body, append(header, headerIdempotency, key)...)
}

// statefulSites have chat_session in front of all that may stand behind it.
func statefulSites(up *WireUpstream, options string) map[string]string {
	cached := strings.Replace(up.Gateway(options), "retries 0", "retries 0\ncache 1h", 1)
	return map[string]string{"gateway": up.Gateway(options), "cached": cached, "proxy": up.Proxied(options)}
}

// wantReused checks that a key is refused with this request.
func (c *Client) wantReused(key, session, body string) {
	c.T.Helper()
	f := WantFailure(c.T, c.rememberOnce(key, session, body).Answer(), http.StatusUnprocessableEntity, "idempotency_key_reused")
	if f.Error.Type != "invalid_request_error" || f.Error.Param == nil || *f.Error.Param != headerIdempotency {
		c.T.Errorf("not OpenAI's shape: %+v", f.Error)
	}
}

func TestStatefulIdempotencyKey(t *testing.T) {
	t.Parallel()
	up := NewWireUpstream(t)
	for name, site := range statefulSites(up, "") {
		t.Run(name, func(t *testing.T) {
			c := Start(t, PlainTenants, site+"\n\tlog\n")
			ann := NewClient(c, "acme", "ann")

			for _, more := range []string{"", Streamed} {
				t.Run("a repeated request gets the first answer"+more, func(t *testing.T) {
					session, key := NewSession(), "again"+more
					body := UserSays("again"+name, more)
					a := ann.rememberOnce(key, session, body)
					up.Call().Answer("one answer")
					first := a.Whole()
					a = ann.Remember(session, UserSays("in between"+name, more))
					up.Call().Answer("another")
					a.Whole()
					tokens := c.Metrics()[`caddy_ai_tokens_total{model="fast",provider="openai",tenant="acme",type="output"}`]
					for i := range 3 {
						trace := fmt.Sprint("again-", len(more), "-", i)
						got := ann.rememberOnce(key, session, body, "X-Trace-Id", trace).Whole()
						if got.Status != http.StatusOK || !slices.Equal(got.Frames, first.Frames) || got.Text != "one answer" {
							t.Errorf("%d %q, want %q", got.Status, got.Frames, first.Frames)
						}
						WantHeader(t, got.Header, map[string]string{
							"X-Trace-Id": trace, "X-Request-Id": trace, "X-Tenant-Id": "acme", HeaderCache: "",
							"Content-Type": first.Header.Get("Content-Type"), "X-Model-Id": first.Header.Get("X-Model-Id"),
							"X-Upstream": first.Header.Get("X-Upstream"),
						})
						WantFields(t, c.AccessLog(trace), map[string]any{
							"tenant": "acme", "user": "ann", "session": session, "trace_id": trace, "status": 200.0,
						})
					}
					if name != "proxy" {
						c.WantMetrics(map[string]float64{`caddy_ai_tokens_total{model="fast",provider="openai",tenant="acme",type="output"}`: tokens})
					}
					WantList(t, "history", Contents(ann.History(session)),
						[]string{"user: again" + name, "assistant: one answer", "user: in between" + name, "assistant: another"})
				})
			}

			t.Run("it is followed while it runs", func(t *testing.T) {
				session, body := NewSession(), UserSays("follow", Streamed)
				first := ann.rememberOnce("follow", session, body)
				call := up.Call()
				call.Event(ChunkOf(`{"role":"assistant","content":"One"}`))
				r1 := first.Stream()
				r1.ReadText("One")
				r2 := ann.rememberOnce("follow", session, body, "X-Trace-Id", "follow-2").Stream()
				r2.ReadText("One")
				WantHeader(t, r2.Header, map[string]string{"X-Trace-Id": "follow-2", HeaderCache: ""})
				refused := func() {
					t.Helper()
					ann.wantReused("follow", session, UserSays("something else", Streamed))
					ann.wantReused("follow", session, UserSays("follow"))
					ann.wantReused("follow", NewSession(), body)
				}
				refused()
				// a follower does not take the session, which is taken
				WantFailure(t, ann.Remember(session, body).Answer(), http.StatusConflict, "session_busy")
				call.Event(ChunkOf(`{"content":" two"}`))
				r1.ReadText("One two")
				r2.ReadText("One two")
				r1.Ask.GoAway()
				call.Event(ChunkOf(`{"content":" three"}`))
				r2.ReadText("One two three")
				r3 := ann.rememberOnce("follow", session, body).Stream()
				r3.ReadText("One two three")
				call.Stream(EndOf("stop"))
				r2.Rest().WantWhole(t, "One two three")
				r3.Rest().WantWhole(t, "One two three")
				refused()
				WantList(t, "history", Contents(ann.History(session)), []string{"user: follow", "assistant: One two three"})
			})

			t.Run("it goes on when nobody is there", func(t *testing.T) {
				for _, more := range []string{"", Streamed} {
					session, body, key := NewSession(), UserSays("alone", more), "alone"+more
					a := ann.rememberOnce(key, session, body)
					call := up.Call()
					a.GoAway()
					if err := <-a.Err; err == nil {
						t.Fatal("there was an answer")
					}
					b := ann.rememberOnce(key, session, body)
					call.Answer("for whoever comes")
					for range 2 {
						if got := b.Whole(); got.Text != "for whoever comes" || got.Finish != "stop" {
							t.Errorf("%d %q", got.Status, got.Frames)
						}
						b = ann.rememberOnce(key, session, body)
					}
					b.Whole()
					WantList(t, "history", Contents(ann.History(session)), []string{"user: alone", "assistant: for whoever comes"})
				}
			})

			t.Run("many at once are one", func(t *testing.T) {
				for _, more := range []string{"", Streamed} {
					session := NewSession()
					var list []*Pending
					for range 20 {
						list = append(list, ann.rememberOnce("many"+more, session, UserSays("many", more)))
					}
					up.Call().Answer("the one answer")
					var frames []string
					for _, a := range list {
						got := a.Whole()
						if frames == nil {
							frames = got.Frames
						}
						if got.Text != "the one answer" || !slices.Equal(got.Frames, frames) {
							t.Errorf("%d %q", got.Status, got.Frames)
						}
					}
					WantList(t, "history", Contents(ann.History(session)), []string{"user: many", "assistant: the one answer"})
				}
			})

			t.Run("a key is its tenant's and user's", func(t *testing.T) {
				session := NewSession()
				for i, cl := range []*Client{ann, NewClient(c, "acme", "bob"), NewClient(c, "acme", ""), NewClient(c, "globex", "ann")} {
					a := cl.rememberOnce("mine", session, UserSays(fmt.Sprint("mine ", i)))
					up.Call().Answer(fmt.Sprint("for ", i))
					if got := a.Whole(); got.Text != fmt.Sprint("for ", i) {
						t.Errorf("%d got %q", i, got.Frames)
					}
				}
				if got := ann.rememberOnce("mine", session, UserSays("mine 0")).Whole(); got.Text != "for 0" {
					t.Errorf("got %q", got.Frames)
				}
			})

			t.Run("of a busy session it is free again", func(t *testing.T) {
				session := NewSession()
				a := ann.rememberOnce("busy-1", session, UserSays("first"))
				call := up.Call()
				for range 2 {
					WantFailure(t, ann.rememberOnce("busy-2", session, UserSays("second")).Answer(), http.StatusConflict, "session_busy")
				}
				call.Answer("1")
				a.Whole()
				b := ann.rememberOnce("busy-2", session, UserSays("second"))
				call = up.Call()
				if got := ann.rememberOnce("busy-1", session, UserSays("first")).Whole(); got.Text != "1" {
					t.Errorf("beside another turn: %d %q", got.Status, got.Frames)
				}
				call.Answer("2")
				b.Whole()
			})

			t.Run("a deleted answer is forgotten", func(t *testing.T) {
				session := NewSession()
				for i := range 2 {
					a := ann.rememberOnce("deleted", session, UserSays(fmt.Sprint("deleted ", name), Streamed), "Cache-Control", "no-cache")
					up.Call().Answer(fmt.Sprint("secret ", i))
					if got := a.Whole(); got.Text != fmt.Sprint("secret ", i) {
						t.Errorf("got %q", got.Frames)
					}
					ann.Do(http.MethodDelete, "/chat/"+session, nil).Body.Close()
				}
			})

			t.Run("a long answer is kept", func(t *testing.T) {
				session, text := NewSession(), strings.Repeat("0123456789abcdef", 1<<16)
				for _, more := range []string{"", Streamed} {
					body, key := UserSays("long", more), "long"+more
					a := ann.rememberOnce(key, session, body)
					call := up.Call()
					if more == "" {
						call.Answer(text)
					} else {
						for piece := range slices.Chunk([]byte(text), 1<<14) {
							call.Event(ChunkOf(`{"content":` + Quote(string(piece)) + `}`))
						}
						call.Stream(EndOf("stop"))
					}
					first := a.Whole()
					if got := ann.rememberOnce(key, session, body).Whole(); got.Text != text || !slices.Equal(got.Frames, first.Frames) {
						t.Errorf("%d: %d bytes", got.Status, len(got.Text))
					}
				}
			})

			t.Run("a key that is none", func(t *testing.T) {
				session := NewSession()
				for _, key := range []string{"", "two words", "schlüssel", strings.Repeat("k", 256)} {
					f := WantFailure(t, ann.rememberOnce(key, session, UserSays("bad")).Answer(), http.StatusBadRequest, "invalid_request")
					if f.Error.Param == nil || *f.Error.Param != headerIdempotency {
						t.Errorf("%q: %+v", key, f.Error)
					}
				}
				req := ann.Request(http.MethodPost, CompletionsPath, UserSays("bad"), "X-Session-Id", session)
				req.Header[headerIdempotency] = []string{"one", "two"}
				WantFailure(t, ann.Start(req).Answer(), http.StatusBadRequest, "invalid_request")
				WantFailure(t, ann.Do(http.MethodGet, "/chat/"+session+"/history", nil), http.StatusNotFound, "session_not_found")
			})

			t.Run("a restart forgets nothing", func(t *testing.T) {
				var first [2]Completion
				sessions := [2]string{NewSession(), NewSession()}
				for i, more := range []string{"", Streamed} {
					a := ann.rememberOnce("restart"+more, sessions[i], UserSays("restart", more))
					up.Call().Answer("kept")
					first[i] = a.Whole()
				}
				c.Stop()
				c.Restart()
				for i, more := range []string{"", Streamed} {
					got := ann.rememberOnce("restart"+more, sessions[i], UserSays("restart", more)).Whole()
					if got.Text != "kept" || !slices.Equal(got.Frames, first[i].Frames) {
						t.Errorf("%d %q, want %q", got.Status, got.Frames, first[i].Frames)
					}
					ann.wantReused("restart"+more, sessions[i], UserSays("other", more))
					ann.wantReused("restart"+more, NewSession(), UserSays("restart", more))
					if n := len(ann.History(sessions[i])); n != 2 {
						t.Errorf("%d messages", n)
					}
				}
			})

			t.Run("a kill in the middle frees it", func(t *testing.T) {
				session, body := NewSession(), UserSays("killed", Streamed)
				a := ann.rememberOnce("killed", session, body)
				call := up.Call()
				call.Event(ChunkOf(`{"role":"assistant","content":"half"}`))
				a.Stream().ReadText("half")
				c.Kill()
				call.WantGone()
				c.Restart()
				a = ann.rememberOnce("killed", session, body)
				up.Call().Answer("whole")
				if got := a.Whole(); got.Text != "whole" {
					t.Errorf("got %q", got.Frames)
				}
				WantList(t, "history", Contents(ann.History(session)), []string{"user: killed", "assistant: whole"})
			})
			up.wantNoCall()
		})
	}
}
