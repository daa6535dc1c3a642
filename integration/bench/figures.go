package main

import (
	"context"
	"fmt"
	"maps"
	"os"

	"github.com/caddy-chat/caddy-chat/integration/bench/report"
)

// figures are what docs/performance.md shows, in its order.
var figures = []report.Figure{
	{Key: "short.cpu", Name: "CPU a request, answer of one word", Unit: "µs"},
	{Key: "long.cpu", Name: "CPU a request, answer of 64 words", Unit: "µs"},
	{Key: "burst.cpu", Name: "CPU a chunk, 64 with no gap", Unit: "µs"},
	{Key: "null.cpu", Name: "the same with `\"usage\":null` in each", Unit: "µs"},
	{Key: "paced.cpu", Name: "CPU a chunk, 5 ms apart", Unit: "µs"},
	{Key: "paced.p50", Name: "time a chunk takes, p50", Unit: "ms"},
	{Key: "paced.p99", Name: "time a chunk takes, p99", Unit: "ms"},
	{Key: "first.p50", Name: "time to the first word, p50", Unit: "ms"},
	{Key: "first.p99", Name: "time to the first word, p99", Unit: "ms"},
	{Key: "steady.p50", Name: "time of a request at 200 a second, p50", Unit: "ms"},
	{Key: "steady.p99", Name: "time of a request at 200 a second, p99", Unit: "ms"},
	{Key: "held.rss", Name: "memory a held stream", Unit: "KiB"},
	{Key: "idle.rss", Name: "memory when idle", Unit: "MiB"},
	{Key: "start", Name: "start, until the first answer", Unit: "ms"},
}

// charted are those of the chart.
var charted = []report.Figure{
	{Key: "short.cpu", Name: "CPU a request, not streamed", Unit: "µs"},
	{Key: "paced.cpu", Name: "CPU a chunk, 5 ms apart", Unit: "µs"},
	{Key: "burst.cpu", Name: "CPU a chunk, 64 with no gap", Unit: "µs"},
	{Key: "held.rss", Name: "memory a held stream", Unit: "KiB"},
}

// bench is a run.
type bench struct {
	config
	caddy    string
	upstream string
}

// figures measures all contenders in all scenarios.
func (b *bench) figures(ctx context.Context) error {
	ways, err := pick(contenders(b.caddy), nameOf, b.contenders)
	if err != nil {
		return err
	}
	kinds, err := pick(scenarios, func(s scenario) string { return s.name }, b.scenarios)
	if err != nil {
		return err
	}
	results := report.Results{}
	for round := range b.rounds {
		samples, err := b.round(ctx, ways, kinds, round)
		if err != nil {
			return err
		}
		for i, w := range ways {
			results.Add(w.name, samples[i])
		}
	}
	return b.publish(ways, results)
}

// round starts all contenders and measures them in one scenario after the
// other. Each time it begins with another contender. They are measured a
// second after one another, so that they share what the machine does else.
func (b *bench) round(ctx context.Context, ways []contender, kinds []scenario, round int) ([]report.Sample, error) {
	var proxies []*proxy
	defer func() {
		for _, p := range proxies {
			p.close()
		}
	}()
	samples := make([]report.Sample, len(ways))
	for i, w := range ways {
		p, err := w.start(ctx, b.upstream, 1)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", w.name, err)
		}
		proxies, samples[i] = append(proxies, p), report.Sample{}
	}
	for n, s := range kinds {
		fmt.Fprintf(os.Stderr, "round %d of %d: %s\n", round+1, b.rounds, s.name)
		for i := range ways {
			at := (i + n + round) % len(ways)
			got, err := b.scenario(ctx, proxies[at], s)
			if err != nil {
				return nil, fmt.Errorf("%s: %s: %w", ways[at].name, s.name, err)
			}
			maps.Copy(samples[at], got)
		}
	}
	return samples, nil
}

func nameOf(c contender) string { return c.name }

// inTurn has each contender measured once a round, each round beginning with
// another one.
func (b *bench) inTurn(ctx context.Context, ways []contender, measure func(contender) error) error {
	for round := range b.rounds {
		for i := range ways {
			w := ways[(i+round)%len(ways)]
			fmt.Fprintf(os.Stderr, "round %d of %d: %s\n", round+1, b.rounds, w.name)
			if err := measure(w); err != nil {
				return fmt.Errorf("%s: %w", w.name, err)
			}
			if ctx.Err() != nil {
				return ctx.Err()
			}
		}
	}
	return nil
}

// scenario warms a contender up and measures it.
func (b *bench) scenario(ctx context.Context, p *proxy, s scenario) (report.Sample, error) {
	if s.name == held.name {
		return hold(ctx, p, b.streams)
	}
	if _, err := s.plan(p, b.config, b.warmup).Run(ctx); err != nil {
		return nil, err
	}
	d := b.duration
	if s.paced {
		d *= 2
	}
	plan := s.plan(p, b.config, d)
	got, err := s.measure(ctx, p, plan)
	if err != nil || b.pprof == "" {
		return got, err
	}
	return got, profile(ctx, p, s, plan, b.pprof, b.pprofTime)
}

// publish prints the figures, and writes the page and its chart.
func (b *bench) publish(ways []contender, results report.Results) error {
	var names []string
	for _, w := range ways {
		names = append(names, w.name)
	}
	overview := report.Overview(results, figures, names, plain).String()
	details := report.Details(results, figures, names, plain).String()
	chart := report.Chart{Figures: charted, Names: names, Ours: ours, Base: plain}.SVG(results)

	if err := b.write("conditions", conditions(b)); err != nil {
		return err
	}
	if err := b.write("figures", overview); err != nil {
		return err
	}
	if err := b.write("details", details); err != nil {
		return err
	}
	return b.draw(chart)
}
