package main

import (
	"context"
	"fmt"
	"maps"
	"os"
	"time"

	"github.com/caddy-chat/caddy-chat/integration/bench/load"
	"github.com/caddy-chat/caddy-chat/integration/bench/report"
)

// round starts all contenders and measures them in each scenario.
func (b *bench) round(ctx context.Context, ways []contender, kinds []scenario, round int) ([]report.Sample, error) {
	proxies, err := b.startAll(ctx, ways)
	defer closeAll(proxies)
	if err != nil {
		return nil, err
	}
	samples := make([]report.Sample, len(ways))
	for i := range samples {
		samples[i] = report.Sample{}
	}
	for n, s := range kinds {
		fmt.Fprintf(os.Stderr, "round %d of %d: %s\n", round+1, b.rounds, s.name)
		got, err := b.scenario(ctx, proxies, s, n+round)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", s.name, err)
		}
		for i := range got {
			maps.Copy(samples[i], got[i])
		}
	}
	return samples, nil
}

// startAll starts the contenders. If one fails, it returns those already started.
func (b *bench) startAll(ctx context.Context, ways []contender) ([]*proxy, error) {
	var proxies []*proxy
	for _, w := range ways {
		p, err := w.start(ctx, b.upstream)
		if err != nil {
			return proxies, fmt.Errorf("%s: %w", w.name, err)
		}
		proxies = append(proxies, p)
	}
	return proxies, nil
}

func closeAll(proxies []*proxy) {
	for _, p := range proxies {
		p.close()
	}
}

// scenario measures all proxies, beginning with number first.
func (b *bench) scenario(ctx context.Context, proxies []*proxy, s scenario, first int) ([]report.Sample, error) {
	samples := make([]report.Sample, len(proxies))
	if s.name == held.name {
		return samples, inTurn(ctx, proxies, first, func(i int) (err error) {
			samples[i], err = hold(ctx, proxies[i], b.streams)
			return err
		})
	}
	plans := make([]load.Plan, len(proxies))
	for i, p := range proxies {
		plans[i] = s.plan(p, b.config)
	}
	costs, err := b.compare(ctx, proxies, plans, first)
	if err != nil {
		return nil, err
	}
	for i, p := range proxies {
		samples[i] = s.figures(costs[i], p.process != nil)
		if b.pprof == "" {
			continue
		}
		if err := profile(ctx, p, s, plans[i], b.pprof, b.pprofTime); err != nil {
			return nil, err
		}
	}
	return samples, nil
}

// cost is the result of a load, and what it cost the proxy.
type cost struct {
	load.Result
	cpu time.Duration
}

// parts is how many parts a measurement has. Those of all proxies alternate, so
// that other load on the machine affects all.
const parts = 4

// compare puts a load on each proxy, in alternating parts.
func (b *bench) compare(ctx context.Context, proxies []*proxy, plans []load.Plan, first int) ([]cost, error) {
	costs := make([]cost, len(proxies))
	warmup := func(i int) error {
		plan := plans[i]
		plan.Duration = b.warmup
		_, err := plan.Run(ctx)
		return err
	}
	part := func(i int) error {
		plan := plans[i]
		plan.Duration /= parts
		c, err := proxies[i].bear(ctx, plan)
		costs[i].Add(c.Result)
		costs[i].cpu += c.cpu
		return err
	}
	if err := inTurn(ctx, proxies, first, warmup); err != nil {
		return nil, err
	}
	for n := range parts {
		if err := inTurn(ctx, proxies, first+n, part); err != nil {
			return nil, err
		}
	}
	return costs, nil
}

// inTurn calls do for each proxy, beginning with number first.
func inTurn(ctx context.Context, proxies []*proxy, first int, do func(i int) error) error {
	for n := range proxies {
		i := (first + n) % len(proxies)
		if err := do(i); err != nil {
			return fmt.Errorf("%s: %w", proxies[i].name, err)
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
	}
	return nil
}

// bear puts a load on the proxy and returns its cost.
func (p *proxy) bear(ctx context.Context, plan load.Plan) (cost, error) {
	before, err := p.used()
	if err != nil {
		return cost{}, err
	}
	r, err := plan.Run(ctx)
	if err != nil {
		return cost{}, err
	}
	after, err := p.used()
	return cost{r, after - before}, err
}
