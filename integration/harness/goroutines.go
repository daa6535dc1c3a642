package harness

import (
	"fmt"
	"net/http"
	"strings"
)

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

// WantWaiting waits until want requests wait for a call that others may share.
func (c *Caddy) WantWaiting(want int) {
	c.T.Helper()
	Eventually(c.T, fmt.Sprintf("%d requests wait", want), func() bool {
		return c.goroutinesIn("sharedanswer.(*flight).wait(") == want
	})
}

// WantFollowing waits until want requests follow the answer to another request
// with their Idempotency-Key.
func (c *Caddy) WantFollowing(want int) {
	c.T.Helper()
	Eventually(c.T, fmt.Sprintf("%d requests follow", want), func() bool {
		return c.goroutinesIn("sharedanswer.(*follower).follow(") == want
	})
}

// WantNothingLeft waits until no goroutine of the gateway is left.
func (c *Caddy) WantNothingLeft() {
	c.T.Helper()
	Eventually(c.T, "no goroutine is left", func() bool {
		return c.goroutinesIn("modules/aigateway.")+c.goroutinesIn("modules/sharedanswer.") == 0
	})
}
