// Command bench measures the cost of the gateway compared with Caddy's
// reverse_proxy and other proxies, as docs/performance.md describes. Run it from
// the root of the repository, with make bench or
//
//	go run ./integration/bench -help
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// config holds the flags.
type config struct {
	caddy       string
	out         string
	parts       list
	contenders  list
	scenarios   list
	messages    counts
	tenants     counts
	streams     int // held among the figures, to measure the memory of one
	held        int
	slow        int
	followers   int
	base, head  string
	rounds      int
	duration    time.Duration
	warmup      time.Duration
	connections int
	rate        float64
	pprof       string
	pprofTime   time.Duration
}

func main() {
	if slices.Equal(os.Args[1:], []string{asUpstream}) {
		exitOn(beUpstream())
		return
	}
	c := config{streams: 1000, messages: counts{10, 10_000}, tenants: counts{1, 10_000}}
	flag.StringVar(&c.caddy, "caddy", "", "the caddy `binary` to measure; without one, what make builds")
	flag.StringVar(&c.out, "out", "", "write the tables into this `page`, and a chart beside it")
	flag.Var(&c.parts, "parts", "some of figures,messages,tenants,followers; the first three, or figures if contenders or scenarios are picked")
	flag.Var(&c.contenders, "contenders", "some of direct,reverse_proxy,haproxy,nginx,ai_gateway,chain,chat,chain_redis,chat_redis,messages,messages_chat,responses,responses_chat,responses_kept,responses_chat_kept")
	flag.Var(&c.scenarios, "scenarios", "some of held,short,steady,long,burst,null,paced")
	flag.Var(&c.messages, "messages", "`numbers` of stored messages, as in 10,10000,1000000")
	flag.Var(&c.tenants, "tenants", "`numbers` of tenants, as in 1,10000,100000")
	flag.IntVar(&c.held, "held", 0, "only hold `n` streams at once, and show the memory")
	flag.IntVar(&c.slow, "slow", 0, "only read `n` streams, a tenth of which stop reading, and show the time of the others")
	flag.IntVar(&c.followers, "followers", 1000, "how many clients follow a turn")
	flag.StringVar(&c.base, "base", "", "only compare with this `revision`")
	flag.StringVar(&c.head, "head", "", "the `revision` to compare; without one, -caddy or what make builds")
	flag.IntVar(&c.rounds, "rounds", 5, "how often everything is measured")
	flag.DurationVar(&c.duration, "time", time.Second, "how long one measurement takes, paced streams twice")
	flag.DurationVar(&c.warmup, "warmup", 250*time.Millisecond, "how long to warm up before it")
	flag.IntVar(&c.connections, "c", 8, "how many connections make requests")
	flag.Float64Var(&c.rate, "rate", 0, "requests a second; without it, each connection asks again when it has its answer")
	flag.StringVar(&c.pprof, "pprof", "", "write profiles of each Caddy and scenario into this `folder`")
	flag.DurationVar(&c.pprofTime, "pprof-time", 5*time.Second, "how long a profile takes")
	flag.Parse()

	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := c.run(ctx)
	stop()
	exitOn(err)
}

func exitOn(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

// run does the one thing that the flags ask for, or all parts.
func (c config) run(ctx context.Context) error {
	if c.base != "" {
		return c.diff(ctx)
	}
	caddy, err := caddyOf(ctx, c.caddy)
	if err != nil {
		return err
	}
	b := &bench{config: c, caddy: caddy}
	if b.upstream, err = startUpstream(ctx); err != nil {
		return err
	}
	switch {
	case c.held > 0:
		return b.streamsHeld(ctx)
	case c.slow > 0:
		return b.besideSlow(ctx)
	}

	parts := c.parts
	switch {
	case parts != nil:
	case c.contenders != nil || c.scenarios != nil:
		parts = list{"figures"}
	default:
		parts = list{"figures", "messages", "tenants"}
	}
	for _, part := range parts {
		if err := b.part(ctx, part); err != nil {
			return fmt.Errorf("%s: %w", part, err)
		}
	}
	return nil
}

func (b *bench) part(ctx context.Context, name string) error {
	switch name {
	case "figures":
		return b.figures(ctx)
	case "messages":
		return b.byMessages(ctx)
	case "tenants":
		return b.byTenants(ctx)
	case "followers":
		return b.byFollowers(ctx)
	default:
		return fmt.Errorf("want figures, messages, tenants or followers")
	}
}

// list is a flag of words, separated by commas.
type list []string

func (l *list) String() string { return strings.Join(*l, ",") }

func (l *list) Set(s string) error {
	*l = strings.Split(s, ",")
	return nil
}

// counts is a flag of numbers, separated by commas.
type counts []int

func (c *counts) String() string {
	var words []string
	for _, n := range *c {
		words = append(words, strconv.Itoa(n))
	}
	return strings.Join(words, ",")
}

func (c *counts) Set(s string) error {
	*c = nil
	for word := range strings.SplitSeq(s, ",") {
		n, err := strconv.Atoi(word)
		if err != nil || n < 1 {
			return fmt.Errorf("%q: want numbers from 1", word)
		}
		*c = append(*c, n)
	}
	return nil
}

// pick returns the elements whose names are listed, or all without names.
func pick[T any](all []T, name func(T) string, names list) ([]T, error) {
	if names == nil {
		return all, nil
	}
	var picked []T
	for _, want := range names {
		i := slices.IndexFunc(all, func(t T) bool { return name(t) == want })
		if i < 0 {
			return nil, fmt.Errorf("no %q here", want)
		}
		picked = append(picked, all[i])
	}
	return picked, nil
}
