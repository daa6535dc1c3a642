package idempotency

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/caddy-chat/caddy-chat/integration/harness"
)

const headerIdempotency = "Idempotency-Key"

// idempotencySites are a gateway without a cache and one with it: a key is
// heeded in front of both.
func idempotencySites(f *harness.Upstream, more ...string) map[string]string {
	return map[string]string{"without a cache": harness.GatewaySite(f, more...), "with a cache": harness.CacheSite(f, more...)}
}

func TestGatewayIdempotencyKey(t *testing.T) {
	t.Parallel()
	up := harness.NewUpstream(t, harness.AnswersAll("Hello"))
	for name, site := range idempotencySites(up) {
		t.Run(name, func(t *testing.T) {
			c := harness.Start(t, harness.CacheTenants, site)
			ann := harness.NewClient(c, "globex", "ann")
			keyed := func(cl *harness.Client, key, text string) harness.Completion {
				return cl.Complete(harness.QuestionOf(text), headerIdempotency, key)
			}
			n := 0
			newKey := func() string { n++; return fmt.Sprint(name[:4], "-key-", n) }

			t.Run("a repeated request gets the first answer", func(t *testing.T) {
				for _, q := range []harness.Question{harness.QuestionOf("again"), harness.QuestionOf("again").Streamed(), harness.QuestionOf("again").WithUsage()} {
					up.Plays(harness.AnswersAll("First"))
					key, before := newKey(), up.Count()
					first := ann.Complete(q, headerIdempotency, key, "X-Trace-Id", "trace-1")
					up.Plays(harness.AnswersAll("Second"))
					tokens := c.Metrics()[`caddy_ai_tokens_total{model="fast",provider="openai",tenant="globex",type="output"}`]
					// neither does another answer do that is newer
					ann.Complete(q, "Cache-Control", "no-cache")
					for _, control := range []string{"no-cache", "max-age=0"} {
						second := ann.Complete(q, headerIdempotency, key, "X-Trace-Id", "trace-2", "Cache-Control", control)
						if second.Status != http.StatusOK || !slices.Equal(second.Frames, first.Frames) || second.Text != "First" {
							t.Errorf("status %d, %v, want %v", second.Status, second.Frames, first.Frames)
						}
						harness.WantHeader(t, second.Header, map[string]string{"X-Trace-Id": "trace-2", "X-Ai-Provider": "openai", "X-Model-Id": "fast", harness.HeaderCache: ""})
					}
					if n := up.Count() - before; n != 2 {
						t.Errorf("%d calls, want 1 and the other", n)
					}
					c.WantMetrics(map[string]float64{`caddy_ai_tokens_total{model="fast",provider="openai",tenant="globex",type="output"}`: tokens + 3})
				}
				up.Plays(harness.AnswersAll("Hello"))
			})

			t.Run("another body is refused", func(t *testing.T) {
				key := newKey()
				keyed(ann, key, "one")
				before := up.Count()
				for _, body := range []any{harness.QuestionOf("two"), harness.QuestionOf("one").Streamed(), `{"model":"fast", "messages":[{"role":"user","content":"one"}]}`} {
					f := harness.WantFailure(t, ann.Do(http.MethodPost, harness.CompletionsPath, body, headerIdempotency, key), http.StatusUnprocessableEntity, "idempotency_key_reused")
					if f.Error.Type != "invalid_request_error" || f.Error.Param == nil || *f.Error.Param != headerIdempotency {
						t.Errorf("%+v", f.Error)
					}
				}
				if a := keyed(ann, key, "one"); a.Text != "Hello" || up.Count() != before {
					t.Errorf("%q, %d more calls", a.Text, up.Count()-before)
				}
			})

			t.Run("a key is its user's, its tenant's and its path's", func(t *testing.T) {
				key := newKey()
				keyed(ann, key, "mine")
				for _, cl := range []*harness.Client{harness.NewClient(c, "globex", "bob"), harness.NewClient(c, "globex", ""), harness.NewClient(c, "acme", "ann")} {
					text := "of " + cl.Tenant + cl.User
					before := up.Count()
					if a := keyed(cl, key, text); a.Status != http.StatusOK || up.Count() != before+1 {
						t.Errorf("%s: status %d, %d calls", text, a.Status, up.Count()-before)
					}
				}
				up.Plays(harness.Document(http.StatusOK, harness.OpenAIVectors))
				defer up.Plays(harness.AnswersAll("Hello"))
				before := up.Count()
				for range 2 {
					resp := ann.Do(http.MethodPost, "/v1/embeddings", `{"model":"fast","input":["`+key+`"]}`, headerIdempotency, key)
					if text := harness.ReadAll(t, resp); resp.StatusCode != http.StatusOK || text != harness.OpenAIVectors {
						t.Errorf("%d %s", resp.StatusCode, text)
					}
				}
				if up.Count() != before+1 {
					t.Errorf("%d calls for embeddings, want 1", up.Count()-before)
				}
				harness.WantFailure(t, ann.Do(http.MethodPost, "/v1/embeddings", `{"model":"fast","input":"other"}`, headerIdempotency, key), http.StatusUnprocessableEntity, "idempotency_key_reused")
			})

			t.Run("a failure frees the key", func(t *testing.T) {
				for i, tc := range []struct {
					q      harness.Question
					answer harness.Script
				}{
					{harness.QuestionOf("fails"), harness.Document(http.StatusInternalServerError, "{}")},
					{harness.QuestionOf("fails"), harness.Document(http.StatusBadRequest, `{"error":{"message":"no"}}`)},
					{harness.QuestionOf("is cut").Streamed(), harness.Sends(harness.Role, harness.Content("Hel"))},
				} {
					key := newKey()
					up.Plays(tc.answer)
					if a := ann.Complete(tc.q, headerIdempotency, key); a.Code == "" {
						t.Errorf("%d: %+v", i, a.Frames)
					}
					up.Plays(harness.AnswersAll("Hello"))
					if a := keyed(ann, key, fmt.Sprint("another body ", i)); a.Text != "Hello" {
						t.Errorf("%d: status %d, %q", i, a.Status, a.Text)
					}
				}
				// neither does a request that is refused before any call take it
				key := newKey()
				refused := ann.Complete(harness.NewQuestion("nobody"), headerIdempotency, key)
				refused.WantRefused(t, http.StatusNotFound, "model_unknown")
				if a := keyed(ann, key, "goes"); a.Text != "Hello" {
					t.Errorf("status %d, %q", a.Status, a.Text)
				}
			})

			t.Run("a repeated request costs nothing of a budget", func(t *testing.T) {
				thrifty, key := harness.NewClient(c, "thrifty", "ann"), newKey()
				keyed(thrifty, key, "once")
				other := thrifty.Complete(harness.QuestionOf("too much"), headerIdempotency, newKey())
				other.WantRefused(t, http.StatusTooManyRequests, "budget_exceeded")
				if a := keyed(thrifty, key, "once"); a.Status != http.StatusOK || a.Text != "Hello" {
					t.Errorf("status %d, %q", a.Status, a.Text)
				}
			})

			t.Run("bad keys are refused", func(t *testing.T) {
				before := up.Count()
				for _, key := range []string{"", strings.Repeat("k", 256), "two words", "tab\tkey", "schlüssel"} {
					a := keyed(ann, key, "bad")
					a.WantRefused(t, http.StatusBadRequest, "invalid_request")
					if !strings.HasPrefix(a.Error, headerIdempotency+": ") {
						t.Errorf("%q: the client is told %q", key, a.Error)
					}
				}
				req := ann.Request(http.MethodPost, harness.CompletionsPath, harness.QuestionOf("bad"))
				req.Header[headerIdempotency] = []string{"one", "two"}
				resp, err := ann.HTTP.Do(req)
				if err != nil {
					t.Fatal(err)
				}
				harness.WantFailure(t, resp, http.StatusBadRequest, "invalid_request")
				if up.Count() != before {
					t.Error("the provider is asked")
				}
				for _, key := range []string{strings.Repeat("k", 255), "!~", `"quoted"`} {
					if a := keyed(ann, key, "good"); a.Status != http.StatusOK {
						t.Errorf("%q: status %d", key, a.Status)
					}
				}
			})

			t.Run("is kept beyond a restart", func(t *testing.T) {
				key := newKey()
				keyed(ann, key, "kept")
				c.Stop()
				c.Restart()
				up.Plays(harness.AnswersAll("Later"))
				defer up.Plays(harness.AnswersAll("Hello"))
				if a := keyed(ann, key, "kept"); a.Text != "Hello" {
					t.Errorf("status %d, %q", a.Status, a.Text)
				}
				a := keyed(ann, key, "other")
				a.WantRefused(t, http.StatusUnprocessableEntity, "idempotency_key_reused")
			})

			t.Run("nothing else heeds it", func(t *testing.T) {
				for range 2 {
					if status := ann.Call(http.MethodGet, "/v1/models", nil, new(any), headerIdempotency, "bad key"); status != http.StatusOK {
						t.Errorf("status %d", status)
					}
				}
			})
		})
	}
}

// TestGatewayIdempotencyInFlight has requests repeated while the first one runs.
func TestGatewayIdempotencyInFlight(t *testing.T) {
	t.Parallel()
	up := harness.NewUpstream(t)
	const patient = "response_timeout 10m\nfirst_token_timeout 10m\nstall_timeout 10m"
	for name, site := range idempotencySites(up, patient) {
		t.Run(name, func(t *testing.T) {
			c := harness.Start(t, harness.CacheTenants, site)
			ann := harness.NewClient(c, "globex", "ann")
			start := func(key, text string) *harness.Pending {
				return ann.StartCompletion(harness.QuestionOf(text).Streamed(), headerIdempotency, key)
			}
			wantReused := func(key, text string) {
				t.Helper()
				a := ann.Complete(harness.QuestionOf(text), headerIdempotency, key)
				a.WantRefused(t, http.StatusUnprocessableEntity, "idempotency_key_reused")
			}

			t.Run("it is followed", func(t *testing.T) {
				first := start("followed", "follow")
				call := up.Call()
				call.Say("One")
				r1 := first.Stream()
				r1.ReadText("One")
				r2 := start("followed", "follow").Stream()
				r2.ReadText("One")
				c.WantMetrics(map[string]float64{`caddy_chat_open_streams{tenant="globex"}`: 2})
				wantReused("followed", "something else")
				call.Say(" two")
				r1.ReadText("One two")
				r2.ReadText("One two")
				call.Finish("stop")
				r1.Rest().WantWhole(t, "One two")
				r2.Rest().WantWhole(t, "One two")
				harness.WantHeader(t, r2.Header, map[string]string{harness.HeaderCache: ""})
				wantReused("followed", "something else")
				c.WantNothingLeft()
			})

			t.Run("it goes on without its client", func(t *testing.T) {
				first := start("alone", "alone")
				call := up.Call()
				first.GoAway()
				call.Say("One")
				r := start("alone", "alone").Stream()
				r.ReadText("One")
				r.Ask.GoAway()
				call.Say(" two")
				call.Finish("stop")
				c.WantNothingLeft()
				a := ann.Complete(harness.QuestionOf("alone").Streamed(), headerIdempotency, "alone")
				a.WantWhole(t, "One two")
				wantReused("alone", "something else")
				if len(up.Calls) > 0 {
					t.Error("the upstream is called again")
				}
			})

			t.Run("it fails", func(t *testing.T) {
				first := start("failing", "fail")
				call := up.Call()
				call.Say("One")
				r1 := first.Stream()
				r1.ReadText("One")
				r2 := start("failing", "fail").Stream()
				r2.ReadText("One")
				call.Cut()
				r1.Rest().WantCut(t, "One", "ai_error")
				r2.Rest().WantCut(t, "One", "ai_error")
				again := start("failing", "another body")
				call = up.Call()
				call.Say("Two")
				call.Finish("stop")
				again.Stream().Rest().WantWhole(t, "Two")
				c.WantNothingLeft()
			})

			t.Run("a document is waited for", func(t *testing.T) {
				q := harness.QuestionOf("document")
				list := []*harness.Pending{ann.StartCompletion(q, headerIdempotency, "document")}
				call := up.Call()
				list = append(list, ann.StartCompletion(q, headerIdempotency, "document"))
				c.WantFollowing(1)
				call.Say("whole")
				call.Finish("stop")
				for _, a := range list {
					if text := harness.ReadAll(t, a.Answer()); !strings.Contains(text, `"content":"whole"`) {
						t.Errorf("got %s", text)
					}
				}
				c.WantNothingLeft()
			})
		})
	}
}
