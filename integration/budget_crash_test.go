package integration

import (
	"net/http"
	"strings"
	"testing"
)

// hung brings calls to the point where each has said so many tokens.
func (s *budgetSite) hung(n, says int) []*http.Response {
	s.t.Helper()
	s.one.plays(steps(begins(pieces(says)...), stalls))
	var list []*http.Response
	for range n {
		resp := s.globex.do(http.MethodPost, completions, budgetQuestion("fast", 0, true))
		s.t.Cleanup(func() { resp.Body.Close() })
		readTokens(s.t, resp, says)
		list = append(list, resp)
	}
	return list
}

// TestBudgetOfProcessThatEnds has the process end in the middle of answers.
func TestBudgetOfProcessThatEnds(t *testing.T) {
	t.Parallel()
	s := newBudgetSite(t, "budget 1000 tokens/day 100000 tokens/month")
	s.one.plays(speaks(92))
	first := s.globex.complete(budgetQuestion("fast", 0, true))
	first.wantText(t, strings.Repeat(tokenText, 92))
	s.c.wantUsed("globex", "day", 100, 1000)

	t.Run("kill -9", func(t *testing.T) {
		s.hung(3, 10)
		if s.fits(s.globex, 200) {
			t.Error("nothing is held")
		}
		s.c.kill()
		s.c.restart()
		s.wantLeft(s.globex, 900)
	})
	t.Run("stop", func(t *testing.T) {
		s.hung(3, 10)
		s.c.stop()
		s.c.restart()
		s.wantLeft(s.globex, 900-3*(spending+10))
	})
	t.Run("reload", func(t *testing.T) {
		left := 900 - 3*(spending+10)
		hold := make(chan struct{})
		s.one.plays(speaksAfter(hold, 92))
		resp := s.globex.do(http.MethodPost, completions, budgetQuestion("fast", 92, true))
		readTokens(t, resp, 1)
		s.c.reload()
		s.wantLeft(s.globex, left-100)
		close(hold)
		a := readCompletion(t, resp)
		if !a.done || a.Finish != "stop" || a.Text != strings.Repeat(tokenText, 91) {
			t.Errorf("finish %q, end mark %v, %d bytes", a.Finish, a.done, len(a.Text))
		}
		s.c.wantUsed("globex", "day", float64(1000-left+100), 1000)
		s.wantLeft(s.globex, left-100)
	})
	if n, _ := s.tokensOf("t0"); n != 0 || !s.fits(newClient(s.c, "t0", "ann"), 1000) {
		t.Error("another tenant pays too")
	}
}
