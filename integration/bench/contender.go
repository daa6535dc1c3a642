package main

import (
	"os/exec"
)

// contender is a way from the client to the upstream.
type contender struct {
	name string
	exe  string // what runs; nothing for the way without a proxy
	args []string
	file string // the name of its configuration
	conf string // what is in it, see fill
	chat bool   // whether it is asked by POST /chat

	tenants int // how many are configured; 0 is one
}

const (
	direct = "direct"
	plain  = "reverse_proxy" // what all others are compared with
)

// ours are the ways through the gateway.
var ours = []string{"ai_gateway", "chain", "chat"}

// contenders lists all ways that this machine has.
func contenders(caddy string) []contender {
	all := []contender{
		{name: direct},
		ofCaddy(plain, caddy, plainSite),
	}
	if haproxy, err := exec.LookPath("haproxy"); err == nil {
		args := []string{"-db", "-f", "haproxy.cfg"}
		all = append(all, contender{name: "haproxy", exe: haproxy, args: args, file: "haproxy.cfg", conf: haproxySite})
	}
	if nginx, err := exec.LookPath("nginx"); err == nil {
		args := []string{"-p", ".", "-e", "stderr", "-c", "nginx.conf"}
		all = append(all, contender{name: "nginx", exe: nginx, args: args, file: "nginx.conf", conf: nginxSite})
	}
	chat := ofCaddy("chat", caddy, chainSite)
	chat.chat = true
	return append(all,
		ofCaddy("ai_gateway", caddy, aloneSite),
		ofCaddy("chain", caddy, chainSite),
		chat,
	)
}

func ofCaddy(name, caddy, site string) contender {
	return contender{
		name: name,
		exe:  caddy,
		args: []string{"run", "--config", "Caddyfile"},
		file: "Caddyfile",
		conf: site,
	}
}
