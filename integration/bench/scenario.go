package main

import (
	"fmt"
	"slices"
	"time"

	"github.com/caddy-chat/caddy-chat/integration/bench/load"
)

const (
	words = 64 // of a long answer: so many chunks where it is streamed
	gap   = 5 * time.Millisecond
)

// scenario is a kind of answer that all contenders are asked for.
type scenario struct {
	name   string
	model  string // see replay.Script
	words  int
	stream bool
	paced  bool // whether the times of its chunks are of interest
}

var scenarios = []scenario{
	{name: "short", model: "1", words: 1},
	{name: "long", model: fmt.Sprint(words), words: words},
	{name: "burst", model: fmt.Sprint(words), words: words, stream: true},
	{name: "null", model: fmt.Sprintf("%d-null", words), words: words, stream: true},
	{name: "paced", model: fmt.Sprintf("%d-%v", words, gap), words: words, stream: true, paced: true},
}

// models lists the names that the gateway has to know.
func models() []string {
	var names []string
	for _, s := range scenarios {
		names = append(names, s.model)
	}
	slices.Sort(names)
	return slices.Compact(names)
}

// sample holds figures of one contender in one round, by name.
type sample map[string]float64

// measure asks a contender as planned, and returns the figures: microseconds,
// of the processor a request or a chunk, and on the clock.
func (s scenario) measure(p *proxy, plan load.Plan) (sample, error) {
	before, err := p.used()
	if err != nil {
		return nil, err
	}
	r, err := plan.Run()
	if err != nil {
		return nil, err
	}
	after, err := p.used()
	if err != nil {
		return nil, err
	}

	figures := sample{}
	if p.process != nil {
		count := r.Requests
		if s.stream {
			count = r.Words
		}
		figures[s.name+".cpu"] = micros(after-before) / float64(count)
	}
	if s.paced {
		figures[s.name+".p50"] = micros(quantile(r.Lags, 0.50))
		figures[s.name+".p99"] = micros(quantile(r.Lags, 0.99))
		figures["first.p50"] = micros(quantile(r.First, 0.50))
		figures["first.p99"] = micros(quantile(r.First, 0.99))
	}
	return figures, nil
}

func micros(d time.Duration) float64 { return float64(d.Nanoseconds()) / 1e3 }

// quantile sorts what it is given.
func quantile(d []time.Duration, q float64) time.Duration {
	if len(d) == 0 {
		return 0
	}
	slices.Sort(d)
	return d[int(q*float64(len(d)-1))]
}

// plan is the load of the scenario on a contender.
func (s scenario) plan(p *proxy, connections int, d time.Duration, rate float64) load.Plan {
	plan := load.Plan{
		Addr:        p.addr,
		Request:     p.request(s.model, s.words, s.stream),
		Connections: connections,
		Duration:    d,
		Rate:        rate,
	}
	if s.paced {
		plan.Stagger = gap
	}
	return plan
}
