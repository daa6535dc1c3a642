package main

import (
	"os/exec"
	"strings"

	"github.com/caddy-chat/caddy-chat/integration/bench/replay"
)

// contender is a way from the client to the upstream.
type contender struct {
	name string
	exe  string // the program; empty without a proxy
	args []string
	file string // the name of its configuration
	conf string // its text, see fill
	chat bool   // whether requests are POST /chat
	api  string // of the requests; empty for chat completions
	keep bool   // whether responses are kept

	redis    string // the program of the server that keeps its data; empty for Badger
	tenants  int    // how many are configured; 0 means one
	messages int    // how many are in the store when it starts
}

const (
	direct = "direct"
	plain  = "reverse_proxy" // the base of all comparisons
)

// ours are the contenders with the gateway, but for those on Redis.
var ours = []string{"ai_gateway", "chain", "chat"}

// contenders lists all contenders that are installed.
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
	chain := ofCaddy("chain", caddy, chainSite)
	all = append(all, ofCaddy("ai_gateway", caddy, aloneSite), chain, chat)
	if redis, err := exec.LookPath("redis-server"); err == nil {
		all = append(all, chain.on(redis), chat.on(redis))
	}
	return all
}

// doors are contenders for other APIs, each before a provider that speaks it, and before
// one of chat completions. They are measured if they are named.
func doors(caddy string) []contender {
	const anthropic, chat, native = "provider openai anthropic {", "provider openai {", "provider openai {\n\t\t\tresponses on"
	door := func(name, api, site, path, provider string) contender {
		c := ofCaddy(name, caddy, strings.NewReplacer("provider openai {", provider, "{UPSTREAM}/v1", "{UPSTREAM}"+path).Replace(site))
		c.api, c.keep = api, site == chainSite
		return c
	}
	return []contender{
		door("messages", replay.Messages, aloneSite, "", anthropic),
		door("messages_chat", replay.Messages, aloneSite, "/v1", chat),
		door("responses", replay.Responses, aloneSite, "/v1", native),
		door("responses_chat", replay.Responses, aloneSite, "/v1", chat),
		door("responses_kept", replay.Responses, chainSite, "/v1", native),
		door("responses_chat_kept", replay.Responses, chainSite, "/v1", chat),
	}
}

// on returns the contender with its data on Redis.
func (c contender) on(redis string) contender {
	c.name, c.redis = c.name+"_redis", redis
	return c
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
