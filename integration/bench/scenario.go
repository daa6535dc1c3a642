package main

import (
	"fmt"
	"slices"
	"time"

	"github.com/caddy-chat/caddy-chat/integration/bench/load"
	"github.com/caddy-chat/caddy-chat/integration/bench/report"
)

const (
	words = 64                   // of a long answer, one per chunk if streamed
	gap   = 5 * time.Millisecond // between paced chunks
	rate  = 200                  // requests a second of the steady load
)

// scenario is a kind of request that is made to all contenders.
type scenario struct {
	name   string
	model  string // see replay.Script
	words  int
	stream bool
	paced  bool // whether the times of its chunks are measured
	steady bool // whether requests come at a fixed rate, to measure their times
}

var (
	short = scenario{name: "short", model: "1", words: 1}
	// held streams are opened by hold, and measured differently.
	held = scenario{name: "held", model: "1-held", words: 1, stream: true}
	// flood is an endless stream, for clients that stop reading.
	flood = scenario{name: "flood", model: "1000000000", words: 1, stream: true}
	// slow streams are as fast as people read, see besideSlow.
	slow = scenario{name: "slow", model: "30-500ms", words: 30, stream: true}

	scenarios = []scenario{
		held,
		short,
		{name: "steady", model: "1", words: 1, steady: true},
		{name: "long", model: fmt.Sprint(words), words: words},
		{name: "burst", model: fmt.Sprint(words), words: words, stream: true},
		{name: "null", model: fmt.Sprintf("%d-null", words), words: words, stream: true},
		{name: "paced", model: fmt.Sprintf("%d-%v", words, gap), words: words, stream: true, paced: true},
	}
)

// models lists the names that the gateway must know.
func models() []string {
	names := []string{flood.model, slow.model, followed.model}
	for _, s := range scenarios {
		names = append(names, s.model)
	}
	slices.Sort(names)
	return slices.Compact(names)
}

// plan returns the scenario's load on a contender.
func (s scenario) plan(p *proxy, c config) load.Plan {
	plan := load.Plan{Addr: p.addr, Request: p.request(s), Connections: c.connections, Duration: c.duration, Rate: c.rate}
	if s.steady && c.rate == 0 {
		plan.Rate = rate
	}
	if s.paced {
		plan.Stagger = gap
		plan.Duration *= 2 // for enough chunks
	}
	return plan
}

// figures returns what was measured, by figure.
func (s scenario) figures(c cost, proxied bool) report.Sample {
	figures := report.Sample{}
	if proxied {
		count := c.Requests
		if s.stream {
			count = c.Words
		}
		figures[s.name+".cpu"] = micros(c.cpu) / float64(count)
	}
	if s.steady {
		figures["steady.p50"] = millis(quantile(c.Took, 0.50))
		figures["steady.p99"] = millis(quantile(c.Took, 0.99))
	}
	if s.paced {
		figures["paced.p50"] = millis(quantile(c.Lags, 0.50))
		figures["paced.p99"] = millis(quantile(c.Lags, 0.99))
		figures["first.p50"] = millis(quantile(c.First, 0.50))
		figures["first.p99"] = millis(quantile(c.First, 0.99))
	}
	return figures
}

func micros(d time.Duration) float64 { return float64(d.Nanoseconds()) / 1e3 }
func millis(d time.Duration) float64 { return float64(d.Nanoseconds()) / 1e6 }

// quantile sorts d.
func quantile(d []time.Duration, q float64) time.Duration {
	if len(d) == 0 {
		return 0
	}
	slices.Sort(d)
	return d[int(q*float64(len(d)-1))]
}
