package main

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"github.com/caddy-chat/caddy-chat/integration/bench/load"
)

// contender is a way from the client to the upstream.
type contender struct {
	name string
	exe  string // what runs; nothing for the way without a proxy
	args []string
	conf string // its configuration, see fill
	file string // the configuration's name
	chat bool   // whether it is asked by POST /chat
}

const (
	direct = "direct"
	plain  = "reverse_proxy"
)

// contenders lists all ways that this machine has.
func contenders(caddy string) []contender {
	run := []string{"run", "--config", "Caddyfile"}
	all := []contender{
		{name: direct},
		{name: plain, exe: caddy, args: run, file: "Caddyfile", conf: plainSite},
		{name: "ai_gateway", exe: caddy, args: run, file: "Caddyfile", conf: aloneSite},
		{name: "chain", exe: caddy, args: run, file: "Caddyfile", conf: chainSite},
		{name: "chat", exe: caddy, args: run, file: "Caddyfile", conf: chainSite, chat: true},
	}
	return all
}

const (
	options = `{
	admin {ADMIN}
	auto_https off
	persist_config off
	{CHAT}
}
`
	plainSite = options + `
http://{ADDR} {
	reverse_proxy {UPSTREAM} {
		flush_interval -1
	}
}
`
	gateway = `
	ai_gateway {
		{TENANT}
		provider openai {
			base_url http://{UPSTREAM}/v1
			api_key sk-bench
		}
		{MODELS}
	}
`
	aloneSite = options + `
http://{ADDR} {` + gateway + `}
`
	chainSite = options + `
http://{ADDR} {
	tenant_resolve
	chat_ratelimit
	chat_session` + gateway + `}
`
	// The limits and the budget are there and refuse nothing.
	chatOptions = `chat {
		store badger data
		tenant bench {
			requests 100000000 1m
			budget 1000000000000 tokens/month
		}
	}`
)

// proxy is a contender that runs.
type proxy struct {
	contender
	*process
	addr  string // where clients ask
	admin string // of Caddy
}

// start runs a contender and waits until it listens.
func (c contender) start(upstream string) (*proxy, error) {
	p := &proxy{contender: c, addr: upstream}
	if c.exe == "" {
		return p, nil
	}
	var err error
	if p.addr, err = freeAddr(); err != nil {
		return nil, err
	}
	if p.admin, err = freeAddr(); err != nil {
		return nil, err
	}
	dir, err := os.MkdirTemp("", "bench-")
	if err != nil {
		return nil, err
	}
	conf := p.fill(upstream)
	if err := os.WriteFile(filepath.Join(dir, c.file), []byte(conf), 0o600); err != nil {
		return nil, err
	}
	env := []string{"HOME=" + dir, "XDG_DATA_HOME=" + dir, "XDG_CONFIG_HOME=" + dir}
	if p.process, err = run(dir, env, c.exe, c.args...); err != nil {
		return nil, err
	}
	if err := p.serving(p.addr); err != nil {
		return nil, fmt.Errorf("%s: %w", c.name, err)
	}
	return p, nil
}

// fill writes what is of this run into the configuration.
func (p *proxy) fill(upstream string) string {
	tenant, chat := "tenant none", ""
	if strings.Contains(p.conf, "chat_session") {
		tenant, chat = "", chatOptions
	}
	var aliases strings.Builder
	for _, model := range models() {
		fmt.Fprintf(&aliases, "\n\t\tmodel %[1]s {\n\t\t\tto openai/%[1]s\n\t\t\tprice 0.15 0.60\n\t\t}", model)
	}
	return strings.NewReplacer(
		"{CHAT}", chat, "{TENANT}", tenant, "{MODELS}", aliases.String(),
		"{ADDR}", p.addr, "{ADMIN}", p.admin, "{UPSTREAM}", upstream,
	).Replace(p.conf)
}

func (p *proxy) close() error {
	if p.process == nil {
		return nil
	}
	return p.stop()
}

// request asks for an answer in this contender's API.
func (p *proxy) request(model string, words int, stream bool) *load.Request {
	if p.chat {
		return load.NewTurn(p.addr, model, words, stream)
	}
	return load.NewCompletion(p.addr, model, words, stream)
}

// caddyOf returns the binary to measure: the one that is given, or the one
// that make builds now.
func caddyOf(given string) (string, error) {
	if given != "" {
		return filepath.Abs(given)
	}
	build := exec.Command("make", "build")
	build.Stdout, build.Stderr = os.Stderr, os.Stderr
	if err := build.Run(); err != nil {
		return "", fmt.Errorf("make build: %w", err)
	}
	return filepath.Abs("bin/caddy")
}

// used is the processor time so far; none without a proxy.
func (p *proxy) used() (time.Duration, error) {
	if p.process == nil {
		return 0, nil
	}
	return p.cpu()
}
