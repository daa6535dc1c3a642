package main

import (
	"context"

	"github.com/caddy-chat/caddy-chat/integration/bench/report"
)

// figures are those in docs/performance.md, in order.
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

// charted are the figures in the chart.
var charted = []report.Figure{
	{Key: "short.cpu", Name: "CPU a request, not streamed", Unit: "µs"},
	{Key: "paced.cpu", Name: "CPU a chunk, 5 ms apart", Unit: "µs"},
	{Key: "burst.cpu", Name: "CPU a chunk, 64 with no gap", Unit: "µs"},
	{Key: "held.rss", Name: "memory a held stream", Unit: "KiB"},
}

// bench is one run.
type bench struct {
	config
	caddy    string
	upstream string
}

// figures measures all contenders in all scenarios.
func (b *bench) figures(ctx context.Context) error {
	all := contenders(b.caddy)
	if b.contenders != nil {
		all = append(all, doors(b.caddy)...)
	}
	ways, err := pick(all, nameOf, b.contenders)
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

func nameOf(c contender) string { return c.name }

func namesOf(ways []contender) []string {
	var names []string
	for _, w := range ways {
		names = append(names, w.name)
	}
	return names
}

// publish prints the figures, and writes them and the chart to the page.
func (b *bench) publish(ways []contender, results report.Results) error {
	names := namesOf(ways)
	overview := report.Overview(results, figures, names, plain).String()
	details := report.Details(results, figures, names, plain).String()
	chart := report.Chart{Figures: charted, Names: names, Ours: append([]string{"chain_redis", "chat_redis"}, ours...), Base: plain}.SVG(results)

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
