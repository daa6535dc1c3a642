package main

import (
	"context"
	"time"

	"github.com/caddy-chat/caddy-chat/integration/bench/load"
	"github.com/caddy-chat/caddy-chat/integration/bench/report"
)

// settled is how long a process idles before its memory is read.
const settled = 500 * time.Millisecond

const (
	// quiet is longer than a store waits before it begins to compact.
	quiet = 2 * time.Second

	// idleShare of the time is what an idle process may take.
	idleShare = 50 // one in so many
)

// rest waits until the process does nothing, as after the compactions that follow
// a start.
func (p *proxy) rest(ctx context.Context) error {
	for {
		before, err := p.used()
		if err != nil {
			return err
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(quiet):
		}
		after, err := p.used()
		if err != nil || after-before < quiet/idleShare {
			return err
		}
	}
}

// hold opens streams that stay open, and returns the memory of the idle process,
// and what each stream adds.
func hold(ctx context.Context, p *proxy, streams int) (report.Sample, error) {
	if p.process == nil {
		return nil, nil
	}
	time.Sleep(settled)
	idle, err := p.rss()
	if err != nil {
		return nil, err
	}
	open, err := load.Hold(ctx, p.addr, p.request(held), streams)
	if err != nil {
		return nil, err
	}
	defer open.Close()
	time.Sleep(settled)
	busy, err := p.rss()
	if err != nil {
		return nil, err
	}
	return report.Sample{
		"start":     millis(p.started),
		"idle.rss":  idle / (1 << 20),
		"held.rss":  (busy - idle) / float64(streams) / (1 << 10),
		"held.most": busy / (1 << 20),
	}, nil
}
