package main

import (
	"context"
	"fmt"
	"os"
	"time"

	"github.com/caddy-chat/caddy-chat/integration/bench/load"
	"github.com/caddy-chat/caddy-chat/integration/bench/report"
)

// heldFigures are the figures of many held streams.
var heldFigures = []report.Figure{
	{Key: "idle.rss", Name: "memory when idle", Unit: "MiB"},
	{Key: "held.most", Name: "memory with all streams", Unit: "MiB"},
	{Key: "held.rss", Name: "memory a held stream", Unit: "KiB"},
}

// streamsHeld holds as many streams as the flag says, with each contender.
func (b *bench) streamsHeld(ctx context.Context) error {
	return b.eachHolding(ctx, "held", heldFigures, fmt.Sprintf("%d streams.", b.held), func(p *proxy) (report.Sample, error) {
		return hold(ctx, p, b.held)
	})
}

// slowFigures are the times of chunks beside slow readers.
var slowFigures = []report.Figure{
	{Key: "without.p50", Name: "p50 without slow readers", Unit: "ms"},
	{Key: "with.p50", Name: "p50 with them", Unit: "ms"},
	{Key: "without.p99", Name: "p99 without slow readers", Unit: "ms"},
	{Key: "with.p99", Name: "p99 with them", Unit: "ms"},
}

// besideSlow reads streams at the speed of people, first alone, then beside endless
// streams whose clients have stopped reading.
func (b *bench) besideSlow(ctx context.Context) error {
	stuck := b.slow / 10
	about := fmt.Sprintf("%d streams are read, %d chunks 500 ms apart; %d more are not.", b.slow-stuck, slow.words, stuck)
	return b.eachHolding(ctx, "slow", slowFigures, about, func(p *proxy) (report.Sample, error) {
		s := report.Sample{}
		if err := b.readPaced(ctx, p, b.slow-stuck, "without", s); err != nil {
			return nil, err
		}
		open, err := load.Hold(ctx, p.addr, p.request(flood), stuck)
		if err != nil {
			return nil, err
		}
		defer open.Close()
		if err := p.still(ctx); err != nil {
			return nil, err
		}
		if err := b.readPaced(ctx, p, b.slow-stuck, "with", s); err != nil {
			return nil, err
		}
		return s, p.holds(stuck)
	})
}

// still waits until the proxy is idle, because unread data has filled all buffers
// on the way.
func (p *proxy) still(ctx context.Context) error {
	const second = time.Second
	for begun := time.Now(); time.Since(begun) < patience; {
		before, err := p.used()
		if err != nil {
			return err
		}
		time.Sleep(second)
		after, err := p.used()
		if err != nil || after-before < second/50 {
			return err
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
	}
	return fmt.Errorf("the proxy stays busy although its clients do not read")
}

// holds returns an error if the proxy has closed the unread streams, beside which
// the others are measured.
func (p *proxy) holds(streams int) error {
	if p.process == nil {
		return nil
	}
	// Each stream has a socket to its client and one to the upstream.
	if n := p.sockets(); n < 2*streams {
		return fmt.Errorf("only %d sockets are open for %d unread streams", n, streams)
	}
	return nil
}

// readPaced reads n streams to their end, and records the times of the chunks sent
// after all have begun.
func (b *bench) readPaced(ctx context.Context, p *proxy, n int, prefix string, s report.Sample) error {
	const begin = 5 * time.Second
	plan := load.Plan{
		Addr: p.addr, Request: p.request(slow), Connections: n, Requests: int64(n),
		Stagger: begin, Skip: begin + time.Second,
	}
	r, err := plan.Run(ctx)
	if err != nil {
		return err
	}
	s[prefix+".p50"] = millis(quantile(r.Lags, 0.50))
	s[prefix+".p99"] = millis(quantile(r.Lags, 0.99))
	return nil
}

// eachHolding measures each contender with many streams, and writes the
// section.
func (b *bench) eachHolding(ctx context.Context, section string, figures []report.Figure, about string, measure func(*proxy) (report.Sample, error)) error {
	ways, err := pick(contenders(b.caddy), nameOf, b.contenders)
	if err != nil {
		return err
	}
	results := report.Results{}
	for round := range b.rounds {
		samples, err := b.eachOnce(ctx, section, ways, round, measure)
		if err != nil {
			return err
		}
		for i, w := range ways {
			results.Add(w.name, samples[i])
		}
	}
	about += fmt.Sprintf(" %d rounds.", b.rounds)
	return b.write(section, about+"\n\n"+report.Overview(results, figures, namesOf(ways), plain).String())
}

// eachOnce is one round of eachHolding.
func (b *bench) eachOnce(ctx context.Context, section string, ways []contender, round int, measure func(*proxy) (report.Sample, error)) ([]report.Sample, error) {
	proxies, err := b.startAll(ctx, ways)
	defer closeAll(proxies)
	if err != nil {
		return nil, err
	}
	samples := make([]report.Sample, len(ways))
	return samples, inTurn(ctx, proxies, round, func(i int) (err error) {
		fmt.Fprintf(os.Stderr, "round %d of %d: %s: %s\n", round+1, b.rounds, section, ways[i].name)
		samples[i], err = measure(proxies[i])
		return err
	})
}
