package idempotency

import (
	"net/http"
	"testing"

	"github.com/caddy-chat/caddy-chat/integration/harness"
)

// TestGateway checks requests without a session.
func TestGateway(t *testing.T) {
	t.Parallel()
	up := harness.NewUpstream(t, harness.AnswersAll("Hello"))
	for name, site := range map[string]string{"gateway": harness.GatewaySite(up), "cached": harness.CacheSite(up)} {
		t.Run(name, func(t *testing.T) {
			c := harness.Start(t, harness.CacheTenants, site)
			ann := harness.NewClient(c, "globex", "ann")
			keyed := func(cl *harness.Client, key string, q any) harness.Completion {
				return cl.Complete(q, headerKey, key)
			}

			t.Run("a repeated request costs no budget", func(t *testing.T) {
				thrifty := harness.NewClient(c, "thrifty", "ann")
				keyed(thrifty, "budget", harness.QuestionOf("once"))
				other := keyed(thrifty, "budget-2", harness.QuestionOf("too much"))
				other.WantRefused(t, http.StatusTooManyRequests, "budget_exceeded")
				if a := keyed(thrifty, "budget", harness.QuestionOf("once")); a.Status != http.StatusOK || a.Text != "Hello" {
					t.Errorf("status %d, %q", a.Status, a.Text)
				}
			})

			t.Run("a body must be the same byte for byte", func(t *testing.T) {
				keyed(ann, "bytes", harness.QuestionOf("one"))
				before := up.Count()
				spaced := keyed(ann, "bytes", `{"model":"fast", "messages":[{"role":"user","content":"one"}]}`)
				spaced.WantRefused(t, http.StatusUnprocessableEntity, "idempotency_key_reused")
				if a := keyed(ann, "bytes", harness.QuestionOf("one")); a.Text != "Hello" || up.Count() != before {
					t.Errorf("%q, %d more calls", a.Text, up.Count()-before)
				}
			})

			t.Run("a stream keeps its usage", func(t *testing.T) {
				first := keyed(ann, "usage", harness.QuestionOf("usage").WithUsage())
				second := keyed(ann, "usage", harness.QuestionOf("usage").WithUsage())
				if first.Usage.Raw == "" || second.Usage.Raw != first.Usage.Raw {
					t.Errorf("usage %q, then %q", first.Usage.Raw, second.Usage.Raw)
				}
			})

			t.Run("a key belongs to its path", func(t *testing.T) {
				const key = "path"
				keyed(ann, key, harness.QuestionOf("mine"))
				up.Plays(harness.Document(http.StatusOK, harness.OpenAIVectors))
				defer up.Plays(harness.AnswersAll("Hello"))
				before := up.Count()
				for range 2 {
					resp := ann.Do(http.MethodPost, "/v1/embeddings", `{"model":"fast","input":["`+name+`"]}`, headerKey, key)
					if text := harness.ReadAll(t, resp); resp.StatusCode != http.StatusOK || text != harness.OpenAIVectors {
						t.Errorf("%d %s", resp.StatusCode, text)
					}
				}
				if up.Count() != before+1 {
					t.Errorf("%d calls for embeddings, want 1", up.Count()-before)
				}
				harness.WantFailure(t, ann.Do(http.MethodPost, "/v1/embeddings", `{"model":"fast","input":"other"}`, headerKey, key), http.StatusUnprocessableEntity, "idempotency_key_reused")
			})

			t.Run("routes that call no model ignore a key", func(t *testing.T) {
				for range 2 {
					if status := ann.Call(http.MethodGet, "/v1/models", nil, new(any), headerKey, "bad key"); status != http.StatusOK {
						t.Errorf("status %d", status)
					}
				}
			})
		})
	}
}
