package redistest

import (
	"context"
	"net"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// Cluster is a cluster of three masters.
type Cluster struct {
	Servers []*Server

	t testing.TB
}

const masters, slots = 3, 16384

// StartCluster starts a cluster of three masters without replicas.
func StartCluster(t testing.TB) *Cluster {
	t.Helper()
	return startCluster(t, masters, Start)
}

// StartClusterTLS starts a cluster of three masters that speak nothing but TLS, each at an
// address of its own with a certificate for that.
func StartClusterTLS(t testing.TB, c *Certificates) *Cluster {
	t.Helper()
	n := 0
	return startCluster(t, masters, func(t testing.TB, args ...string) *Server {
		t.Helper()
		n++
		host := "127.0.0." + strconv.Itoa(n)
		return startNodeTLS(t, c.For(t, host), host, args...)
	})
}

// StartNamedTLS is StartClusterTLS with certificates for a name of 127.0.0.1, which the
// servers announce.
func StartNamedTLS(t testing.TB, c *Certificates, name string) *Cluster {
	t.Helper()
	return startCluster(t, masters, func(t testing.TB, args ...string) *Server {
		t.Helper()
		names := []string{"--cluster-announce-hostname", name, "--cluster-preferred-endpoint-type", "hostname"}
		return startNodeTLS(t, c.For(t, name), "127.0.0.1", append(names, args...)...)
	})
}

func startNodeTLS(t testing.TB, own *Certificates, host string, args ...string) *Server {
	t.Helper()
	port := freePort(t)
	// TLS connections have any address of the machine, from which others would learn a wrong one
	args = append([]string{"--tls-cluster", "yes", "--bind", host, "--cluster-announce-ip", host}, args...)
	return start(t, &Server{Addr: net.JoinHostPort(host, port), tls: own}, append(own.args(port), args...))
}

// StartReplicated starts a cluster of three masters with a replica each, which
// replaces it within some seconds.
func StartReplicated(t testing.TB) *Cluster {
	t.Helper()
	c := startCluster(t, 2*masters, Start)
	for i, replica := range c.Servers[masters:] {
		master := c.Servers[i].Command("CLUSTER", "MYID")
		eventually(t, "the replica knows its master", func() bool { return strings.Contains(replica.Command("CLUSTER", "NODES"), master) })
		replica.Command("CLUSTER", "REPLICATE", master)
	}
	for _, s := range c.Servers[masters:] {
		eventually(t, "the replica follows its master", func() bool {
			return strings.Contains(s.Command("INFO", "replication"), "master_link_status:up")
		})
	}
	for _, s := range c.Servers {
		eventually(t, "the servers know the replicas", func() bool { return strings.Count(s.Command("CLUSTER", "NODES"), "slave") == masters })
	}
	return c
}

func startCluster(t testing.TB, size int, start func(testing.TB, ...string) *Server) *Cluster {
	t.Helper()
	c := &Cluster{t: t}
	for i := range size {
		// the port of the bus would be 10,000 higher, which may be too high
		bus := freePort(t)
		s := start(t, "--cluster-enabled", "yes", "--cluster-port", bus, "--cluster-node-timeout", "3000",
			"--cluster-require-full-coverage", "no", "--repl-diskless-sync-delay", "0", "--cluster-replica-validity-factor", "0")
		c.Servers = append(c.Servers, s)
		if i < masters {
			s.Command("CLUSTER", "ADDSLOTSRANGE", strconv.Itoa(i*slots/masters), strconv.Itoa((i+1)*slots/masters-1))
		}
		if i > 0 {
			host, port, _ := net.SplitHostPort(s.Addr)
			c.Servers[0].Command("CLUSTER", "MEET", host, port, bus)
		}
	}
	for _, s := range c.Servers {
		eventually(t, "the cluster is up", func() bool {
			info := s.Command("CLUSTER", "INFO")
			return strings.Contains(info, "cluster_state:ok") && strings.Contains(info, "cluster_slots_assigned:"+strconv.Itoa(slots)) &&
				strings.Contains(info, "cluster_known_nodes:"+strconv.Itoa(size))
		})
	}
	return c
}

// URL returns the URL for store redis.
func (c *Cluster) URL() string {
	var addrs []string
	for _, s := range c.Servers[:masters] {
		addrs = append(addrs, s.Addr)
	}
	return c.Servers[0].scheme() + "://" + addrs[0] + "?addr=" + strings.Join(addrs[1:], "&addr=")
}

// Of returns the server that was the master of a key when the cluster started.
func (c *Cluster) Of(key string) *Server {
	c.t.Helper()
	client := c.Servers[0].dial()
	defer client.Close()
	slot, err := client.Do(context.Background(), client.B().ClusterKeyslot().Key(key).Build()).AsInt64()
	if err != nil {
		c.t.Fatal(err)
	}
	return c.Servers[(slot*masters+masters-1)/slots]
}

// ReplicaOf returns the replica of a master.
func (c *Cluster) ReplicaOf(master *Server) *Server {
	return c.Servers[masters+slices.Index(c.Servers, master)]
}
