package aigateway

import (
	"testing"
	"testing/synctest"
	"time"
)

// TestLowestLatencyOfFailures: a target that never comes to a first token is
// not the quickest one for having no time of it.
func TestLowestLatencyOfFailures(t *testing.T) {
	const config = `{"retries":0,"circuit_breaker":{"failures":0},"response_timeout":"7s",
		"models":[{"name":"fast","to":["one/m","two/m"],"lb_policy":"lowest_latency"}]}`
	for name, one := range map[string]*script{
		"silent":  {replies: []reply{{after: time.Hour}}},
		"failing": {replies: []reply{fails(unavailable())}},
	} {
		t.Run(name, func(t *testing.T) {
			two := &script{replies: []reply{{after: 100 * time.Millisecond, steps: says("Hello").steps}}}
			h := newGateway(t, config, one, two)
			synctest.Test(t, func(t *testing.T) {
				for range 3 {
					a := ask(t, h, streamed)
					a.wantWhole(t, "Hello")
				}
				wantCalls(t, []*script{one, two}, 1, 3)
			})
		})
	}
}

// TestGuessWithinTheCap: a guess that is a little too high does not say that a
// model went beyond what it was allowed.
func TestGuessWithinTheCap(t *testing.T) {
	for _, tc := range []struct {
		output, chunks int
		want           int64
	}{
		{output: 40, chunks: 1, want: 10},
		{output: 480, chunks: 1, want: 100},   // 120 tokens of four bytes
		{output: 480, chunks: 110, want: 110}, // a chunk is at least a token
		{output: 4000, chunks: 1, want: 1000}, // no cap that the provider knows of
	} {
		a := &attempt{c: &call{req: &request{outputCap: 100}}, output: tc.output, chunks: tc.chunks}
		if got := a.uncounted(); got != tc.want {
			t.Errorf("%d bytes in %d chunks are taken for %d tokens, want %d", tc.output, tc.chunks, got, tc.want)
		}
	}
}
