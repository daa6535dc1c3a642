package chat

import (
	"fmt"
	"strings"
	"testing"

	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
)

// manyTenants is a Caddyfile's chat option with n tenants.
func manyTenants(n int) string {
	var b strings.Builder
	b.WriteString("chat {\n")
	for i := range n {
		fmt.Fprintf(&b, "tenant t%d {\nhost t%d.test\napi_key key-%d\nrequests 60 1m\nrequests 1000 1m per tenant\nbudget 50000 tokens/day\n}\n", i, i, i)
	}
	b.WriteString("}\n")
	return b.String()
}

// BenchmarkTenantBlocks reads the tenants of a Caddyfile. Twice as many take
// twice as long.
func BenchmarkTenantBlocks(b *testing.B) {
	for _, n := range []int{1000, 2000, 4000} {
		text := manyTenants(n)
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			for b.Loop() {
				a := new(App)
				if err := a.UnmarshalCaddyfile(caddyfile.NewTestDispenser(text)); err != nil {
					b.Fatal(err)
				}
				if _, err := a.buildBlocks(nil); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
