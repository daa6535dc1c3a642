package budgets

import (
	"net/http"
	"testing"

	"github.com/caddy-chat/caddy-chat/integration/harness"
)

// TestAbsurdUsageLeavesTheBudget has a provider that reports more tokens than its
// answer can have cost. They are not taken from the month's budget.
func TestAbsurdUsageLeavesTheBudget(t *testing.T) {
	t.Parallel()
	s := newBudgetSite(t, "budget 1000 tokens/month")
	const usage = `{"prompt_tokens":1000000000000000000,"completion_tokens":1000000000000000000}`
	for name, stream := range map[string]bool{"a document": false, "a stream": true} {
		t.Run(name, func(t *testing.T) {
			s.one.Plays(harness.Document(http.StatusOK, `{"id":"c","object":"chat.completion","created":1,"model":"m","choices":[{"index":0,"message":{"content":"word"},"finish_reason":"stop"}],"usage":`+usage+`}`))
			if stream {
				s.one.Plays(harness.Sends(harness.Content("word"), harness.WithUsage(harness.Finished, usage), harness.EndMark))
			}
			for range 2 {
				if a := s.Globex.Complete(budgetQuestion("fast", 10, stream)); a.Status != http.StatusOK || a.Code != "" || a.Text != "word" {
					t.Errorf("status %d, error %q, text %q", a.Status, a.Code, a.Text)
				}
			}
		})
	}
}
