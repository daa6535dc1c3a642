package main

import (
	"context"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"time"

	"github.com/caddy-chat/caddy-chat/integration/bench/load"
)

// proxy is a running contender.
type proxy struct {
	contender
	*process          // nil without a proxy
	addr     string   // for clients
	admin    string   // of Caddy
	store    string   // the arguments of Caddy's option
	server   *process // the server that has its data, or nil
	started  time.Duration
}

// start runs a contender in a new folder and waits until it answers.
func (c contender) start(ctx context.Context, upstream string) (*proxy, error) {
	if c.exe == "" {
		return &proxy{contender: c, addr: upstream}, nil
	}
	p, dir, err := c.prepare("badger data")
	if err != nil {
		return nil, err
	}
	if c.redis != "" {
		if err := p.serveRedis(ctx, dir); err != nil {
			return nil, fmt.Errorf("starting redis: %w", err)
		}
	}
	conf := p.fill(upstream)
	if err := os.WriteFile(filepath.Join(dir, c.file), []byte(conf), 0o600); err != nil {
		return nil, err
	}
	if c.messages > 0 {
		if err := p.fillStore(ctx, dir); err != nil {
			_ = os.RemoveAll(dir)
			return nil, fmt.Errorf("filling the store: %w", err)
		}
	}
	return p, p.launch(ctx, dir)
}

// prepare finds a new folder and free addresses.
func (c contender) prepare(store string) (p *proxy, dir string, err error) {
	p = &proxy{contender: c, store: store}
	if dir, err = os.MkdirTemp("", "bench-"); err != nil {
		return nil, "", err
	}
	if p.addr, err = freeAddr(); err != nil {
		return nil, "", err
	}
	p.admin, err = freeAddr()
	return p, dir, err
}

// beside runs one more node of a contender, on the server of the first one.
func (c contender) beside(ctx context.Context, upstream string, first *proxy) (*proxy, error) {
	p, dir, err := c.prepare(first.store)
	if err != nil {
		return nil, err
	}
	if err := os.WriteFile(filepath.Join(dir, c.file), []byte(p.fill(upstream)), 0o600); err != nil {
		return nil, err
	}
	return p, p.launch(ctx, dir)
}

// launch runs the program in a folder that is prepared.
func (p *proxy) launch(ctx context.Context, dir string) (err error) {
	env := []string{"HOME=" + dir, "XDG_DATA_HOME=" + dir, "XDG_CONFIG_HOME=" + dir}
	begun := time.Now()
	if p.process, err = run(dir, env, p.exe, p.args...); err != nil {
		return err
	}
	if err := p.answering(ctx); err != nil {
		p.close()
		return fmt.Errorf("start: %w", err)
	}
	p.started = time.Since(begun)
	return nil
}

// serveRedis starts the server that keeps the proxy's data in memory.
func (p *proxy) serveRedis(ctx context.Context, dir string) error {
	addr, err := freeAddr()
	if err != nil {
		return err
	}
	host, port, err := net.SplitHostPort(addr)
	if err != nil {
		return err
	}
	if p.server, err = run(dir, nil, p.redis, "--bind", host, "--port", port, "--save", ""); err != nil {
		return err
	}
	if err := p.server.serving(ctx, addr); err != nil {
		p.server.stop()
		return err
	}
	p.store = "redis redis://" + addr
	return nil
}

// fillStore writes the messages that are there when the measured process starts. A
// store that was filled at once has compactions to do, unlike one that grew: a
// process before does them.
func (p *proxy) fillStore(ctx context.Context, dir string) error {
	fmt.Fprintf(os.Stderr, "storing %d messages\n", p.messages)
	if err := seed(ctx, filepath.Join(dir, "data"), p.messages); err != nil {
		return err
	}
	if err := p.launch(ctx, dir); err != nil {
		return err
	}
	defer p.stop()
	return p.rest(ctx)
}

// answering waits until the proxy listens and has answered a request.
func (p *proxy) answering(ctx context.Context) error {
	if err := p.serving(ctx, p.addr); err != nil {
		return err
	}
	_, err := load.Plan{Addr: p.addr, Request: p.request(short), Connections: 1, Requests: 1}.Run(ctx)
	return err
}

// request asks for an answer in this contender's API. Those besides chat completions
// are only streamed.
func (p *proxy) request(s scenario) *load.Request {
	return &load.Request{Addr: p.addr, Model: s.model, Words: s.words, Stream: s.stream || p.api != "", Chat: p.chat, API: p.api, Keep: p.keep}
}

// close ends the proxy and removes its folder.
func (p *proxy) close() {
	if p.process == nil {
		return
	}
	p.stop()
	if p.server != nil {
		p.server.stop()
	}
	_ = os.RemoveAll(p.dir)
}

// used returns the CPU time so far, or 0 without a proxy.
func (p *proxy) used() (time.Duration, error) {
	if p.process == nil {
		return 0, nil
	}
	return p.cpu()
}
