package main

import (
	"debug/buildinfo"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"time"

	"github.com/caddy-chat/caddy-chat/integration/bench/report"
)

// write prints a result and writes it into its section of the page.
func (b *bench) write(section, text string) error {
	fmt.Println("\n" + strings.TrimSpace(text))
	if b.out == "" {
		return nil
	}
	return report.Update(b.out, section, text)
}

// draw writes the chart beside the page, with the page's name.
func (b *bench) draw(chart string) error {
	if b.out == "" {
		return nil
	}
	file := strings.TrimSuffix(b.out, filepath.Ext(b.out)) + ".svg"
	return os.WriteFile(file, []byte(chart), 0o644) //nolint:gosec // as readable as the page
}

// conditions describes the machine and the run.
func conditions(b *bench) string {
	return fmt.Sprintf("%s, %d cores of %s. %s. %d rounds of %v a measurement, %d connections.",
		time.Now().UTC().Format(time.DateOnly), runtime.NumCPU(), processor(), versions(b.caddy),
		b.rounds, b.duration, b.connections)
}

// processor returns the processor's name from Linux.
func processor() string {
	info, err := os.ReadFile("/proc/cpuinfo")
	if err != nil {
		return "an unknown processor"
	}
	for line := range strings.Lines(string(info)) {
		if name, ok := strings.CutPrefix(line, "model name"); ok {
			return strings.TrimLeft(strings.TrimSpace(name), ": \t")
		}
	}
	return "an unnamed processor"
}

// versions returns the versions of Go and Caddy in the binary.
func versions(caddy string) string {
	info, err := buildinfo.ReadFile(caddy)
	if err != nil {
		return fmt.Sprintf("A binary of unknown versions (%v)", err)
	}
	for _, dep := range info.Deps {
		if dep.Path == "github.com/caddyserver/caddy/v2" {
			return fmt.Sprintf("%s, Caddy %s", strings.Replace(info.GoVersion, "go", "Go ", 1), dep.Version)
		}
	}
	return info.GoVersion
}
