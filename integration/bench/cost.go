package main

import (
	"context"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"

	"github.com/caddy-chat/caddy-chat/integration/bench/load"
	"github.com/caddy-chat/caddy-chat/integration/bench/report"
)

// perSession is how many messages a session keeps. Each turn sends them to the
// model, and removes as many as it adds, so that the store keeps its size and
// runs differ only in what else is stored.
const perSession = 10

var messageFigures = []report.Figure{
	{Key: "turn.cpu", Name: "CPU a turn", Unit: "µs"},
	{Key: "rss", Name: "memory", Unit: "MiB"},
	{Key: "bytes", Name: "store, a message", Unit: "B"},
}

// byMessages measures a turn in a session, by the size of the store.
func (b *bench) byMessages(ctx context.Context) error {
	var ways []contender
	for _, n := range b.messages {
		ways = append(ways, chatOf(b.caddy, keepSite, n))
	}
	proxies, err := b.startAll(ctx, ways)
	defer closeAll(proxies)
	if err != nil {
		return err
	}
	plans := make([]load.Plan, len(ways))
	for i, p := range proxies {
		fmt.Fprintf(os.Stderr, "storing %s messages\n", p.name)
		plans[i] = b.inSessions(p, max(1, b.messages[i]/perSession))
		if err := store(ctx, plans[i]); err != nil {
			return err
		}
	}

	results := report.Results{}
	for round := range b.rounds {
		costs, err := b.compare(ctx, proxies, plans, round)
		if err != nil {
			return err
		}
		for i, p := range proxies {
			rss, err := p.rss()
			if err != nil {
				return err
			}
			results.Add(p.name, report.Sample{
				"turn.cpu": micros(costs[i].cpu) / float64(costs[i].Requests),
				"rss":      rss / (1 << 20),
			})
		}
	}
	for i, p := range proxies {
		bytes, err := p.size()
		if err != nil {
			return err
		}
		// A store of a few messages is mostly header. Measure once: the size
		// does not vary.
		if n := plans[i].Request.Sessions; n > 1 {
			results[p.name][0]["bytes"] = bytes / float64(n*perSession)
		}
	}
	return b.byCount("messages", "stored messages", ways, results, messageFigures)
}

// chatOf returns a contender named after a count.
func chatOf(caddy, site string, count int) contender {
	w := ofCaddy(strconv.Itoa(count), caddy, site)
	w.chat = true
	return w
}

// inSessions returns the load of one connection that cycles through all sessions.
// More would not work: a session refuses a second turn at once.
func (b *bench) inSessions(p *proxy, sessions int) load.Plan {
	req := p.request(short)
	req.Sessions = int64(sessions)
	return load.Plan{Addr: p.addr, Request: req, Connections: 1, Duration: b.duration}
}

// store fills the sessions with messages.
func store(ctx context.Context, plan load.Plan) error {
	plan.Requests = plan.Request.Sessions * perSession / 2
	_, err := plan.Run(ctx)
	return err
}

// size stops the proxy and returns the size of its store.
func (p *proxy) size() (float64, error) {
	p.stop()
	var sum int64
	err := filepath.WalkDir(filepath.Join(p.dir, "data"), func(_ string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		info, err := d.Info()
		if err == nil {
			sum += info.Size()
		}
		return err
	})
	return float64(sum), err
}

var tenantFigures = []report.Figure{
	{Key: "turn.cpu", Name: "CPU a turn", Unit: "µs"},
	{Key: "start", Name: "start, until the first answer", Unit: "ms"},
	{Key: "idle.rss", Name: "memory when idle", Unit: "MiB"},
}

// byTenants measures a turn, each with the next tenant, by the number of tenants.
func (b *bench) byTenants(ctx context.Context) error {
	var ways []contender
	for _, n := range b.tenants {
		w := chatOf(b.caddy, chainSite, n)
		w.tenants = n
		ways = append(ways, w)
	}
	results := report.Results{}
	for round := range b.rounds {
		fmt.Fprintf(os.Stderr, "round %d of %d: tenants\n", round+1, b.rounds)
		samples, err := b.tenantsRound(ctx, ways, round)
		if err != nil {
			return err
		}
		for i, w := range ways {
			results.Add(w.name, samples[i])
		}
	}
	return b.byCount("tenants", "tenants", ways, results, tenantFigures)
}

func (b *bench) tenantsRound(ctx context.Context, ways []contender, round int) ([]report.Sample, error) {
	proxies, err := b.startAll(ctx, ways)
	defer closeAll(proxies)
	if err != nil {
		return nil, err
	}
	samples := make([]report.Sample, len(ways))
	plans := make([]load.Plan, len(ways))
	for i, p := range proxies {
		if samples[i], err = hold(ctx, p, 1); err != nil {
			return nil, err
		}
		plans[i] = short.plan(p, b.config)
		plans[i].Request.Tenants = int64(p.tenants)
	}
	costs, err := b.compare(ctx, proxies, plans, round)
	if err != nil {
		return nil, err
	}
	for i, c := range costs {
		samples[i]["turn.cpu"] = micros(c.cpu) / float64(c.Requests)
	}
	return samples, nil
}

// byCount writes a table with a column per count, compared with the smallest.
func (b *bench) byCount(section, what string, ways []contender, results report.Results, figures []report.Figure) error {
	names := namesOf(ways)
	t := report.Overview(results, figures, names, names[0])
	t.Head[0] = what
	return b.write(section, t.String())
}
