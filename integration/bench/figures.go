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
	err = b.inTurn(ctx, ways, func(w contender) error {
		s, err := b.measure(ctx, w, kinds)
		results.Add(w.name, s)
		return err
	})
	if err != nil {
		return err
	}
	return b.publish(ways, results)
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

// measure runs a contender through the scenarios.
func (b *bench) measure(ctx context.Context, w contender, kinds []scenario) (report.Sample, error) {
	p, err := w.start(ctx, b.upstream, 1)
	if err != nil {
		return nil, err
	}
	defer p.close()

	all := report.Sample{}
	for _, s := range kinds {
		got, err := b.scenario(ctx, p, s)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", s.name, err)
		}
		maps.Copy(all, got)
	}
	return all, nil
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
	chart := report.Chart{Figures: charted, Names: names[1:], Ours: ours, Base: plain}.SVG(results)

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
