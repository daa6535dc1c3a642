package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/caddy-chat/caddy-chat/integration/bench/load"
	"github.com/caddy-chat/caddy-chat/integration/bench/report"
)

const (
	// joining is how many followers begin at once: each reads the events so far.
	joining = 20

	// joined is when all follow, after the turn began.
	joined = 8 * time.Second
)

// followed is an answer that is long enough for all to follow it.
var followed = scenario{name: "followed", model: "150-100ms", words: 150, stream: true}

var followerFigures = []report.Figure{
	{Key: "first.p50", Name: "time a chunk takes to who asked, p50", Unit: "ms"},
	{Key: "first.p99", Name: "the same, p99", Unit: "ms"},
	{Key: "rss", Name: "memory a follower", Unit: "KiB"},
	{Key: "cpu", Name: "CPU an event of a follower", Unit: "µs"},
}

// byFollowers measures one turn without followers, and one with many, over
// two nodes that share a Redis.
func (b *bench) byFollowers(ctx context.Context) error {
	i := slices.IndexFunc(contenders(b.caddy), func(c contender) bool { return c.name == "chat_redis" })
	if i < 0 {
		return errors.New("redis-server is not installed: apt-get install redis-server")
	}
	way := contenders(b.caddy)[i]
	results := report.Results{}
	names := []string{"none", fmt.Sprint(b.followers)}
	for round := range b.rounds {
		for i, n := range []int{0, b.followers} {
			fmt.Fprintf(os.Stderr, "round %d of %d: %d followers\n", round+1, b.rounds, n)
			s, err := b.follow(ctx, way, n)
			if err != nil {
				return err
			}
			results.Add(names[i], s)
		}
	}
	t := report.Overview(results, followerFigures, names, names[0])
	t.Head[0] = "followers"
	about := fmt.Sprintf("An answer of %d words, 100 ms apart, over two nodes. %d rounds.", followed.words, b.rounds)
	return b.write("followers", about+"\n\n"+t.String())
}

// follow measures a turn with n followers.
func (b *bench) follow(ctx context.Context, way contender, n int) (report.Sample, error) {
	one, err := way.start(ctx, b.upstream)
	if err != nil {
		return nil, err
	}
	defer one.close()
	two, err := way.beside(ctx, b.upstream, one)
	if err != nil {
		return nil, err
	}
	defer two.close()
	nodes := []*proxy{one, two}
	time.Sleep(settled)
	idle, err := sum(nodes, (*proxy).rss)
	if err != nil {
		return nil, err
	}

	var produced load.Result
	var failed error
	var running sync.WaitGroup
	defer running.Wait()
	begun := time.Now()
	running.Go(func() {
		req := one.request(followed)
		req.Sessions = 1
		produced, failed = load.Plan{Addr: one.addr, Request: req, Connections: 1, Requests: 1, Skip: joined}.Run(ctx)
	})
	var events atomic.Int64
	following, err := followAll(ctx, nodes, n, &events)
	defer func() { _ = following.Wait() }()
	if err != nil {
		return nil, err
	}
	if late := time.Since(begun) - joined; late > 0 {
		return nil, fmt.Errorf("all follow %v too late", late)
	}
	time.Sleep(time.Until(begun.Add(joined)))
	busy, err := sum(nodes, (*proxy).rss)
	if err != nil {
		return nil, err
	}
	before, err := sum(nodes, cpuOf)
	if err != nil {
		return nil, err
	}
	read := events.Load()
	running.Wait()
	if err := errors.Join(failed, following.Wait()); err != nil {
		return nil, err
	}
	after, err := sum(nodes, cpuOf)
	if err != nil {
		return nil, err
	}
	s := report.Sample{
		"first.p50": millis(quantile(produced.Lags, 0.50)),
		"first.p99": millis(quantile(produced.Lags, 0.99)),
	}
	if n > 0 {
		s["rss"] = (busy - idle) / float64(n) / (1 << 10)
		s["cpu"] = (after - before) / 1e3 / float64(events.Load()-read)
	}
	return s, nil
}

func cpuOf(p *proxy) (float64, error) {
	used, err := p.cpu()
	return float64(used.Nanoseconds()), err
}

func sum(nodes []*proxy, figure func(*proxy) (float64, error)) (all float64, err error) {
	for _, p := range nodes {
		v, err := figure(p)
		if err != nil {
			return 0, err
		}
		all += v
	}
	return all, nil
}

// followers are clients that read to the end.
type followers struct {
	reading sync.WaitGroup
	mu      sync.Mutex
	err     error
}

// Wait waits until all have read all, and returns why one could not.
func (f *followers) Wait() error {
	f.reading.Wait()
	return f.err
}

// followAll has n clients follow the turn, and returns when all do.
func followAll(ctx context.Context, nodes []*proxy, n int, events *atomic.Int64) (*followers, error) {
	f := &followers{}
	client := &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: n}}
	slots := make(chan struct{}, joining)
	var begun sync.WaitGroup
	for i := range n {
		begun.Add(1)
		f.reading.Go(func() {
			slots <- struct{}{}
			body, err := join(ctx, client, nodes[i%len(nodes)].addr)
			<-slots
			begun.Done()
			if err == nil {
				err = readEvents(body, events)
			}
			if err != nil {
				f.mu.Lock()
				f.err = err
				f.mu.Unlock()
			}
		})
	}
	begun.Wait()
	f.mu.Lock()
	defer f.mu.Unlock()
	return f, f.err
}

// join follows the turn as soon as it runs.
func join(ctx context.Context, client *http.Client, addr string) (io.ReadCloser, error) {
	url := "http://" + addr + "/chat/" + fmt.Sprintf(load.SessionID, 0) + "/stream"
	for {
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
		if err != nil {
			return nil, err
		}
		req.Header.Set("X-Tenant-Id", fmt.Sprintf(load.TenantID, 0))
		resp, err := client.Do(req)
		if err != nil {
			return nil, err
		}
		if resp.StatusCode == http.StatusOK {
			return resp.Body, nil
		}
		resp.Body.Close()
		time.Sleep(10 * time.Millisecond)
	}
}

func readEvents(body io.ReadCloser, events *atomic.Int64) error {
	defer body.Close()
	done := false
	lines := bufio.NewScanner(body)
	for lines.Scan() {
		if strings.HasPrefix(lines.Text(), "id: ") {
			events.Add(1)
		}
		done = done || lines.Text() == "event: done"
	}
	if err := lines.Err(); err != nil {
		return fmt.Errorf("following: %w", err)
	}
	if !done {
		return errors.New("a follower's answer ends without done")
	}
	return nil
}
