package providertest

import (
	"context"
	"encoding/json"
	"strings"
	"testing"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
)

// Provision provisions a module for as long as the test lasts.
func Provision(t testing.TB, m caddy.Provisioner) error {
	ctx, cancel := caddy.NewContext(caddy.Context{Context: context.Background()})
	t.Cleanup(cancel)
	return m.Provision(ctx)
}

// Provisioned provisions a module and returns it. An error ends the test.
func Provisioned[M caddy.Provisioner](t testing.TB, m M) M {
	t.Helper()
	if err := Provision(t, m); err != nil {
		t.Fatalf("provisioning: %v", err)
	}
	return m
}

// Block is a module's block in a Caddyfile. Want is the JSON that it becomes,
// Err a part of the expected error.
type Block struct{ Name, In, Want, Err string }

// Caddyfile checks the results of blocks.
func Caddyfile[M any, P interface {
	*M
	caddyfile.Unmarshaler
}](t *testing.T, blocks []Block) {
	for _, tc := range blocks {
		t.Run(tc.Name, func(t *testing.T) {
			m := P(new(M))
			err := m.UnmarshalCaddyfile(caddyfile.NewTestDispenser(tc.In))
			if tc.Err != "" {
				if err == nil || !strings.Contains(err.Error(), tc.Err) {
					t.Errorf("error %v, want %q", err, tc.Err)
				}
				return
			}
			got, marshalErr := json.Marshal(m)
			if err != nil || marshalErr != nil || string(got) != tc.Want {
				t.Errorf("\n got %s, %v\nwant %s", got, err, tc.Want)
			}
		})
	}
}
