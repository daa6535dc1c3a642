package limits

import (
	"testing"

	"github.com/caddy-chat/caddy-chat/integration/harness"
)

// TestAddresses has a proxy in front that tells the client's address.
func TestAddresses(t *testing.T) {
	const options = harness.PlainTenants + "\n\tservers {\n\t\ttrusted_proxies static 127.0.0.0/8 ::1\n\t}\n"
	for name, limits := range map[string]string{"per ip": "requests 1 1h per ip", "anonymous users": "requests 1 1h"} {
		c := harness.Start(t, options, harness.LimitedSite(limits))
		for _, tc := range []struct {
			one, other string
			same       bool
		}{
			{"192.0.2.7", "::ffff:192.0.2.7", true},
			{"::ffff:c000:209", "192.0.2.9", true},
			{"192.0.2.17", "::ffff:192.0.2.18", false},
			{"2001:db8:1:2::1", "2001:db8:1:2:ffff:ffff:ffff:ffff", true},
			{"2001:db8:2:2::1", "2001:DB8:2:2:0:0:0:2", true},
			{"2001:db8:3:2::1", "2001:db8:3:3::1", false},
			{"fe80::1%eth0", "fe80::2%eth1", true},
			{"192.0.2.20", "192.0.2.21", false},
		} {
			t.Run(name+" "+tc.one+" "+tc.other, func(t *testing.T) {
				cl := harness.NewClient(c, "acme", "")
				cl.T = t
				if got := cl.Get("X-Forwarded-For", tc.one).StatusCode; got != 200 {
					t.Fatalf("%s: %d", tc.one, got)
				}
				want := 200
				if tc.same {
					want = 429
				}
				if got := cl.Get("X-Forwarded-For", tc.other).StatusCode; got != want {
					t.Errorf("then %s: %d, want %d", tc.other, got, want)
				}
			})
		}
	}
}
