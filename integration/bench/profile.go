package main

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"time"

	"github.com/caddy-chat/caddy-chat/integration/bench/load"
)

// profile writes CPU and allocation profiles of a Caddy under load.
func profile(ctx context.Context, p *proxy, s scenario, plan load.Plan, dir string, d time.Duration) error {
	if p.file != "Caddyfile" {
		return nil // not a Caddy
	}
	plan.Duration = d + time.Second // the load covers the profiles
	done := make(chan error, 1)
	go func() {
		_, err := plan.Run(ctx)
		done <- err
	}()

	errs := make(chan error, 2)
	for path, kind := range map[string]string{"profile": "cpu", "allocs": "allocs"} {
		go func() {
			url := fmt.Sprintf("http://%s/debug/pprof/%s?seconds=%d", p.admin, path, int(d.Seconds()))
			errs <- fetch(ctx, url, filepath.Join(dir, fmt.Sprintf("%s-%s.%s.pprof", p.name, s.name, kind)))
		}()
	}
	for range cap(errs) {
		if err := <-errs; err != nil {
			return err
		}
	}
	return <-done
}

// fetch downloads a URL into a file.
func fetch(ctx context.Context, url, file string) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, http.NoBody)
	if err != nil {
		return err
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		return err
	}
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("%s: %s: %s", url, resp.Status, body)
	}
	return os.WriteFile(file, body, 0o600)
}
