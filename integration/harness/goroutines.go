package harness

import (
	"fmt"
	"net/http"
	"strings"
)

// waiting counts requests whose answer is on its way, or being waited for.
func (c *Caddy) waiting() int { return c.goroutinesIn("sharedanswer.(*Flight).ride(") }

// goroutinesIn counts the goroutines that are in a function.
func (c *Caddy) goroutinesIn(name string) int {
	c.T.Helper()
	resp, err := http.Get(c.Admin + "/debug/pprof/goroutine?debug=2")
	if err != nil {
		c.T.Fatal(err)
	}
	n := 0
	for g := range strings.SplitSeq(ReadAll(c.T, resp), "\n\n") {
		if strings.Contains(g, name) {
			n++
		}
	}
	return n
}

// WantWaiting waits until so many requests wait for their answers.
func (c *Caddy) WantWaiting(want int) {
	c.T.Helper()
	Eventually(c.T, fmt.Sprintf("%d requests ride", want), func() bool { return c.waiting() == want })
}

// WantNothingLeft waits until nothing of the gateway's runs any more.
func (c *Caddy) WantNothingLeft() {
	c.T.Helper()
	Eventually(c.T, "no goroutine is left", func() bool {
		return c.goroutinesIn("modules/aigateway.")+c.goroutinesIn("modules/sharedanswer.") == 0
	})
}
