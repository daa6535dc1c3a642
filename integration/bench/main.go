// Command bench measures what the gateway costs beside Caddy's reverse_proxy
// and other proxies. Run it from the root of the repository:
//
//	go run ./integration/bench -help
package main

import (
	"flag"
	"fmt"
	"net"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/caddy-chat/caddy-chat/integration/bench/replay"
)

// config is what the flags say.
type config struct {
	caddy       string
	rounds      int
	duration    time.Duration
	warmup      time.Duration
	connections int
	rate        float64
	contenders  string
	scenarios   string
	pprof       string
	pprofTime   time.Duration
}

func main() {
	if len(os.Args) == 2 && os.Args[1] == asUpstream {
		exitOn(beUpstream())
		return
	}
	var c config
	flag.StringVar(&c.caddy, "caddy", "", "the caddy `binary` to measure; without one, what make builds")
	flag.IntVar(&c.rounds, "rounds", 5, "how often everything is measured")
	flag.DurationVar(&c.duration, "time", 1500*time.Millisecond, "how long one measurement takes")
	flag.DurationVar(&c.warmup, "warmup", 300*time.Millisecond, "how long there is load before it")
	flag.IntVar(&c.connections, "c", 8, "how many connections ask at once")
	flag.Float64Var(&c.rate, "rate", 0, "requests a second; without it, each connection asks again when it has its answer")
	flag.StringVar(&c.contenders, "contenders", "", "only these, with commas between")
	flag.StringVar(&c.scenarios, "scenarios", "", "only these, with commas between")
	flag.StringVar(&c.pprof, "pprof", "", "write CPU and allocation profiles of each Caddy and scenario into this `folder`")
	flag.DurationVar(&c.pprofTime, "pprof-time", 5*time.Second, "how long a profile takes")
	flag.Parse()
	exitOn(c.run())
}

func exitOn(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

// beUpstream serves until its standard input ends.
func beUpstream() error {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	fmt.Println(l.Addr())
	go func() {
		_, _ = os.Stdin.Read(make([]byte, 1))
		os.Exit(0)
	}()
	return replay.Serve(l)
}

func (c config) run() error {
	caddy, err := caddyOf(c.caddy)
	if err != nil {
		return err
	}
	ways, err := pick(contenders(caddy), func(c contender) string { return c.name }, c.contenders)
	if err != nil {
		return err
	}
	kinds, err := pick(scenarios, func(s scenario) string { return s.name }, c.scenarios)
	if err != nil {
		return err
	}
	upstream, addr, err := startUpstream()
	if err != nil {
		return err
	}
	defer func() { _ = upstream.Process.Kill() }()

	results := map[string][]sample{}
	for round := range c.rounds {
		for i := range ways {
			w := ways[(i+round)%len(ways)]
			fmt.Fprintf(os.Stderr, "round %d of %d: %s\n", round+1, c.rounds, w.name)
			got, err := c.measure(w, kinds, addr)
			if err != nil {
				return fmt.Errorf("%s: %w", w.name, err)
			}
			results[w.name] = append(results[w.name], got)
		}
	}
	return print(os.Stdout, ways, results)
}

// measure runs a contender through the scenarios.
func (c config) measure(w contender, kinds []scenario, upstream string) (sample, error) {
	p, err := w.start(upstream)
	if err != nil {
		return nil, err
	}
	defer func() { _ = p.close() }()

	all := sample{}
	for _, s := range kinds {
		plan := s.plan(p, c.connections, c.warmup, c.rate)
		if _, err := plan.Run(); err != nil {
			return nil, fmt.Errorf("%s: %w", s.name, err)
		}
		plan.Duration = c.duration
		got, err := s.measure(p, plan)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", s.name, err)
		}
		for name, figure := range got {
			all[name] = figure
		}
		if c.pprof == "" {
			continue
		}
		if err := profile(p, s, plan, c.pprof, c.pprofTime); err != nil {
			return nil, fmt.Errorf("%s: profile: %w", s.name, err)
		}
	}
	return all, nil
}

// pick returns those of all whose names are listed, or all.
func pick[T any](all []T, name func(T) string, list string) ([]T, error) {
	if list == "" {
		return all, nil
	}
	var picked []T
	for want := range strings.SplitSeq(list, ",") {
		i := slices.IndexFunc(all, func(t T) bool { return name(t) == want })
		if i < 0 {
			var names []string
			for _, t := range all {
				names = append(names, name(t))
			}
			return nil, fmt.Errorf("no %q: want some of %s", want, strings.Join(names, ","))
		}
		picked = append(picked, all[i])
	}
	return picked, nil
}
