package integration

import (
	"bytes"
	"context"
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

// patience is how long a test waits for something that should happen at
// once. No test passes or fails by how long it takes.
const patience = 60 * time.Second

// caddyProcess is a running Caddy.
type caddyProcess struct {
	t     testing.TB
	cmd   *exec.Cmd
	dir   string // its working directory, with the Caddyfile and its data
	url   string // of the site on {$PORT}
	admin string // of the admin API
	log   *logBuffer
	env   []string
	exit  chan struct{} // closed when it has ended
	err   error         // how it ended
}

// logBuffer keeps what a process prints. It is safe for concurrent use.
type logBuffer struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (b *logBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.Write(p)
}

func (b *logBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.String()
}

// ports counts the ports that freePort has tried.
var ports atomic.Int64

// freePort returns a free port of the loopback interface. It lies below those
// that the system hands out, and in a range that depends on the process: it
// stays free until Caddy listens, whatever runs beside this test.
func freePort(t testing.TB) int {
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

// globalOptions is what every Caddyfile of the tests begins with. %[1]s is
// the admin address, %[2]s more options.
const globalOptions = `{
	admin %s
	auto_https off
	skip_install_trust
	%s
}
`

// startCaddy runs Caddy with a site of its own port. options goes into the
// global options, site into a site block; {$UPSTREAM} and the like may be
// set by env, as NAME=value. The process is stopped when the test ends, and
// the test fails if it did not end cleanly or reported a data race.
func startCaddy(t testing.TB, options, site string, env ...string) *caddyProcess {
	t.Helper()
	return startIn(t, t.TempDir(), options, site, env...)
}

// startIn is startCaddy in a directory, which keeps the data of a process
// for the next one.
func startIn(t testing.TB, dir, options, site string, env ...string) *caddyProcess {
	t.Helper()
	port, adminPort := freePort(t), freePort(t)
	c := &caddyProcess{
		t:     t,
		dir:   dir,
		url:   fmt.Sprintf("http://127.0.0.1:%d", port),
		admin: fmt.Sprintf("http://127.0.0.1:%d", adminPort),
		env:   env,
	}
	c.writeConfig(options, site)
	c.run()
	return c
}

// writeConfig writes the Caddyfile; reload makes it count.
func (c *caddyProcess) writeConfig(options, site string) {
	c.t.Helper()
	config := fmt.Sprintf(globalOptions, strings.TrimPrefix(c.admin, "http://"), options) +
		fmt.Sprintf("%s {\n%s\n}\n", c.url, site)
	if err := os.WriteFile(filepath.Join(c.dir, "Caddyfile"), []byte(config), 0o600); err != nil {
		c.t.Fatal(err)
	}
}

// command is a caddy command in the process's directory and environment.
func (c *caddyProcess) command(ctx context.Context, args ...string) *exec.Cmd {
	c.t.Helper()
	file, err := binary()
	if err != nil {
		c.t.Fatal(err)
	}
	cmd := exec.CommandContext(ctx, file, args...)
	cmd.Dir = c.dir
	cmd.Env = append(os.Environ(), "HOME="+c.dir, "XDG_DATA_HOME="+c.dir, "XDG_CONFIG_HOME="+c.dir, "GORACE=exitcode=66")
	cmd.Env = append(cmd.Env, c.env...)
	return cmd
}

func (c *caddyProcess) run() {
	c.t.Helper()
	c.log = new(logBuffer)
	c.exit = make(chan struct{})
	c.cmd = c.command(context.Background(), "run", "--config", "Caddyfile")
	c.cmd.Stdout, c.cmd.Stderr = c.log, c.log
	if err := c.cmd.Start(); err != nil {
		c.t.Fatal(err)
	}
	go func() {
		c.err = c.cmd.Wait()
		close(c.exit)
	}()
	c.t.Cleanup(c.stop)
	c.waitUntilServing()
}

func (c *caddyProcess) waitUntilServing() {
	c.t.Helper()
	eventually(c.t, "Caddy serves", func() bool {
		select {
		case <-c.exit:
			c.t.Fatalf("Caddy ended: %v\n%s", c.err, c.log)
		default:
		}
		resp, err := http.Get(c.admin + "/config/")
		if err != nil {
			return false
		}
		resp.Body.Close()
		return resp.StatusCode == http.StatusOK
	})
}

// signal sends a signal to the process.
func (c *caddyProcess) signal(sig syscall.Signal) {
	c.t.Helper()
	if err := c.cmd.Process.Signal(sig); err != nil && !errors.Is(err, os.ErrProcessDone) {
		c.t.Fatal(err)
	}
}

// kill ends the process as a power cut would, and waits until it is gone.
func (c *caddyProcess) kill() {
	c.t.Helper()
	c.signal(syscall.SIGKILL)
	<-c.exit
}

// stop ends the process gracefully. It may be called twice.
func (c *caddyProcess) stop() {
	c.t.Helper()
	select {
	case <-c.exit:
	default:
		c.signal(syscall.SIGTERM)
		select {
		case <-c.exit:
		case <-time.After(patience):
			c.signal(syscall.SIGQUIT) // prints all goroutines
			<-c.exit
			c.t.Errorf("Caddy did not end:\n%s", c.log)
		}
	}
	if strings.Contains(c.log.String(), "DATA RACE") {
		c.t.Errorf("data race in Caddy:\n%s", c.log)
	}
	if c.t.Failed() {
		c.t.Logf("Caddy's log:\n%s", c.log)
	}
}

// restart runs the process anew, after stop or kill.
func (c *caddyProcess) restart() {
	c.t.Helper()
	c.run()
}

// reload loads the Caddyfile as it is now.
func (c *caddyProcess) reload() {
	c.t.Helper()
	ctx, cancel := context.WithTimeout(c.t.Context(), patience)
	defer cancel()
	out, err := c.command(ctx, "reload", "--config", "Caddyfile", "--force", "--address", strings.TrimPrefix(c.admin, "http://")).CombinedOutput()
	if err != nil {
		c.t.Fatalf("reload: %v\n%s", err, out)
	}
	// The old servers close theirs, perhaps just as one is used again for a
	// POST, which is not repeated.
	transport.CloseIdleConnections()
}

// caddy runs one caddy command and returns what it printed.
func caddy(t testing.TB, dir string, args ...string) (string, error) {
	t.Helper()
	c := &caddyProcess{t: t, dir: dir}
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	out, err := c.command(ctx, args...).CombinedOutput()
	return string(out), err
}

// eventually waits until ok, which is asked again and again.
func eventually(t testing.TB, what string, ok func() bool) {
	t.Helper()
	deadline := time.Now().Add(patience)
	for !ok() {
		if time.Now().After(deadline) {
			t.Fatalf("it did not come to pass: %s", what)
		}
		pause := time.NewTimer(10 * time.Millisecond)
		<-pause.C
	}
}

// readAll reads and closes a body.
func readAll(t testing.TB, resp *http.Response) string {
	t.Helper()
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}
