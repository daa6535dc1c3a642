package failover

import (
	"net/http"
	"testing"

	"github.com/caddy-chat/caddy-chat/integration/harness"
)

// refusesKey refuses the calls with a key, and answers all others.
func refusesKey(key string, status int) harness.Script {
	return func(c *harness.Call) {
		if c.R.Header.Get("Authorization") == "Bearer "+key {
			harness.Refuses(status, "invalid_api_key")(c)
			return
		}
		harness.Says(11, 5, "Hello")(c)
	}
}

// TestKeyCircuit has a provider refuse the key.
func TestKeyCircuit(t *testing.T) {
	t.Parallel()
	for name, do := range map[string]harness.Script{
		"401":                  harness.Refuses(401, "invalid_api_key"),
		"400 in Google's form": harness.Document(400, `{"error":{"code":400,"message":"x","status":"INVALID_ARGUMENT","details":[{"reason":"API_KEY_INVALID"}]}}`),
		"no credit":            harness.Document(400, `{"error":{"message":"Your credit balance is too low"}}`),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			targets := harness.NewTargets(t, "one", "two")
			one := targets[0]
			s := newFaultSite(t, harness.TargetConfig{Targets: targets, Gateway: "retries 2\npassthrough\ncircuit_breaker 5 10m"})
			one.Plays(do)
			s.fails(t, 4)
			one.Plays(harness.Says(11, 5, "Hello"))
			tr := s.try(t, harness.NewQuestion("fast")) // not in a row
			tr.wantFrom(t, "one", 1, false)
			one.Plays(do)
			s.fails(t, 4)
			s.wantCircuit(t, "one", "closed")
			s.fails(t, 1)
			s.wantCircuit(t, "one", "open")

			one.Plays(harness.Says(11, 5, "Hello"))
			for name, q := range (faultRow{both: true}).questions() {
				t.Run(name, func(t *testing.T) {
					tr := s.try(t, q)
					tr.WantText(t, "Hello")
					tr.wantCalls(t, 0, 1)
				})
			}
			tn := s.turn(t)
			tn.wantStored(t, s.Globex, "Hello")
			tn.wantCalls(t, 0, 1)
			// the key is that of the provider's other models, too
			other := s.try(t, harness.NewQuestion("one/other"))
			other.WantRefused(t, http.StatusServiceUnavailable, "ai_unavailable")
			if other.Header.Get("Retry-After") == "" {
				t.Error("no Retry-After")
			}
			other.wantCalls(t, 0, 0)
		})
	}
	t.Run("every target", func(t *testing.T) {
		t.Parallel()
		targets := harness.NewTargets(t, "one")
		targets[0].Plays(harness.Refuses(401, "invalid_api_key"))
		s := newFaultSite(t, harness.TargetConfig{Targets: targets, Gateway: "circuit_breaker 3 10m"})
		for range 3 {
			tr := s.try(t, harness.NewQuestion("fast").Streamed())
			tr.WantRefused(t, http.StatusBadGateway, "ai_error")
			tr.wantCalls(t, 1)
		}
		tr := s.try(t, harness.NewQuestion("fast").Streamed())
		tr.WantRefused(t, http.StatusServiceUnavailable, "ai_unavailable")
		tr.wantCalls(t, 0)
		s.wantCircuit(t, "one", "open")
	})
	t.Run("off", func(t *testing.T) {
		t.Parallel()
		targets := harness.NewTargets(t, "one", "two")
		targets[0].Plays(harness.Refuses(401, "invalid_api_key"))
		s := newFaultSite(t, harness.TargetConfig{Targets: targets, Gateway: "circuit_breaker off"})
		s.fails(t, 8)
		s.wantCircuit(t, "one", "closed")
	})
	t.Run("403 is about one model", func(t *testing.T) {
		t.Parallel()
		targets := harness.NewTargets(t, "one", "two")
		one := targets[0]
		s := newFaultSite(t, harness.TargetConfig{Targets: targets, Gateway: "passthrough\ncircuit_breaker 2 10m"})
		one.Plays(func(c *harness.Call) {
			if c.Model == "up-one" {
				harness.Refuses(403, "permission_denied")(c)
				return
			}
			harness.Says(11, 5, "Hello")(c)
		})
		s.fails(t, 2)
		s.wantCircuit(t, "one", "open")
		tr := s.try(t, harness.NewQuestion("fast"))
		tr.wantFrom(t, "two", 1, true)
		tr.wantCalls(t, 0, 1)
		other := s.try(t, harness.NewQuestion("one/other"))
		other.WantText(t, "Hello")
		other.wantCalls(t, 1, 0)
		s.wantCircuit(t, "one", "open")
	})
}

// TestKeyCircuitOfTenant has a tenant with its own key beside tenants that share
// the gateway's.
func TestKeyCircuitOfTenant(t *testing.T) {
	t.Parallel()
	const tenants = `
	chat {
		tenant acme {
			credential one acme-key
		}
		tenant initech {
			credential one initech-key
		}
		tenant globex {
		}
	}
`
	for _, tc := range []struct {
		name, key string
		broken    map[string]bool // tenants whose key is refused
		metric    float64
	}{
		{"a tenant's key", "acme-key", map[string]bool{"acme": true}, 0},
		{"the gateway's key", "one-upstream-key", map[string]bool{"globex": true}, 1},
	} {
		for _, status := range []int{401, 403} {
			t.Run(tc.name+"/"+http.StatusText(status), func(t *testing.T) {
				t.Parallel()
				targets := harness.NewTargets(t, "one", "two")
				one := targets[0]
				one.Plays(refusesKey(tc.key, status))
				s := newFaultSite(t, harness.TargetConfig{Targets: targets, Tenants: tenants, Gateway: "circuit_breaker 2 10m"})
				all := []string{"acme", "initech", "globex"}
				for range 3 {
					for _, tenant := range all {
						got := harness.NewClient(s.C, tenant, "ann").Complete(harness.NewQuestion("fast").WithUsage())
						got.WantText(t, "Hello")
						want := "one"
						if tc.broken[tenant] {
							want = "two"
						}
						harness.WantHeader(t, got.Header, map[string]string{"X-Ai-Provider": want})
					}
				}
				// two calls opened the circuit, the third time cost none
				if n := one.Count(); n != 8 {
					t.Errorf("one saw %d calls, want 8", n)
				}
				for _, tenant := range all {
					var h struct{ Data circuits }
					harness.NewClient(s.C, tenant, "ann").Call(http.MethodGet, "/v1/health", nil, &h)
					status, circuit := "ok", "closed"
					if tc.broken[tenant] {
						status, circuit = "degraded", "open"
					}
					if h.Data.Status != status || h.Data.Providers["one"].Circuit != circuit || h.Data.Providers["two"].Circuit != "closed" {
						t.Errorf("%s: health is %+v, want %s", tenant, h.Data, circuit)
					}
				}
				s.C.WantMetrics(map[string]float64{`caddy_ai_circuit_open{model="fast",provider="one"}`: tc.metric})
			})
		}
	}
}
