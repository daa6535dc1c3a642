package main

import (
	"context"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"

	"github.com/caddy-chat/caddy-chat/integration/bench/load"
	"github.com/caddy-chat/caddy-chat/integration/bench/report"
)

// perSession is how many messages a session keeps: each turn sends them to
// the model, and removes as many as it adds. So what is stored stays as it
// is, and all that differs is what else is stored.
const perSession = 10

var messageFigures = []report.Figure{
	{Key: "turn.cpu", Name: "CPU a turn", Unit: "µs"},
	{Key: "rss", Name: "memory", Unit: "MiB"},
	{Key: "bytes", Name: "store, a message", Unit: "B"},
}

// byMessages measures a turn in one of the sessions of a store, by how much
// is stored.
func (b *bench) byMessages(ctx context.Context) error {
	chat := ofCaddy("chat", b.caddy, keepSite)
	chat.chat = true
	stores := map[string]*filled{}
	defer func() {
		for _, f := range stores {
			f.close()
		}
	}()
	var ways []contender
	for _, n := range b.messages {
		w := chat
		w.name = strconv.Itoa(n)
		fmt.Fprintf(os.Stderr, "storing %d messages\n", n)
		f, err := fill(ctx, w, b.upstream, max(1, n/perSession))
		if err != nil {
			return err
		}
		stores[w.name] = f
		ways = append(ways, w)
	}

	results := report.Results{}
	err := b.inTurn(ctx, ways, func(w contender) error {
		s, err := stores[w.name].turns(ctx, b)
		results.Add(w.name, s)
		return err
	})
	if err != nil {
		return err
	}
	for name, f := range stores {
		bytes, err := f.size()
		if err != nil {
			return err
		}
		// Once is enough: it does not vary. A store of a few messages is
		// all header.
		if f.sessions > perSession {
			results[name][0]["bytes"] = bytes / float64(f.sessions*perSession)
		}
	}
	return b.byCount("messages", "stored messages", ways, results, messageFigures)
}

// filled is a chat whose store has messages.
type filled struct {
	*proxy
	sessions int
}

// fill starts a chat and has its sessions.
func fill(ctx context.Context, w contender, upstream string, sessions int) (*filled, error) {
	p, err := w.start(ctx, upstream, 1)
	if err != nil {
		return nil, err
	}
	f := &filled{p, sessions}
	plan := f.plan()
	plan.Requests = int64(sessions) * perSession / 2
	if _, err := plan.Run(ctx); err != nil {
		p.close()
		return nil, err
	}
	return f, nil
}

// plan is one connection that takes turns in all sessions: a session that is
// asked twice at once refuses one of the two.
func (f *filled) plan() load.Plan {
	req := f.request(short)
	req.Sessions = int64(f.sessions)
	return load.Plan{Addr: f.addr, Request: req, Connections: 1}
}

// turns measures turns.
func (f *filled) turns(ctx context.Context, b *bench) (report.Sample, error) {
	plan := f.plan()
	plan.Duration = b.warmup
	if _, err := plan.Run(ctx); err != nil {
		return nil, err
	}
	plan.Duration = b.duration
	s, err := short.measure(ctx, f.proxy, plan)
	if err != nil {
		return nil, err
	}
	rss, err := f.rss()
	return report.Sample{"turn.cpu": s["short.cpu"], "rss": rss / (1 << 20)}, err
}

// size ends the chat, and returns the size of its store.
func (f *filled) size() (float64, error) {
	f.stop()
	var sum int64
	err := filepath.WalkDir(filepath.Join(f.dir, "data"), func(_ string, d fs.DirEntry, err error) error {
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

// byTenants measures a turn, each of the next tenant, by how many there are.
func (b *bench) byTenants(ctx context.Context) error {
	chat := ofCaddy("chat", b.caddy, chainSite)
	chat.chat = true
	var ways []contender
	for _, n := range b.tenants {
		w := chat
		w.name = strconv.Itoa(n)
		ways = append(ways, w)
	}
	results := report.Results{}
	err := b.inTurn(ctx, ways, func(w contender) error {
		n, err := strconv.Atoi(w.name)
		if err != nil {
			return err
		}
		s, err := b.tenantsTurns(ctx, w, n)
		results.Add(w.name, s)
		return err
	})
	if err != nil {
		return err
	}
	return b.byCount("tenants", "tenants", ways, results, tenantFigures)
}

func (b *bench) tenantsTurns(ctx context.Context, w contender, tenants int) (report.Sample, error) {
	p, err := w.start(ctx, b.upstream, tenants)
	if err != nil {
		return nil, err
	}
	defer p.close()
	all, err := hold(ctx, p, 1)
	if err != nil {
		return nil, err
	}
	plan := short.plan(p, b.config, b.warmup)
	plan.Request.Tenants = int64(tenants)
	if _, err := plan.Run(ctx); err != nil {
		return nil, err
	}
	plan.Duration = b.duration
	s, err := short.measure(ctx, p, plan)
	maps.Copy(all, report.Sample{"turn.cpu": s["short.cpu"]})
	return all, err
}

// byCount writes a table with a column a count, compared with the smallest.
func (b *bench) byCount(section, what string, ways []contender, results report.Results, figures []report.Figure) error {
	var names []string
	for _, w := range ways {
		names = append(names, w.name)
	}
	t := report.Overview(results, figures, names, names[0])
	t.Head = slices.Clone(t.Head)
	t.Head[0] = what
	return b.write(section, t.String())
}
