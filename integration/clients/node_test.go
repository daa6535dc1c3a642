package clients

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"

	"github.com/caddy-chat/caddy-chat/integration/harness"
)

// scriptsDir holds the scripts that run the Node.js clients, and their lock file.
const scriptsDir = "node"

// runScript runs a client's script through the cases.
func runScript(t *testing.T, name string, cases []clientCase) []sight {
	t.Helper()
	dir := t.TempDir()
	if err := os.CopyFS(dir, os.DirFS(scriptsDir)); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(nodeModules(t), filepath.Join(dir, "node_modules")); err != nil {
		t.Fatal(err)
	}
	in, err := json.Marshal(cases)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 2*harness.Patience)
	defer cancel()
	cmd := exec.CommandContext(ctx, "node", name+".mjs")
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "HOME="+dir, "NO_PROXY=127.0.0.1", "no_proxy=127.0.0.1")
	cmd.Stdin = bytes.NewReader(in)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil || stderr.Len() > 0 {
		t.Errorf("node %s.mjs: %v\n%s", name, err, &stderr)
	}
	var all []sight
	dec := json.NewDecoder(bytes.NewReader(out))
	for dec.More() {
		var s sight
		if err := dec.Decode(&s); err != nil {
			t.Fatalf("node %s.mjs printed %v:\n%s", name, err, out)
		}
		all = append(all, s)
	}
	return all
}

var installing sync.Mutex

// nodeModules returns the folder with the clients' packages. They are installed
// from the lock file, once for all runs with the same one.
func nodeModules(t *testing.T) string {
	t.Helper()
	needNode(t)
	installing.Lock()
	defer installing.Unlock()

	cache, err := os.UserCacheDir()
	if err != nil {
		t.Fatalf("finding a place for npm's packages: %v", err)
	}
	cache = filepath.Join(cache, "caddy-chat-clients")
	sum := sha256.New()
	manifest := []string{"package.json", "package-lock.json"}
	for _, name := range manifest {
		data, err := os.ReadFile(filepath.Join(scriptsDir, name))
		if err != nil {
			t.Fatal(err)
		}
		sum.Write(data)
	}
	installed := filepath.Join(cache, hex.EncodeToString(sum.Sum(nil)[:8]))
	modules := filepath.Join(installed, "node_modules")
	if _, err := os.Stat(modules); err == nil {
		return modules
	}

	// install into a temporary folder, so that a failure leaves nothing behind
	// and processes do not interfere
	if err := os.MkdirAll(cache, 0o700); err != nil {
		t.Fatal(err)
	}
	dir, err := os.MkdirTemp(cache, "installing-") //nolint:usetesting // it is renamed, and stays
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(dir)
	for _, name := range manifest {
		data, err := os.ReadFile(filepath.Join(scriptsDir, name))
		if err == nil {
			err = os.WriteFile(filepath.Join(dir, name), data, 0o600)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	cmd := exec.CommandContext(t.Context(), "npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund")
	cmd.Dir = dir
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("npm ci: %v\n%s", err, out)
	}
	if err := os.Rename(dir, installed); err != nil && !errors.Is(err, fs.ErrExist) {
		t.Fatal(err)
	}
	return modules
}

// needNode skips the test if Node.js is not installed, and fails it in CI.
func needNode(t *testing.T) {
	t.Helper()
	for _, name := range []string{"node", "npm"} {
		if _, err := exec.LookPath(name); err == nil {
			continue
		}
		const missing = "no Node.js: install node 18 or newer, and npm (Debian: nodejs npm)"
		if os.Getenv("CI") == "true" {
			t.Fatal(missing)
		}
		t.Skip(missing)
	}
}
