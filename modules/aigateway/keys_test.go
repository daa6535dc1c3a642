package aigateway

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/caddy-chat/caddy-chat/modules/provider"
	"github.com/caddy-chat/caddy-chat/modules/route"
)

// TestKeyProbe has the circuit of a key open, and a call probe it after the pause.
func TestKeyProbe(t *testing.T) {
	refused := fails(&provider.Error{Reason: provider.ReasonCredentials, Status: 401})
	const pause = 30 * time.Second
	for _, tc := range []struct {
		name  string
		probe reply
		state route.CircuitState // after the probe
		calls int                // of one, in the end
	}{
		{"closes on success", says("Hello"), route.Closed, 4},
		{"opens again on failure", refused, route.Open, 3},
		{"another failure says nothing of the key", fails(unavailable()), route.HalfOpen, 4},
	} {
		t.Run(tc.name, func(t *testing.T) {
			one := &script{replies: []reply{refused, refused, tc.probe}}
			two := &script{replies: []reply{says("Hello")}}
			h := newGateway(t, durations(`{"retries":0,"circuit_breaker":{"failures":2,"pause":"30s"}}`), one, two)
			synctest.Test(t, func(t *testing.T) {
				for range 4 {
					a := ask(t, h, streamed)
					a.wantWhole(t, "Hello")
				}
				wantCalls(t, []*script{one, two}, 2, 4)
				if s := state(t, h); s != route.Open {
					t.Errorf("the circuit is %s before the pause", s)
				}
				time.Sleep(pause)
				if s := state(t, h); s != route.HalfOpen {
					t.Errorf("the circuit is %s after the pause", s)
				}
				a := ask(t, h, streamed)
				a.wantWhole(t, "Hello")
				if s := state(t, h); s != tc.state {
					t.Errorf("the circuit is %s after the probe, want %s", s, tc.state)
				}
				ask(t, h, streamed)
				if n := len(one.asked); n != tc.calls {
					t.Errorf("one was asked %d times, want %d", n, tc.calls)
				}
			})
		})
	}
}
