package redis

import (
	"context"
	"net"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/redis/rueidis"
)

// patience is how long a test waits for a server.
const patience = time.Minute

// startServer starts a Redis server for a test and returns its URL.
func startServer(t testing.TB) string { return "redis://" + startNode(t, freePort(t)) }

func startNode(t testing.TB, port string, args ...string) (addr string) {
	t.Helper()
	args = append([]string{"--port", port, "--bind", "127.0.0.1", "--save", "", "--dir", t.TempDir()}, args...)
	cmd := exec.Command("redis-server", args...)
	if err := cmd.Start(); err != nil {
		t.Fatalf("starting redis-server, of Debian's package of that name: %v", err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
	addr = "127.0.0.1:" + port
	eventually(t, "redis-server listens", func() bool {
		conn, err := net.Dial("tcp", addr)
		if err == nil {
			conn.Close()
		}
		return err == nil
	})
	return addr
}

// startCluster starts a cluster of three masters and returns its URL.
func startCluster(t testing.TB) string {
	t.Helper()
	const slots, size = 16384, 3
	var nodes []rueidis.Client
	var addrs []string
	for i := range size {
		// the port of the bus would be 10,000 higher, which may be too high
		bus := freePort(t)
		addr := startNode(t, freePort(t), "--cluster-enabled", "yes", "--cluster-port", bus)
		node, err := rueidis.NewClient(rueidis.ClientOption{InitAddress: []string{addr}, ForceSingleClient: true, DisableCache: true})
		if err != nil {
			t.Fatal(err)
		}
		defer node.Close()
		command(t, node, "CLUSTER", "ADDSLOTSRANGE", number(i*slots/size), number((i+1)*slots/size-1))
		nodes, addrs = append(nodes, node), append(addrs, addr)
		if i > 0 {
			host, port, _ := net.SplitHostPort(addr)
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
	l, err := net.Listen("tcp", "127.0.0.1:0")
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
