// Package integration tests the real thing through its front door: a Caddy
// process with all modules, a config file, HTTP.
package integration

import (
	"os"
	"testing"

	caddycmd "github.com/caddyserver/caddy/v2/cmd"
	_ "github.com/caddyserver/caddy/v2/modules/standard"

	_ "github.com/caddy-chat/caddy-chat"
)

// asCaddy makes the test binary be the caddy command, so that what is tested
// is built with the same flags as the tests, the race detector's included.
const asCaddy = "CADDY_CHAT_TEST_AS_CADDY"

func TestMain(m *testing.M) {
	if os.Getenv(asCaddy) != "" {
		caddycmd.Main()
		return
	}
	os.Exit(m.Run())
}
