package cache

import (
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/caddy-chat/caddy-chat/integration/harness"
)

// TestDeadAnswersAreNotKept has failures with status 200. Neither the cache nor an
// Idempotency-Key keeps them as an answer.
func TestDeadAnswersAreNotKept(t *testing.T) {
	t.Parallel()
	up := harness.NewUpstream(t, harness.AnswersAll("Hello"))
	c := harness.Start(t, harness.CacheTenants, harness.CacheSite(up, "retries 0"))
	globex := harness.NewClient(c, "globex", "ann")
	for name, choices := range map[string]string{
		"no choice":           "[]",
		"finish reason error": `[{"index":0,"message":{"content":"Hel"},"finish_reason":"error"}]`,
	} {
		t.Run(name, func(t *testing.T) {
			for _, header := range [][]string{nil, {"Idempotency-Key", strings.ReplaceAll(name, " ", "-")}} {
				q := harness.QuestionOf(fmt.Sprint(name, header))
				up.Plays(harness.Document(http.StatusOK, `{"choices":`+choices+`,"usage":{"prompt_tokens":7,"completion_tokens":3}}`), harness.AnswersAll("Hello"))
				first := globex.Complete(q, header...)
				first.WantRefused(t, http.StatusBadGateway, "ai_error")
				if second := globex.Complete(q, header...); second.Text != "Hello" {
					t.Errorf("then status %d, %q", second.Status, second.Text)
				}
			}
		})
	}
	t.Run("a stream", func(t *testing.T) {
		q := harness.QuestionOf("streamed and dead").Streamed()
		up.Plays(harness.Sends(harness.Content("Hel"), "data: {\"choices\":[{\"index\":0,\"delta\":{},\"finish_reason\":\"error\"}]}\n\n", harness.EndMark), harness.AnswersAll("Hello"))
		first := globex.Complete(q)
		first.WantCut(t, "Hel", "ai_error")
		second := globex.Complete(q)
		second.WantWhole(t, "Hello")
	})
}
