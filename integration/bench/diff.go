package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"

	"github.com/caddy-chat/caddy-chat/integration/bench/report"
)

// diff measures two revisions alternately, and prints their figures side by side.
func (c config) diff(ctx context.Context) error {
	dir, err := os.MkdirTemp("", "bench-diff-")
	if err != nil {
		return err
	}
	defer func() { _ = os.RemoveAll(dir) }()
	base, err := buildAt(ctx, c.base, filepath.Join(dir, "base"))
	if err != nil {
		return err
	}
	var head string
	if c.head == "" {
		head, err = caddyOf(ctx, c.caddy)
	} else {
		head, err = buildAt(ctx, c.head, filepath.Join(dir, "head"))
	}
	if err != nil {
		return err
	}

	b := &bench{config: c}
	if b.upstream, err = startUpstream(ctx); err != nil {
		return err
	}
	kinds, err := pick(scenarios, func(s scenario) string { return s.name }, c.scenarios)
	if err != nil {
		return err
	}
	names := c.contenders
	if names == nil {
		names = ours
	}
	was, err := pick(contenders(base), nameOf, names)
	if err != nil {
		return err
	}
	is, err := pick(contenders(head), nameOf, names)
	if err != nil {
		return err
	}

	// Alternate the two, so that a slow second affects both.
	var ways []contender
	for i := range was {
		ways = append(ways, was[i], is[i])
	}
	old, young := report.Results{}, report.Results{}
	for round := range c.rounds {
		samples, err := b.round(ctx, ways, kinds, round)
		if err != nil {
			return err
		}
		for i, name := range names {
			old.Add(name, samples[2*i])
			young.Add(name, samples[2*i+1])
		}
	}
	fmt.Println("\n" + report.Diff(old, young, figures, names).String())
	return nil
}

// caddyOf returns the binary to measure: the given one, or the one that make
// builds here.
func caddyOf(ctx context.Context, given string) (string, error) {
	if given != "" {
		return filepath.Abs(given)
	}
	if err := command(ctx, "make", "build"); err != nil {
		return "", err
	}
	return filepath.Abs("bin/caddy")
}

// buildAt builds a revision in a temporary worktree and puts the binary into dir.
func buildAt(ctx context.Context, revision, dir string) (string, error) {
	if err := os.Mkdir(dir, 0o750); err != nil {
		return "", err
	}
	tree := filepath.Join(dir, "tree")
	if err := command(ctx, "git", "worktree", "add", "--quiet", "--detach", tree, revision); err != nil {
		return "", err
	}
	// Clean up even after an interrupt.
	defer func() { _ = command(context.WithoutCancel(ctx), "git", "worktree", "remove", "--force", tree) }()
	if err := command(ctx, "make", "-C", tree, "build"); err != nil {
		return "", fmt.Errorf("%s: %w", revision, err)
	}
	binary := filepath.Join(dir, "caddy")
	return binary, os.Rename(filepath.Join(tree, "bin", "caddy"), binary)
}

// command runs a program whose output the user sees.
func command(ctx context.Context, name string, args ...string) error {
	cmd := exec.CommandContext(ctx, name, args...) //nolint:gosec // make and git
	cmd.Stdout, cmd.Stderr = os.Stderr, os.Stderr
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("%s %s: %w", name, args[0], err)
	}
	return nil
}
