// Command caddy is Caddy with its standard modules and the chat gateway.
// It holds what xcaddy would build, and needs no xcaddy.
package main

import (
	// The time zone database, for machines and images that have none.
	_ "time/tzdata"

	caddycmd "github.com/caddyserver/caddy/v2/cmd"
	_ "github.com/caddyserver/caddy/v2/modules/standard"

	_ "github.com/caddy-chat/caddy-chat"
)

func main() {
	caddycmd.Main()
}
