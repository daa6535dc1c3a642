// Command caddy is the Caddy that the integration tests run: all modules of the
// gateway, and two for the tests.
package main

import (
	caddycmd "github.com/caddyserver/caddy/v2/cmd"
	_ "github.com/caddyserver/caddy/v2/modules/standard"

	_ "github.com/caddy-chat/caddy-chat"
)

func main() {
	caddycmd.Main()
}
