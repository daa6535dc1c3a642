package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	caddycmd "github.com/caddyserver/caddy/v2/cmd"
	_ "github.com/caddyserver/caddy/v2/modules/standard"

	_ "github.com/caddy-chat/caddy-chat"
)

// asCaddy makes the test binary act as the caddy command, which saves another
// build.
const asCaddy = "CADDY_CHAT_BENCH_AS_CADDY"

func TestMain(m *testing.M) {
	switch {
	case slices.Equal(os.Args[1:], []string{asUpstream}):
		exitOn(beUpstream())
	case os.Getenv(asCaddy) != "":
		caddycmd.Main()
	default:
		os.Exit(m.Run())
	}
}

// tiny is a run of everything in a few seconds. Its figures mean nothing.
func tiny(t *testing.T, page string) config {
	t.Helper()
	t.Setenv(asCaddy, "1")
	return config{
		caddy:       os.Args[0],
		out:         page,
		contenders:  list{direct, plain, "ai_gateway", "chain", "chat"},
		parts:       list{"figures", "messages", "tenants"},
		messages:    counts{10, 200},
		tenants:     counts{1, 3},
		streams:     20,
		rounds:      1,
		duration:    10 * time.Millisecond,
		warmup:      10 * time.Millisecond,
		connections: 2,
	}
}

// skeleton writes a page with all sections and returns its name.
func skeleton(t *testing.T) string {
	t.Helper()
	var b strings.Builder
	for _, section := range []string{"conditions", "figures", "details", "messages", "tenants", "held", "followers"} {
		b.WriteString("## " + section + "\n\n<!-- bench: " + section + " -->\n<!-- end: " + section + " -->\n\n")
	}
	page := filepath.Join(t.TempDir(), "page.md")
	if err := os.WriteFile(page, []byte(b.String()), 0o600); err != nil {
		t.Fatal(err)
	}
	return page
}

func TestEverythingIsMeasured(t *testing.T) {
	page := skeleton(t)
	c := tiny(t, page)
	if err := c.run(t.Context()); err != nil {
		t.Fatal(err)
	}
	c.held, c.contenders = 20, list{plain, "chat"}
	if err := c.run(t.Context()); err != nil {
		t.Fatal(err)
	}

	written, err := os.ReadFile(page)
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range slices.Concat(figures, messageFigures, tenantFigures, heldFigures) {
		if !strings.Contains(string(written), "| "+f.Name+" ") {
			t.Errorf("no %q in the page", f.Name)
		}
	}
	if strings.Contains(string(written), "NaN") {
		t.Error("a figure is not a number")
	}
	if t.Failed() {
		t.Logf("the page:\n%s", written)
	}
	chart, err := os.ReadFile(strings.TrimSuffix(page, ".md") + ".svg")
	if err != nil || strings.Count(string(chart), "<rect") != len(charted)*4 {
		t.Errorf("the chart, %v:\n%s", err, chart)
	}
}

// TestOnRedis measures the contenders whose data is on a server, where there is one.
func TestOnRedis(t *testing.T) {
	switch _, err := exec.LookPath("redis-server"); {
	case err != nil && os.Getenv("CI") == "true":
		t.Fatal("redis-server is not installed")
	case err != nil:
		t.Skip("redis-server is not installed: apt-get install redis-server")
	}
	c := tiny(t, skeleton(t))
	c.contenders, c.scenarios, c.parts = list{plain, "chain_redis", "chat_redis"}, list{"short", "burst"}, nil
	if err := c.run(t.Context()); err != nil {
		t.Fatal(err)
	}
	c.parts, c.followers = list{"followers"}, 4
	if err := c.run(t.Context()); err != nil {
		t.Fatal(err)
	}
	page, err := os.ReadFile(c.out)
	if err != nil || !strings.Contains(string(page), "chat_redis") || !strings.Contains(string(page), "memory a follower") || strings.Contains(string(page), "NaN") {
		t.Errorf("%v, the page:\n%s", err, page)
	}
}

// TestDoors measures the contenders with other APIs.
func TestDoors(t *testing.T) {
	c := tiny(t, skeleton(t))
	c.contenders, c.scenarios, c.parts = list{plain, "messages", "messages_chat", "responses", "responses_chat", "responses_kept", "responses_chat_kept"}, list{"burst", "paced"}, nil
	if err := c.run(t.Context()); err != nil {
		t.Fatal(err)
	}
	page, err := os.ReadFile(c.out)
	if err != nil || !strings.Contains(string(page), "responses_chat_kept") || strings.Contains(string(page), "NaN") {
		t.Errorf("%v, the page:\n%s", err, page)
	}
}

func TestProfile(t *testing.T) {
	c := tiny(t, "")
	c.contenders, c.scenarios, c.parts = list{direct, "chat"}, list{"short"}, nil
	c.pprof, c.pprofTime = t.TempDir(), time.Second
	if err := c.run(t.Context()); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"chat-short.cpu.pprof", "chat-short.allocs.pprof"} {
		if info, err := os.Stat(filepath.Join(c.pprof, name)); err != nil || info.Size() == 0 {
			t.Errorf("%s: %v, %v", name, info, err)
		}
	}
}

func TestPicksAreChecked(t *testing.T) {
	for name, spoil := range map[string]func(*config){
		"contender": func(c *config) { c.contenders = list{"squid"} },
		"scenario":  func(c *config) { c.scenarios = list{"long", "longer"} },
		"part":      func(c *config) { c.parts = list{"figure"} },
	} {
		t.Run(name, func(t *testing.T) {
			c := tiny(t, "")
			spoil(&c)
			if err := c.run(t.Context()); err == nil {
				t.Error("no error")
			}
		})
	}
	for _, s := range []string{"", "0", "1,x", "1,,2"} {
		if err := new(counts).Set(s); err == nil {
			t.Errorf("counts %q: no error", s)
		}
	}
}

func TestQuantile(t *testing.T) {
	d := make([]time.Duration, 0, 101)
	for i := range 101 {
		d = append(d, time.Duration(100-i))
	}
	for q, want := range map[float64]time.Duration{0: 0, 0.5: 50, 0.99: 99, 1: 100} {
		if got := quantile(d, q); got != want {
			t.Errorf("%v: got %d, want %d", q, got, want)
		}
	}
}
