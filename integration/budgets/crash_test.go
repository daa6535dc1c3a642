package budgets

import (
	"net/http"
	"strings"
	"testing"

	"github.com/caddy-chat/caddy-chat/integration/harness"
)

// hung starts n streams and leaves each open after it has sent says tokens.
func (s *budgetSite) hung(n, says, outputCap int) {
	s.T.Helper()
	s.one.Plays(harness.Steps(harness.Begins(pieces(says)...), harness.Stalls))
	for range n {
		resp := s.Globex.Do(http.MethodPost, harness.CompletionsPath, budgetQuestion("fast", outputCap, true))
		s.T.Cleanup(func() { resp.Body.Close() })
		readTokens(s.T, resp, says)
	}
}

// TestBudgetOfProcessThatEnds ends the process while answers are streaming.
func TestBudgetOfProcessThatEnds(t *testing.T) {
	t.Parallel()
	const calls, says, outputCap = 3, 10, 50
	s := newBudgetSite(t, "budget 1000 tokens/day 100000 tokens/month")
	s.one.Plays(speaks(92))
	first := s.Globex.Complete(budgetQuestion("fast", 0, true))
	first.WantText(t, strings.Repeat(tokenText, 92))
	wantUsed(s.C, "globex", "day", 100, 1000)
	left := 900

	// a kill may lose the latest settlement; a clean stop writes it
	s.C.Stop()
	s.C.Restart()

	// after a kill, holds are free at once and usage is kept
	s.hung(calls, says, outputCap)
	s.wantLeft(s.Globex, left-calls*(spending+outputCap))
	s.C.Kill()
	s.C.Restart()
	s.wantLeft(s.Globex, left)

	// a process that is stopped settles what was produced
	s.hung(calls, says, outputCap)
	s.C.Stop()
	s.C.Restart()
	left -= calls * (spending + says)
	s.wantLeft(s.Globex, left)

	// a reload keeps the hold, and the call settles it
	hold := make(chan struct{})
	s.one.Plays(speaksAfter(hold, outputCap))
	resp := s.Globex.Do(http.MethodPost, harness.CompletionsPath, budgetQuestion("fast", outputCap, true))
	readTokens(t, resp, 1)
	s.C.Reload()
	left -= spending + outputCap
	s.wantLeft(s.Globex, left)
	close(hold)
	a := harness.ReadCompletion(t, resp)
	if !a.Done || a.Finish != "stop" || a.Text != strings.Repeat(tokenText, outputCap-1) {
		t.Errorf("finish %q, end mark %v, %d bytes", a.Finish, a.Done, len(a.Text))
	}
	wantUsed(s.C, "globex", "day", float64(1000-left), 1000)
	s.wantLeft(s.Globex, left)

	if n, _ := s.tokensOf("t0"); n != 0 || !s.fits(harness.NewClient(s.C, "t0", "ann"), 1000) {
		t.Error("another tenant is charged too")
	}
}
