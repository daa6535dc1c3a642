package harness

import (
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"runtime/debug"
	"slices"
	"sync"
	"syscall"
	"testing"
	"time"
)

// binary builds the tests' Caddy and returns its path. All test packages share
// one file, which go rebuilds only when it is out of date.
var binary = sync.OnceValues(func() (string, error) {
	root, err := repository()
	if err != nil {
		return "", err
	}
	if err := dependOnSource(root); err != nil {
		return "", err
	}
	flags := testFlags()
	name := "caddy-test"
	if slices.Contains(flags, "-race=true") {
		name = "caddy-test-race"
	}
	file := filepath.Join(root, "bin", name)
	args := append([]string{"build", "-buildvcs=false"}, flags...)
	unlock, err := lock(file + ".lock")
	if err != nil {
		return "", err
	}
	defer unlock()
	cmd := exec.Command("go", append(args, "-o", file, "./integration/harness/caddy")...)
	cmd.Dir = root
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("building Caddy: %w\n%s", err, out)
	}
	// A build touches the file even when it is up to date, which would make go
	// discard the cached results of tests that ran it.
	return file, os.Chtimes(file, time.Time{}, time.Unix(0, 0))
})

// Binary returns the path of the tests' Caddy, which it builds if need be.
func Binary(t testing.TB) string {
	t.Helper()
	file, err := binary()
	if err != nil {
		t.Fatal(err)
	}
	return file
}

// testFlags returns the flags of the tests' own build that change how a program
// behaves.
func testFlags() []string {
	var list []string
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return nil
	}
	for _, s := range info.Settings {
		if s.Key == "-race" || s.Key == "-tags" {
			list = append(list, s.Key+"="+s.Value)
		}
	}
	return list
}

// dependOnSource opens what the binary is built from. The tests do not link
// these files, so this is how go learns that a cached result depends on them.
func dependOnSource(root string) error {
	for _, name := range []string{"go.mod", "go.sum", "imports.go"} {
		if _, err := os.Stat(filepath.Join(root, name)); err != nil {
			return err
		}
	}
	for _, name := range []string{"modules", "integration/harness/caddy"} {
		err := filepath.WalkDir(filepath.Join(root, name), func(_ string, _ fs.DirEntry, err error) error { return err })
		if err != nil {
			return err
		}
	}
	return nil
}

// lock holds an exclusive lock on a file until unlock.
func lock(file string) (unlock func() error, err error) {
	if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
		return nil, err
	}
	f, err := os.OpenFile(file, os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, err
	}
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX); err != nil {
		f.Close()
		return nil, err
	}
	return f.Close, nil // closing releases the lock
}
