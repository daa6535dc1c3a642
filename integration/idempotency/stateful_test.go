package idempotency

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/caddy-chat/caddy-chat/integration/harness"
)

// rememberOnce starts a completion with a session and a key.
func rememberOnce(c *harness.Client, key, session string, body any, header ...string) *harness.Pending {
	c.T.Helper()
	return c.Remember(session, body, append(header, headerIdempotency, key)...)
}

// statefulSites have chat_session in front of all that may stand behind it.
func statefulSites(up *harness.Upstream, options string) map[string]string {
	cached := strings.Replace(up.Sessions(options), "retries 0", "retries 0\ncache 1h", 1)
	return map[string]string{"gateway": up.Sessions(options), "cached": cached, "proxy": up.Proxied(options)}
}

// wantReused checks that a key is refused with this request.
func wantReused(c *harness.Client, key, session, body string) {
	c.T.Helper()
	f := harness.WantFailure(c.T, rememberOnce(c, key, session, body).Answer(), http.StatusUnprocessableEntity, "idempotency_key_reused")
	if f.Error.Type != "invalid_request_error" || f.Error.Param == nil || *f.Error.Param != headerIdempotency {
		c.T.Errorf("not OpenAI's shape: %+v", f.Error)
	}
}

func TestStatefulIdempotencyKey(t *testing.T) {
	t.Parallel()
	up := harness.NewUpstream(t)
	for name, site := range statefulSites(up, "") {
		t.Run(name, func(t *testing.T) {
			c := harness.Start(t, harness.PlainTenants, site+"\n\tlog\n")
			ann := harness.NewClient(c, "acme", "ann")

			for _, more := range []string{"", harness.Streamed} {
				t.Run("a repeated request gets the first answer"+more, func(t *testing.T) {
					session, key := harness.NewSession(), "again"+more
					body := harness.UserSays("again"+name, more)
					a := rememberOnce(ann, key, session, body)
					up.Call().Answer("one answer")
					first := a.Whole()
					a = ann.Remember(session, harness.UserSays("in between"+name, more))
					up.Call().Answer("another")
					a.Whole()
					tokens := c.Metrics()[`caddy_ai_tokens_total{model="fast",provider="openai",tenant="acme",type="output"}`]
					for i := range 3 {
						trace := fmt.Sprint("again-", len(more), "-", i)
						got := rememberOnce(ann, key, session, body, "X-Trace-Id", trace).Whole()
						if got.Status != http.StatusOK || !slices.Equal(got.Frames, first.Frames) || got.Text != "one answer" {
							t.Errorf("%d %q, want %q", got.Status, got.Frames, first.Frames)
						}
						harness.WantHeader(t, got.Header, map[string]string{
							"X-Trace-Id": trace, "X-Request-Id": trace, "X-Tenant-Id": "acme", harness.HeaderCache: "",
							"Content-Type": first.Header.Get("Content-Type"), "X-Model-Id": first.Header.Get("X-Model-Id"),
							"X-Upstream": first.Header.Get("X-Upstream"),
						})
						harness.WantFields(t, c.AccessLog(trace), map[string]any{
							"tenant": "acme", "user": "ann", "session": session, "trace_id": trace, "status": 200.0,
						})
					}
					if name != "proxy" {
						c.WantMetrics(map[string]float64{`caddy_ai_tokens_total{model="fast",provider="openai",tenant="acme",type="output"}`: tokens})
					}
					harness.WantList(t, "history", harness.Contents(ann.History(session)),
						[]string{"user: again" + name, "assistant: one answer", "user: in between" + name, "assistant: another"})
				})
			}

			t.Run("it is followed while it runs", func(t *testing.T) {
				session, body := harness.NewSession(), harness.UserSays("follow", harness.Streamed)
				first := rememberOnce(ann, "follow", session, body)
				call := up.Call()
				call.Event(harness.ChunkOf(`{"role":"assistant","content":"One"}`))
				r1 := first.Stream()
				r1.ReadText("One")
				r2 := rememberOnce(ann, "follow", session, body, "X-Trace-Id", "follow-2").Stream()
				r2.ReadText("One")
				harness.WantHeader(t, r2.Header, map[string]string{"X-Trace-Id": "follow-2", harness.HeaderCache: ""})
				refused := func() {
					t.Helper()
					wantReused(ann, "follow", session, harness.UserSays("something else", harness.Streamed))
					wantReused(ann, "follow", session, harness.UserSays("follow"))
					wantReused(ann, "follow", harness.NewSession(), body)
				}
				refused()
				// a follower does not take the session, which is taken
				harness.WantFailure(t, ann.Remember(session, body).Answer(), http.StatusConflict, "session_busy")
				call.Event(harness.ChunkOf(`{"content":" two"}`))
				r1.ReadText("One two")
				r2.ReadText("One two")
				r1.Ask.GoAway()
				call.Event(harness.ChunkOf(`{"content":" three"}`))
				r2.ReadText("One two three")
				r3 := rememberOnce(ann, "follow", session, body).Stream()
				r3.ReadText("One two three")
				call.Stream(harness.EndOf("stop"))
				r2.Rest().WantWhole(t, "One two three")
				r3.Rest().WantWhole(t, "One two three")
				refused()
				harness.WantList(t, "history", harness.Contents(ann.History(session)), []string{"user: follow", "assistant: One two three"})
			})

			t.Run("it goes on when nobody is there", func(t *testing.T) {
				for _, more := range []string{"", harness.Streamed} {
					session, body, key := harness.NewSession(), harness.UserSays("alone", more), "alone"+more
					a := rememberOnce(ann, key, session, body)
					call := up.Call()
					a.GoAway()
					if err := <-a.Err; err == nil {
						t.Fatal("there was an answer")
					}
					b := rememberOnce(ann, key, session, body)
					call.Answer("for whoever comes")
					for range 2 {
						if got := b.Whole(); got.Text != "for whoever comes" || got.Finish != "stop" {
							t.Errorf("%d %q", got.Status, got.Frames)
						}
						b = rememberOnce(ann, key, session, body)
					}
					b.Whole()
					harness.WantList(t, "history", harness.Contents(ann.History(session)), []string{"user: alone", "assistant: for whoever comes"})
				}
			})

			t.Run("many at once are one", func(t *testing.T) {
				for _, more := range []string{"", harness.Streamed} {
					session := harness.NewSession()
					var list []*harness.Pending
					for range 20 {
						list = append(list, rememberOnce(ann, "many"+more, session, harness.UserSays("many", more)))
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
					harness.WantList(t, "history", harness.Contents(ann.History(session)), []string{"user: many", "assistant: the one answer"})
				}
			})

			t.Run("a key is its tenant's and user's", func(t *testing.T) {
				session := harness.NewSession()
				for i, cl := range []*harness.Client{ann, harness.NewClient(c, "acme", "bob"), harness.NewClient(c, "acme", ""), harness.NewClient(c, "globex", "ann")} {
					a := rememberOnce(cl, "mine", session, harness.UserSays(fmt.Sprint("mine ", i)))
					up.Call().Answer(fmt.Sprint("for ", i))
					if got := a.Whole(); got.Text != fmt.Sprint("for ", i) {
						t.Errorf("%d got %q", i, got.Frames)
					}
				}
				if got := rememberOnce(ann, "mine", session, harness.UserSays("mine 0")).Whole(); got.Text != "for 0" {
					t.Errorf("got %q", got.Frames)
				}
			})

			t.Run("of a busy session it is free again", func(t *testing.T) {
				session := harness.NewSession()
				a := rememberOnce(ann, "busy-1", session, harness.UserSays("first"))
				call := up.Call()
				for range 2 {
					harness.WantFailure(t, rememberOnce(ann, "busy-2", session, harness.UserSays("second")).Answer(), http.StatusConflict, "session_busy")
				}
				call.Answer("1")
				a.Whole()
				b := rememberOnce(ann, "busy-2", session, harness.UserSays("second"))
				call = up.Call()
				if got := rememberOnce(ann, "busy-1", session, harness.UserSays("first")).Whole(); got.Text != "1" {
					t.Errorf("beside another turn: %d %q", got.Status, got.Frames)
				}
				call.Answer("2")
				b.Whole()
			})

			t.Run("a deleted answer is forgotten", func(t *testing.T) {
				session := harness.NewSession()
				for i := range 2 {
					a := rememberOnce(ann, "deleted", session, harness.UserSays(fmt.Sprint("deleted ", name), harness.Streamed), "Cache-Control", "no-cache")
					up.Call().Answer(fmt.Sprint("secret ", i))
					if got := a.Whole(); got.Text != fmt.Sprint("secret ", i) {
						t.Errorf("got %q", got.Frames)
					}
					ann.Do(http.MethodDelete, "/chat/"+session, nil).Body.Close()
				}
			})

			t.Run("a long answer is kept", func(t *testing.T) {
				session, text := harness.NewSession(), strings.Repeat("0123456789abcdef", 1<<16)
				for _, more := range []string{"", harness.Streamed} {
					body, key := harness.UserSays("long", more), "long"+more
					a := rememberOnce(ann, key, session, body)
					call := up.Call()
					if more == "" {
						call.Answer(text)
					} else {
						for piece := range slices.Chunk([]byte(text), 1<<14) {
							call.Event(harness.ChunkOf(`{"content":` + harness.Quote(string(piece)) + `}`))
						}
						call.Stream(harness.EndOf("stop"))
					}
					first := a.Whole()
					if got := rememberOnce(ann, key, session, body).Whole(); got.Text != text || !slices.Equal(got.Frames, first.Frames) {
						t.Errorf("%d: %d bytes", got.Status, len(got.Text))
					}
				}
			})

			t.Run("a key that is none", func(t *testing.T) {
				session := harness.NewSession()
				for _, key := range []string{"", "two words", "schlüssel", strings.Repeat("k", 256)} {
					f := harness.WantFailure(t, rememberOnce(ann, key, session, harness.UserSays("bad")).Answer(), http.StatusBadRequest, "invalid_request")
					if f.Error.Param == nil || *f.Error.Param != headerIdempotency {
						t.Errorf("%q: %+v", key, f.Error)
					}
				}
				req := ann.Request(http.MethodPost, harness.CompletionsPath, harness.UserSays("bad"), "X-Session-Id", session)
				req.Header[headerIdempotency] = []string{"one", "two"}
				harness.WantFailure(t, ann.Start(req).Answer(), http.StatusBadRequest, "invalid_request")
				harness.WantFailure(t, ann.Do(http.MethodGet, "/chat/"+session+"/history", nil), http.StatusNotFound, "session_not_found")
			})

			t.Run("a restart forgets nothing", func(t *testing.T) {
				var first [2]harness.Completion
				sessions := [2]string{harness.NewSession(), harness.NewSession()}
				for i, more := range []string{"", harness.Streamed} {
					a := rememberOnce(ann, "restart"+more, sessions[i], harness.UserSays("restart", more))
					up.Call().Answer("kept")
					first[i] = a.Whole()
				}
				c.Stop()
				c.Restart()
				for i, more := range []string{"", harness.Streamed} {
					got := rememberOnce(ann, "restart"+more, sessions[i], harness.UserSays("restart", more)).Whole()
					if got.Text != "kept" || !slices.Equal(got.Frames, first[i].Frames) {
						t.Errorf("%d %q, want %q", got.Status, got.Frames, first[i].Frames)
					}
					wantReused(ann, "restart"+more, sessions[i], harness.UserSays("other", more))
					wantReused(ann, "restart"+more, harness.NewSession(), harness.UserSays("restart", more))
					if n := len(ann.History(sessions[i])); n != 2 {
						t.Errorf("%d messages", n)
					}
				}
			})

			t.Run("a kill in the middle frees it", func(t *testing.T) {
				session, body := harness.NewSession(), harness.UserSays("killed", harness.Streamed)
				a := rememberOnce(ann, "killed", session, body)
				call := up.Call()
				call.Event(harness.ChunkOf(`{"role":"assistant","content":"half"}`))
				a.Stream().ReadText("half")
				c.Kill()
				call.WantGone()
				c.Restart()
				a = rememberOnce(ann, "killed", session, body)
				up.Call().Answer("whole")
				if got := a.Whole(); got.Text != "whole" {
					t.Errorf("got %q", got.Frames)
				}
				harness.WantList(t, "history", harness.Contents(ann.History(session)), []string{"user: killed", "assistant: whole"})
			})
			up.WantNoCall(t)
		})
	}
}
