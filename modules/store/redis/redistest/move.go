package redistest

import (
	"context"
	"net"
	"slices"
	"strconv"
)

// Move is a hash slot on its way from one server of a cluster to another.
type Move struct {
	From, To *Server

	c    *Cluster
	slot string
}

// BeginMove begins to move the slot of a key, as redis-cli --cluster reshard does. Until
// Finish both servers may have some of its keys.
func (c *Cluster) BeginMove(key string) *Move {
	c.t.Helper()
	from := c.Of(key)
	i := slices.Index(c.Servers, from)
	m := &Move{From: from, To: c.Servers[(i+1)%masters], c: c, slot: from.Command("CLUSTER", "KEYSLOT", key)}
	m.To.Command("CLUSTER", "SETSLOT", m.slot, "IMPORTING", from.Command("CLUSTER", "MYID"))
	from.Command("CLUSTER", "SETSLOT", m.slot, "MIGRATING", m.To.Command("CLUSTER", "MYID"))
	return m
}

// Finish moves all keys, and then the slot. It fails the test if a key is on both servers.
func (m *Move) Finish() {
	m.c.t.Helper()
	host, port, _ := net.SplitHostPort(m.To.Addr)
	client := m.From.dial()
	defer client.Close()
	keys, err := client.Do(context.Background(), client.B().Arbitrary("CLUSTER", "GETKEYSINSLOT", m.slot, "1000").Build()).AsStrSlice()
	if err != nil {
		m.c.t.Fatal(err)
	}
	args := []string{"MIGRATE", host, port, "", "0", strconv.FormatInt(patience.Milliseconds(), 10), "KEYS"}
	command(m.c.t, client, append(args, keys...)...)
	for _, s := range []*Server{m.To, m.From} {
		s.Command("CLUSTER", "SETSLOT", m.slot, "NODE", m.To.Command("CLUSTER", "MYID"))
	}
}
