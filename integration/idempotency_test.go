package integration

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
)

const headerIdempotency = "Idempotency-Key"

// idempotencySites are a gateway without a cache and one with it: a key is
// heeded in front of both.
func idempotencySites(f *fakeProvider, more ...string) map[string]string {
	return map[string]string{"without a cache": gatewaySite(f, more...), "with a cache": cacheSite(f, more...)}
}

func TestGatewayIdempotencyKey(t *testing.T) {
	t.Parallel()
	up := newFakeProvider(t, answersAll("Hello"))
	for name, site := range idempotencySites(up) {
		t.Run(name, func(t *testing.T) {
			c := startCaddy(t, cacheTenants, site)
			ann := newClient(c, "globex", "ann")
			keyed := func(cl *client, key, text string) completion { return cl.complete(asks(text), headerIdempotency, key) }
			n := 0
			newKey := func() string { n++; return fmt.Sprint(name[:4], "-key-", n) }

			t.Run("a repeated request gets the first answer", func(t *testing.T) {
				for _, q := range []question{asks("again"), asks("again").streamed(), asks("again").withUsage()} {
					up.answers(answersAll("First"))
					key, before := newKey(), up.count()
					first := ann.complete(q, headerIdempotency, key, "X-Trace-Id", "trace-1")
					up.answers(answersAll("Second"))
					tokens := c.metrics()[`caddy_ai_tokens_total{model="fast",provider="openai",tenant="globex",type="output"}`]
					// neither does another answer do that is newer
					ann.complete(q, "Cache-Control", "no-cache")
					for _, control := range []string{"no-cache", "max-age=0"} {
						second := ann.complete(q, headerIdempotency, key, "X-Trace-Id", "trace-2", "Cache-Control", control)
						if second.status != http.StatusOK || !slices.Equal(second.frames, first.frames) || second.Text != "First" {
							t.Errorf("status %d, %v, want %v", second.status, second.frames, first.frames)
						}
						wantHeader(t, second.header, map[string]string{"X-Trace-Id": "trace-2", "X-Ai-Provider": "openai", "X-Model-Id": "fast", headerCache: ""})
					}
					if n := up.count() - before; n != 2 {
						t.Errorf("%d calls, want 1 and the other", n)
					}
					c.wantMetrics(map[string]float64{`caddy_ai_tokens_total{model="fast",provider="openai",tenant="globex",type="output"}`: tokens + 3})
				}
				up.answers(answersAll("Hello"))
			})

			t.Run("another body is refused", func(t *testing.T) {
				key := newKey()
				keyed(ann, key, "one")
				before := up.count()
				for _, body := range []any{asks("two"), asks("one").streamed(), `{"model":"fast", "messages":[{"role":"user","content":"one"}]}`} {
					f := wantFailure(t, ann.do(http.MethodPost, completions, body, headerIdempotency, key), http.StatusUnprocessableEntity, "idempotency_key_reused")
					if f.Error.Type != "invalid_request_error" || f.Error.Param == nil || *f.Error.Param != headerIdempotency {
						t.Errorf("%+v", f.Error)
					}
				}
				if a := keyed(ann, key, "one"); a.Text != "Hello" || up.count() != before {
					t.Errorf("%q, %d more calls", a.Text, up.count()-before)
				}
			})

			t.Run("a key is its user's, its tenant's and its path's", func(t *testing.T) {
				key := newKey()
				keyed(ann, key, "mine")
				for _, cl := range []*client{newClient(c, "globex", "bob"), newClient(c, "globex", ""), newClient(c, "acme", "ann")} {
					text := "of " + cl.tenant + cl.user
					before := up.count()
					if a := keyed(cl, key, text); a.status != http.StatusOK || up.count() != before+1 {
						t.Errorf("%s: status %d, %d calls", text, a.status, up.count()-before)
					}
				}
				up.answers(document(http.StatusOK, openAIVectors))
				defer up.answers(answersAll("Hello"))
				before := up.count()
				for range 2 {
					resp := ann.do(http.MethodPost, "/v1/embeddings", `{"model":"fast","input":["`+key+`"]}`, headerIdempotency, key)
					if text := readAll(t, resp); resp.StatusCode != http.StatusOK || text != openAIVectors {
						t.Errorf("%d %s", resp.StatusCode, text)
					}
				}
				if up.count() != before+1 {
					t.Errorf("%d calls for embeddings, want 1", up.count()-before)
				}
				wantFailure(t, ann.do(http.MethodPost, "/v1/embeddings", `{"model":"fast","input":"other"}`, headerIdempotency, key), http.StatusUnprocessableEntity, "idempotency_key_reused")
			})

			t.Run("a failure frees the key", func(t *testing.T) {
				for i, tc := range []struct {
					q      question
					answer http.HandlerFunc
				}{
					{asks("fails"), document(http.StatusInternalServerError, "{}")},
					{asks("fails"), document(http.StatusBadRequest, `{"error":{"message":"no"}}`)},
					{asks("is cut").streamed(), sends(role, content("Hel"))},
				} {
					key := newKey()
					up.answers(tc.answer)
					if a := ann.complete(tc.q, headerIdempotency, key); a.code == "" {
						t.Errorf("%d: %+v", i, a.frames)
					}
					up.answers(answersAll("Hello"))
					if a := keyed(ann, key, fmt.Sprint("another body ", i)); a.Text != "Hello" {
						t.Errorf("%d: status %d, %q", i, a.status, a.Text)
					}
				}
				// neither does a request that is refused before any call take it
				key := newKey()
				refused := ann.complete(newQuestion("nobody"), headerIdempotency, key)
				refused.wantRefused(t, http.StatusNotFound, "model_unknown")
				if a := keyed(ann, key, "goes"); a.Text != "Hello" {
					t.Errorf("status %d, %q", a.status, a.Text)
				}
			})

			t.Run("a repeated request costs nothing of a budget", func(t *testing.T) {
				thrifty, key := newClient(c, "thrifty", "ann"), newKey()
				keyed(thrifty, key, "once")
				other := thrifty.complete(asks("too much"), headerIdempotency, newKey())
				other.wantRefused(t, http.StatusTooManyRequests, "budget_exceeded")
				if a := keyed(thrifty, key, "once"); a.status != http.StatusOK || a.Text != "Hello" {
					t.Errorf("status %d, %q", a.status, a.Text)
				}
			})

			t.Run("bad keys are refused", func(t *testing.T) {
				before := up.count()
				for _, key := range []string{"", strings.Repeat("k", 256), "two words", "tab\tkey", "schlüssel"} {
					a := keyed(ann, key, "bad")
					a.wantRefused(t, http.StatusBadRequest, "invalid_request")
					if !strings.HasPrefix(a.error, headerIdempotency+": ") {
						t.Errorf("%q: the client is told %q", key, a.error)
					}
				}
				req := ann.request(http.MethodPost, completions, asks("bad"))
				req.Header[headerIdempotency] = []string{"one", "two"}
				resp, err := ann.http.Do(req)
				if err != nil {
					t.Fatal(err)
				}
				wantFailure(t, resp, http.StatusBadRequest, "invalid_request")
				if up.count() != before {
					t.Error("the provider is asked")
				}
				for _, key := range []string{strings.Repeat("k", 255), "!~", `"quoted"`} {
					if a := keyed(ann, key, "good"); a.status != http.StatusOK {
						t.Errorf("%q: status %d", key, a.status)
					}
				}
			})

			t.Run("is kept beyond a restart", func(t *testing.T) {
				key := newKey()
				keyed(ann, key, "kept")
				c.stop()
				c.restart()
				up.answers(answersAll("Later"))
				defer up.answers(answersAll("Hello"))
				if a := keyed(ann, key, "kept"); a.Text != "Hello" {
					t.Errorf("status %d, %q", a.status, a.Text)
				}
				a := keyed(ann, key, "other")
				a.wantRefused(t, http.StatusUnprocessableEntity, "idempotency_key_reused")
			})

			t.Run("nothing else heeds it", func(t *testing.T) {
				for range 2 {
					if status := ann.call(http.MethodGet, "/v1/models", nil, new(any), headerIdempotency, "bad key"); status != http.StatusOK {
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
	up := newSteered(t)
	const patient = "response_timeout 10m\nfirst_token_timeout 10m\nstall_timeout 10m"
	for name, site := range idempotencySites(&fakeProvider{url: up.url}, patient) {
		t.Run(name, func(t *testing.T) {
			c := startCaddy(t, cacheTenants, site)
			ann := newClient(c, "globex", "ann")
			start := func(key, text string) *asking {
				return ann.startCompletion(asks(text).streamed(), headerIdempotency, key)
			}
			wantReused := func(key, text string) {
				t.Helper()
				a := ann.complete(asks(text), headerIdempotency, key)
				a.wantRefused(t, http.StatusUnprocessableEntity, "idempotency_key_reused")
			}

			t.Run("it is followed", func(t *testing.T) {
				first := start("followed", "follow")
				call := up.call()
				call.say("One")
				r1 := first.ride()
				r1.text("One")
				r2 := start("followed", "follow").ride()
				r2.text("One")
				wantReused("followed", "something else")
				call.say(" two")
				r1.text("One two")
				r2.text("One two")
				call.finish("stop")
				r1.rest().wantWhole(t, "One two")
				r2.rest().wantWhole(t, "One two")
				wantHeader(t, r2.header, map[string]string{headerCache: ""})
				wantReused("followed", "something else")
				c.wantNothingLeft()
			})

			t.Run("it goes on without its client", func(t *testing.T) {
				first := start("alone", "alone")
				call := up.call()
				first.goAway()
				call.say("One")
				r := start("alone", "alone").ride()
				r.text("One")
				r.ask.goAway()
				call.say(" two")
				call.finish("stop")
				c.wantNothingLeft()
				a := ann.complete(asks("alone").streamed(), headerIdempotency, "alone")
				a.wantWhole(t, "One two")
				wantReused("alone", "something else")
				if len(up.calls) > 0 {
					t.Error("the upstream is called again")
				}
			})

			t.Run("it fails", func(t *testing.T) {
				first := start("failing", "fail")
				call := up.call()
				call.say("One")
				r1 := first.ride()
				r1.text("One")
				r2 := start("failing", "fail").ride()
				r2.text("One")
				call.cut()
				r1.rest().wantCut(t, "One", "ai_error")
				r2.rest().wantCut(t, "One", "ai_error")
				again := start("failing", "another body")
				call = up.call()
				call.say("Two")
				call.finish("stop")
				again.ride().rest().wantWhole(t, "Two")
				c.wantNothingLeft()
			})

			t.Run("a document is waited for", func(t *testing.T) {
				q := asks("document")
				list := []*asking{ann.startCompletion(q, headerIdempotency, "document")}
				call := up.call()
				list = append(list, ann.startCompletion(q, headerIdempotency, "document"))
				want := 2
				if name == "with a cache" {
					want = 3 // the key's own call waits for the cache
				}
				c.wantRides(want)
				call.say("whole")
				call.finish("stop")
				for _, a := range list {
					if text := readAll(t, a.answer()); !strings.Contains(text, `"content":"whole"`) {
						t.Errorf("got %s", text)
					}
				}
				c.wantNothingLeft()
			})
		})
	}
}
