// Package redistest starts Redis servers for tests, of Debian's package redis-server.
package redistest

import (
	"context"
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

	t    testing.TB
	args []string
	cmd  *exec.Cmd
}

// Start starts a server that stops with the test. Its data, if args have it keep any,
// outlives a restart.
func Start(t testing.TB, args ...string) *Server {
	t.Helper()
	port := freePort(t)
	s := &Server{Addr: "127.0.0.1:" + port, t: t}
	s.args = append([]string{"--port", port, "--bind", "127.0.0.1", "--save", "", "--dir", t.TempDir()}, args...)
	s.Restart()
	t.Cleanup(s.Kill)
	return s
}

// URL returns the URL for store redis.
func (s *Server) URL() string { return "redis://" + s.Addr }

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
		client, err = rueidis.NewClient(rueidis.ClientOption{InitAddress: []string{s.Addr}, ForceSingleClient: true, DisableCache: true})
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

// StartCluster starts a cluster of three masters and returns its URL for store redis.
func StartCluster(t testing.TB) (url string) {
	t.Helper()
	const slots, size = 16384, 3
	var nodes []rueidis.Client
	var addrs []string
	for i := range size {
		// the port of the bus would be 10,000 higher, which may be too high
		bus := freePort(t)
		server := Start(t, "--cluster-enabled", "yes", "--cluster-port", bus)
		node := server.dial()
		t.Cleanup(node.Close)
		command(t, node, "CLUSTER", "ADDSLOTSRANGE", strconv.Itoa(i*slots/size), strconv.Itoa((i+1)*slots/size-1))
		nodes, addrs = append(nodes, node), append(addrs, server.Addr)
		if i > 0 {
			host, port, _ := net.SplitHostPort(server.Addr)
			command(t, nodes[0], "CLUSTER", "MEET", host, port, bus)
		}
	}
	for _, n := range nodes {
		eventually(t, "the cluster is up", func() bool {
			info := command(t, n, "CLUSTER", "INFO")
			return strings.Contains(info, "cluster_state:ok") && strings.Contains(info, "cluster_known_nodes:3")
		})
	}
	return "redis://" + addrs[0] + "?addr=" + strings.Join(addrs[1:], "&addr=")
}

func command(t testing.TB, c rueidis.Client, words ...string) string {
	t.Helper()
	answer, err := c.Do(context.Background(), c.B().Arbitrary(words...).Build()).ToString()
	if err != nil {
		t.Fatalf("%s: %v", strings.Join(words, " "), err)
	}
	return answer
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
