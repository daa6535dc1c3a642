// Package harness runs the gateway for the integration tests as its users do: a
// Caddy process with all modules, scripted upstreams, and clients that read the
// answers.
package harness

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
)

// Patience is how long a test waits for something that should happen at once.
// No test depends on how long it takes.
const Patience = 60 * time.Second

// Caddy is a running Caddy.
type Caddy struct {
	T     testing.TB
	cmd   *exec.Cmd
	Dir   string // its working directory, with the Caddyfile and its data
	URL   string // of the site on {$PORT}
	Admin string // of the admin API
	Log   *LogBuffer
	Env   []string
	Disk  *Disk // that it can write to besides; may be nil

	Program string               // instead of the tests' own binary
	Config  string               // instead of the Caddyfile in Dir
	Attr    *syscall.SysProcAttr // such as the user that it runs as

	Exit chan struct{} // closed when the process has ended
	Err  error         // how the process ended
}

// LogBuffer keeps what a process prints. It is safe for concurrent use.
type LogBuffer struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (b *LogBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.Write(p)
}

func (b *LogBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.String()
}

// ports counts the ports that FreePort has tried.
var ports atomic.Int64

// FreePort returns a free port of the loopback interface. It is below the
// ephemeral ports, in a range that depends on the process, so that it stays free
// until Caddy listens, whatever else runs.
func FreePort(t testing.TB) int {
	t.Helper()
	const first, ranges, size = 10000, 100, 200
	for range size {
		port := first + os.Getpid()%ranges*size + int(ports.Add(1)%size)
		l, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", port))
		if err != nil {
			continue
		}
		l.Close()
		return port
	}
	t.Fatal("no port is free")
	return 0
}

// globalOptions begins every Caddyfile of the tests. %[1]s is the admin address,
// %[2]s more options.
const globalOptions = `{
	admin %s
	auto_https off
	skip_install_trust
	%s
}
`

// Start runs Caddy with one site on a free port. options goes into the global
// options, site into the site block; env sets variables such as {$UPSTREAM}, as
// NAME=value. The process stops when the test ends, and the test fails if it
// does not end cleanly or reports a data race.
func Start(t testing.TB, options, site string, env ...string) *Caddy {
	t.Helper()
	return startIn(t, t.TempDir(), nil, options, site, env...)
}

// StartOn is Start with a disk, whose directory is {$DISK}.
func StartOn(t testing.TB, disk *Disk, options, site string) *Caddy {
	t.Helper()
	return startIn(t, t.TempDir(), disk, options, site, "DISK="+disk.Dir)
}

// startIn is Start in a given directory.
func startIn(t testing.TB, dir string, disk *Disk, options, site string, env ...string) *Caddy {
	t.Helper()
	port, adminPort := FreePort(t), FreePort(t)
	c := &Caddy{
		T:     t,
		Dir:   dir,
		URL:   fmt.Sprintf("http://127.0.0.1:%d", port),
		Admin: fmt.Sprintf("http://127.0.0.1:%d", adminPort),
		Env:   env,
		Disk:  disk,
	}
	c.WriteConfig(options, site)
	c.Run()
	return c
}

// WriteConfig writes the Caddyfile. It takes effect at the next Reload.
func (c *Caddy) WriteConfig(options, site string) {
	c.T.Helper()
	config := fmt.Sprintf(globalOptions, strings.TrimPrefix(c.Admin, "http://"), options) +
		fmt.Sprintf("%s {\n%s\n}\n", c.URL, site)
	if err := os.WriteFile(filepath.Join(c.Dir, "Caddyfile"), []byte(config), 0o600); err != nil {
		c.T.Fatal(err)
	}
}

// Command returns a caddy command in the process's directory and environment.
func (c *Caddy) Command(ctx context.Context, args ...string) *exec.Cmd {
	c.T.Helper()
	line := append([]string{cmp.Or(c.Program, Binary(c.T))}, args...)
	if c.Disk != nil {
		line = append(c.Disk.enter(c.Dir), line...)
	}
	cmd := exec.CommandContext(ctx, line[0], line[1:]...)
	cmd.Dir, cmd.SysProcAttr = c.Dir, c.Attr
	cmd.Env = append(os.Environ(), "HOME="+c.Dir, "XDG_DATA_HOME="+c.Dir, "XDG_CONFIG_HOME="+c.Dir, "GORACE=exitcode=66")
	cmd.Env = append(cmd.Env, c.Env...)
	return cmd
}

func (c *Caddy) config() string { return cmp.Or(c.Config, "Caddyfile") }

func (c *Caddy) Run() {
	c.T.Helper()
	c.Log = new(LogBuffer)
	c.Exit = make(chan struct{})
	c.cmd = c.Command(context.Background(), "run", "--config", c.config())
	c.cmd.Stdout, c.cmd.Stderr = c.Log, c.Log
	if err := c.cmd.Start(); err != nil {
		c.T.Fatal(err)
	}
	go func() {
		c.Err = c.cmd.Wait()
		close(c.Exit)
	}()
	c.T.Cleanup(c.Stop)
	c.waitUntilServing()
}

func (c *Caddy) waitUntilServing() {
	c.T.Helper()
	Eventually(c.T, "Caddy serves", func() bool {
		select {
		case <-c.Exit:
			c.T.Fatalf("Caddy exited: %v\n%s", c.Err, c.Log)
		default:
		}
		resp, err := http.Get(c.Admin + "/config/")
		if err != nil {
			return false
		}
		resp.Body.Close()
		return resp.StatusCode == http.StatusOK
	})
}

// Signal sends a signal to the process.
func (c *Caddy) Signal(sig syscall.Signal) {
	c.T.Helper()
	if err := c.cmd.Process.Signal(sig); err != nil && !errors.Is(err, os.ErrProcessDone) {
		c.T.Fatal(err)
	}
}

// Kill ends the process with SIGKILL and waits until it is gone.
func (c *Caddy) Kill() {
	c.T.Helper()
	c.Signal(syscall.SIGKILL)
	<-c.Exit
}

// Stop ends the process gracefully. It may be called twice.
func (c *Caddy) Stop() {
	c.T.Helper()
	select {
	case <-c.Exit:
	default:
		c.Signal(syscall.SIGTERM)
		select {
		case <-c.Exit:
		case <-time.After(Patience):
			c.Signal(syscall.SIGABRT) // prints all goroutines; Caddy catches SIGQUIT
			<-c.Exit
			c.T.Errorf("Caddy did not exit:\n%s", c.Log)
		}
	}
	if strings.Contains(c.Log.String(), "DATA RACE") {
		c.T.Errorf("data race in Caddy:\n%s", c.Log)
	}
	if c.T.Failed() {
		c.T.Logf("Caddy's log:\n%s", c.Log)
	}
}

// Restart runs the process again, after Stop or Kill.
func (c *Caddy) Restart() {
	c.T.Helper()
	Transport.CloseIdleConnections() // those to the old process
	c.Run()
}

// Reload loads the current Caddyfile.
func (c *Caddy) Reload() {
	c.T.Helper()
	ctx, cancel := context.WithTimeout(c.T.Context(), Patience)
	defer cancel()
	out, err := c.Command(ctx, "reload", "--config", c.config(), "--force", "--address", strings.TrimPrefix(c.Admin, "http://")).CombinedOutput()
	if err != nil {
		c.T.Fatalf("reload: %v\n%s", err, out)
	}
	// The old servers close idle connections, perhaps just as the client reuses
	// one for a POST, which it does not retry.
	Transport.CloseIdleConnections()
}

// RunCaddy runs one caddy command and returns what it printed.
func RunCaddy(t testing.TB, dir string, args ...string) (string, error) {
	t.Helper()
	c := &Caddy{T: t, Dir: dir}
	ctx, cancel := context.WithTimeout(t.Context(), Patience)
	defer cancel()
	out, err := c.Command(ctx, args...).CombinedOutput()
	return string(out), err
}

// Eventually polls ok until it is true.
func Eventually(t testing.TB, what string, ok func() bool) {
	t.Helper()
	deadline := time.Now().Add(Patience)
	for !ok() {
		if time.Now().After(deadline) {
			t.Fatalf("still waiting: %s", what)
		}
		pause := time.NewTimer(10 * time.Millisecond)
		<-pause.C
	}
}

// ReadAll reads and closes a body.
func ReadAll(t testing.TB, resp *http.Response) string {
	t.Helper()
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// Complaint returns the error in the last line of a caddy command's output.
func Complaint(out string) string {
	lines := strings.Split(strings.TrimSpace(out), "\n")
	last := lines[len(lines)-1]
	var entry struct {
		Msg string `json:"msg"`
	}
	if json.Unmarshal([]byte(last), &entry) == nil {
		return entry.Msg
	}
	return last
}
