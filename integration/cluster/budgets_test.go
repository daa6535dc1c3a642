package cluster

import (
	"fmt"
	"math"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/caddy-chat/caddy-chat/integration/harness"
)

// TestBudgetOfManyStreams begins 200 streams at once on three nodes against a budget
// that has room for 20. Those that were let through all run until the last one was
// refused, and say more than they reserved.
func TestBudgetOfManyStreams(t *testing.T) {
	onEach(t, func(t *testing.T, url string) {
		const streams, fit, asked, outputCap, says = 200, 20, 8, 40, 100
		const limit = fit * (asked + outputCap)
		goOn := make(chan struct{})
		words := strings.Fields(strings.Repeat("word ", says)) // a token each
		up := harness.NewUpstream(t, func(c *harness.Call) {
			all := c.Whole(asked, says, words...)
			c.Send(all[:2]...)
			harness.Waits(goOn)(c)
			c.Send(all[2:]...)
		})
		global := fmt.Sprintf("chat {\nstore redis %s\ntenant acme {\nbudget %d tokens/day\n}\n}", url, limit)
		nodes := startWith(t, global, 3, "tenant_resolve\n"+up.Gateway())
		all := clients(nodes, "acme", "ann")

		body := fmt.Sprintf(`{"model":"fast","max_tokens":%d,"messages":[{"role":"user","content":"hi"}],"stream":true,"stream_options":{"include_usage":true}}`, outputCap)
		var refused atomic.Int64
		var spent int64
		var mu sync.Mutex
		var asking sync.WaitGroup
		for i := range streams {
			asking.Go(func() {
				a := all[i%len(all)].Complete(body)
				if a.Status == http.StatusTooManyRequests && a.Code == "budget_exceeded" {
					refused.Add(1)
					return
				}
				if a.Status != http.StatusOK || !a.Done || a.Finish != "length" && a.Finish != "stop" {
					t.Errorf("stream %d: %d %s, end mark %t, finish reason %q", i, a.Status, a.Code, a.Done, a.Finish)
				}
				mu.Lock()
				defer mu.Unlock()
				spent += a.Usage.Get("total_tokens").Int()
			})
		}
		harness.Eventually(t, "all have begun or are refused", func() bool { return up.Count()+int(refused.Load()) == streams })
		close(goOn)
		asking.Wait()
		if n := streams - refused.Load(); n != fit {
			t.Errorf("%d streams were let through, want %d", n, fit)
		}
		if spent > limit || spent < fit*asked {
			t.Errorf("%d tokens were spent of %d", spent, limit)
		}
		harness.Eventually(t, "a node has seen all that was spent", func() bool {
			for _, n := range nodes {
				if used := n.Metrics()[`caddy_ai_budget_used_ratio{period="day",tenant="acme"}`] * limit; math.Abs(used-float64(spent)) < 1e-6 {
					return true
				}
			}
			return false
		})
	})
}
