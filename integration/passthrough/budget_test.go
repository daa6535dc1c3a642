package passthrough

import (
	"net/http"
	"strings"
	"testing"

	"github.com/caddy-chat/caddy-chat/integration/harness"
)

// TestStreamBudget has a stream pass through that is longer than its tenant's budget.
func TestStreamBudget(t *testing.T) {
	up := harness.NewUpstream(t)
	c := harness.Start(t, "chat {\ntenant acme {\nbudget 500 tokens/day\n}\n}", harness.GatewaySite(up))
	up.Plays(harness.Steps(harness.Heads("Content-Type", "text/event-stream"), func(c *harness.Call) {
		for range 400 {
			c.Send("data: {\"choices\":[{\"text\":\"" + strings.Repeat("word ", 10) + "\"}]}\n\n")
		}
		c.Send("data: [DONE]\n\n")
	}))
	acme := harness.NewClient(c, "acme", "ann")
	got := harness.ReadAll(t, acme.Do(http.MethodPost, "/v1/completions", `{"model":"fast","prompt":"hi","stream":true}`))
	if n := strings.Count(got, "word "); n < 100 || n > 450 {
		t.Errorf("%d words came through a budget of 500 tokens", n)
	}
	if !strings.HasSuffix(got, `"finish_reason":"length","logprobs":null}]}`+"\n\ndata: [DONE]\n\n") {
		t.Errorf("it ends with %q", got[max(0, len(got)-300):])
	}
}

// TestReserved has a request hold what it allows at most, so that there is no room for a
// second one beside it.
func TestReserved(t *testing.T) {
	up := harness.NewUpstream(t)
	c := harness.Start(t, "chat {\ntenant acme {\nbudget 500 tokens/day\n}\n}", harness.GatewaySite(up))
	acme := harness.NewClient(c, "acme", "ann")
	for body, fits := range map[string]bool{
		`{"model":"fast","prompt":"hi","max_tokens":300}`:             true,
		`{"model":"fast","prompt":"hi","max_tokens":600}`:             false,
		`{"model":"fast","prompt":"hi","max_tokens":300,"n":2}`:       false,
		`{"model":"fast","prompt":"hi","max_tokens":300,"best_of":2}`: false,
		`{"model":"fast","prompt":["hi","ho"],"max_tokens":300}`:      false,
		`{"model":"fast","prompt":[1,2,3,4],"max_tokens":300}`:        true,
	} {
		first := acme.Start(acme.Request(http.MethodPost, "/v1/completions", body))
		call := up.Call()
		second := acme.Start(acme.Request(http.MethodPost, "/v1/completions", `{"model":"fast","prompt":"hi","max_tokens":100}`))
		if fits {
			up.Call().Fail(http.StatusBadRequest, `{}`)
			harness.ReadAll(t, second.Answer())
		} else {
			harness.WantFailure(t, second.Answer(), http.StatusTooManyRequests, "budget_exceeded")
		}
		call.Fail(http.StatusBadRequest, `{}`)
		harness.ReadAll(t, first.Answer())
	}
}
