package main

import (
	"context"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"

	"github.com/caddy-chat/caddy-chat/integration/bench/load"
	"github.com/caddy-chat/caddy-chat/integration/bench/report"
)

const (
	// perSession is how many messages a session keeps. Each turn sends them to
	// the model, and removes as many as it adds, so that the store keeps its size
	// and runs differ only in what else is stored.
	perSession = 10

	// loadTurns is how many turns come before the measurements at most. Messages
	// lie in no order, so that these reach all parts of the store.
	loadTurns = 20_000
)

var messageFigures = []report.Figure{
	{Key: "turn.cpu", Name: "CPU a turn", Unit: "µs"},
	{Key: "start", Name: "start, until the first answer", Unit: "ms"},
	{Key: "idle.rss", Name: "memory when idle", Unit: "MiB"},
	{Key: "rss", Name: "memory under load", Unit: "MiB"},
	{Key: "most.rss", Name: "most memory", Unit: "MiB"},
	{Key: "bytes", Name: "store, a message", Unit: "B"},
}

// byMessages measures a turn in a session, and the memory, by the size of the store.
func (b *bench) byMessages(ctx context.Context) error {
	var ways []contender
	for _, n := range b.messages {
		w := chatOf(b.caddy, keepSite, n)
		w.messages = n
		ways = append(ways, w)
	}
	proxies, err := b.startAll(ctx, ways)
	defer closeAll(proxies)
	if err != nil {
		return err
	}
	results := report.Results{}
	plans := make([]load.Plan, len(ways))
	for i, p := range proxies {
		plans[i] = b.inSessions(p, sessionsOf(p.messages))
		if err := p.rest(ctx); err != nil {
			return err
		}
		idle, err := p.rss()
		if err != nil {
			return err
		}
		results.Add(p.name, report.Sample{"start": millis(p.started), "idle.rss": idle / (1 << 20)})
	}
	if err := b.loadAll(ctx, plans); err != nil {
		return err
	}
	for round := range b.rounds {
		fmt.Fprintf(os.Stderr, "round %d of %d: messages\n", round+1, b.rounds)
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
	for _, p := range proxies {
		if err := p.addTotals(results); err != nil {
			return err
		}
	}
	return b.byCount("messages", "stored messages", ways, results, messageFigures)
}

// loadAll makes as many turns with each store: what finished turns take should not
// tell them apart.
func (b *bench) loadAll(ctx context.Context, plans []load.Plan) error {
	turns := min(loadTurns, sessionsOf(slices.Max(b.messages)))
	for _, plan := range plans {
		fmt.Fprintf(os.Stderr, "%d turns in %d sessions\n", turns, plan.Request.Sessions)
		plan.Requests = int64(turns)
		if _, err := plan.Run(ctx); err != nil {
			return err
		}
	}
	return nil
}

// addTotals stops the proxy and adds what is measured once.
func (p *proxy) addTotals(results report.Results) error {
	most, err := p.mostRSS()
	if err != nil {
		return err
	}
	once := results[p.name][0]
	once["most.rss"] = most / (1 << 20)
	bytes, err := p.size()
	if err != nil {
		return err
	}
	// A store of a few messages is mostly header.
	if n := sessionsOf(p.messages); n > 1 {
		once["bytes"] = bytes / float64(n*perSession)
	}
	return nil
}

func sessionsOf(messages int) int { return max(1, messages/perSession) }

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
