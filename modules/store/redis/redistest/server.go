// Package redistest starts Redis servers for tests, of Debian's package redis-server.
package redistest

import (
	"context"
	"fmt"
	"net"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/redis/rueidis"
)

// patience is how long a test waits for a server.
const patience = time.Minute

// Server is a running server.
type Server struct {
	Addr string

	t        testing.TB
	args     []string
	cmd      *exec.Cmd
	tls      *Certificates // nil without TLS
	password string
	sentinel bool
}

// Start starts a server that stops with the test. Its data, if args have it keep any,
// outlives a restart.
func Start(t testing.TB, args ...string) *Server {
	t.Helper()
	port := freePort(t)
	return start(t, &Server{Addr: "127.0.0.1:" + port}, append([]string{"--port", port}, args...))
}

func start(t testing.TB, s *Server, args []string) *Server {
	t.Helper()
	s.t, s.args = t, args
	if !s.sentinel {
		s.args = append([]string{"--bind", "127.0.0.1", "--save", "", "--dir", t.TempDir()}, args...)
	}
	s.Restart()
	t.Cleanup(s.Kill)
	return s
}

// URL returns the URL for store redis.
func (s *Server) URL() string { return s.scheme() + "://" + s.Addr }

func (s *Server) scheme() string {
	if s.tls != nil {
		return "rediss"
	}
	return "redis"
}

// Restart starts the server again after Kill.
func (s *Server) Restart() {
	s.t.Helper()
	s.cmd = exec.CommandContext(context.Background(), "redis-server", s.args...) //nolint:gosec // the test's own arguments
	if err := s.cmd.Start(); err != nil {
		s.t.Fatalf("starting redis-server, of Debian's package of that name: %v", err)
	}
	client := s.dial()
	defer client.Close()
	eventually(s.t, "redis-server has loaded its data", func() bool {
		return client.Do(context.Background(), client.B().Ping().Build()).Error() == nil
	})
}

func (s *Server) dial() rueidis.Client {
	s.t.Helper()
	var client rueidis.Client
	eventually(s.t, "redis-server listens", func() (up bool) {
		var err error
		client, err = rueidis.NewClient(rueidis.ClientOption{
			InitAddress: []string{s.Addr}, ForceSingleClient: true, DisableCache: true, TLSConfig: s.tls.client(s.t), Password: s.password,
		})
		return err == nil
	})
	return client
}

// Kill ends the server at once.
func (s *Server) Kill() {
	_ = s.cmd.Process.Kill()
	_ = s.cmd.Wait()
}

// Command runs a command on the server.
func (s *Server) Command(words ...string) string {
	s.t.Helper()
	client := s.dial()
	defer client.Close()
	return command(s.t, client, words...)
}

// WaitForReplica waits until a replica has all that was written so far.
func (s *Server) WaitForReplica() {
	s.t.Helper()
	client := s.dial()
	defer client.Close()
	// WAIT is about what was written before its connection's last command
	wait := client.B().Wait().Numreplicas(1).Timeout(patience.Milliseconds()).Build()
	if err := client.Do(context.Background(), client.B().Ping().Build()).Error(); err != nil {
		s.t.Fatal(err)
	}
	if n, err := client.Do(context.Background(), wait).AsInt64(); err != nil || n < 1 {
		s.t.Fatalf("%d replicas have what was written: %v", n, err)
	}
}

// Calls returns how often a command was called.
func (s *Server) Calls(name string) (n int) {
	s.t.Helper()
	for line := range strings.Lines(s.Command("INFO", "commandstats")) {
		if rest, ok := strings.CutPrefix(line, "cmdstat_"+name+":calls="); ok {
			calls, _, _ := strings.Cut(rest, ",")
			n, _ = strconv.Atoi(calls)
		}
	}
	return n
}

// Freeze has the server answer nothing until Thaw.
func (s *Server) Freeze() { s.signal(syscall.SIGSTOP) }

// Thaw has the server go on.
func (s *Server) Thaw() { s.signal(syscall.SIGCONT) }

func (s *Server) signal(sig syscall.Signal) {
	s.t.Helper()
	if err := s.cmd.Process.Signal(sig); err != nil {
		s.t.Fatal(err)
	}
}

func command(t testing.TB, c rueidis.Client, words ...string) string {
	t.Helper()
	answer, err := c.Do(context.Background(), c.B().Arbitrary(words...).Build()).ToAny()
	if err != nil {
		t.Fatalf("%s: %v", strings.Join(words, " "), err)
	}
	return fmt.Sprint(answer)
}

func freePort(t testing.TB) string {
	t.Helper()
	l, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	_, port, _ := net.SplitHostPort(l.Addr().String())
	return port
}

func eventually(t testing.TB, what string, is func() bool) {
	t.Helper()
	for end := time.Now().Add(patience); !is(); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("still waiting: %s", what)
		}
	}
}
