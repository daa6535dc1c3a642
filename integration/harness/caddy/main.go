// Command caddy is the Caddy that the tests of the integration folder run:
// all modules of the gateway, and two of the tests' own.
package main

import (
	caddycmd "github.com/caddyserver/caddy/v2/cmd"
	_ "github.com/caddyserver/caddy/v2/modules/standard"

	_ "github.com/caddy-chat/caddy-chat"
)

func main() {
	caddycmd.Main()
}
