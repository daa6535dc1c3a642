package integration

import (
	"net/http"
	"strings"
	"testing"
)

// hung brings calls to the point where each has said so many tokens.
func (s *budgetSite) hung(n, says, outputCap int) {
	s.t.Helper()
	s.one.plays(steps(begins(pieces(says)...), stalls))
	for range n {
		resp := s.globex.do(http.MethodPost, completions, budgetQuestion("fast", outputCap, true))
		s.t.Cleanup(func() { resp.Body.Close() })
		readTokens(s.t, resp, says)
	}
}

// TestBudgetOfProcessThatEnds has the process end in the middle of answers.
func TestBudgetOfProcessThatEnds(t *testing.T) {
	t.Parallel()
	const calls, says, outputCap = 3, 10, 50
	s := newBudgetSite(t, "budget 1000 tokens/day 100000 tokens/month")
	s.one.plays(speaks(92))
	first := s.globex.complete(budgetQuestion("fast", 0, true))
	first.wantText(t, strings.Repeat(tokenText, 92))
	s.c.wantUsed("globex", "day", 100, 1000)
	left := 900

	// what a killed process held is free at once, and what was used is kept
	s.hung(calls, says, outputCap)
	s.wantLeft(s.globex, left-calls*(spending+outputCap))
	s.c.kill()
	s.c.restart()
	s.wantLeft(s.globex, left)

	// one that is stopped settles what was produced
	s.hung(calls, says, outputCap)
	s.c.stop()
	s.c.restart()
	left -= calls * (spending + says)
	s.wantLeft(s.globex, left)

	// a reload keeps what is held, and the call settles it
	hold := make(chan struct{})
	s.one.plays(speaksAfter(hold, outputCap))
	resp := s.globex.do(http.MethodPost, completions, budgetQuestion("fast", outputCap, true))
	readTokens(t, resp, 1)
	s.c.reload()
	left -= spending + outputCap
	s.wantLeft(s.globex, left)
	close(hold)
	a := readCompletion(t, resp)
	if !a.done || a.Finish != "stop" || a.Text != strings.Repeat(tokenText, outputCap-1) {
		t.Errorf("finish %q, end mark %v, %d bytes", a.Finish, a.done, len(a.Text))
	}
	s.c.wantUsed("globex", "day", float64(1000-left), 1000)
	s.wantLeft(s.globex, left)

	if n, _ := s.tokensOf("t0"); n != 0 || !s.fits(newClient(s.c, "t0", "ann"), 1000) {
		t.Error("another tenant pays too")
	}
}
