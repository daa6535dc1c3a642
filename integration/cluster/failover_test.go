package cluster

import (
	"fmt"
	"net/http"
	"sync"
	"testing"
	"time"

	"github.com/caddy-chat/caddy-chat/integration/harness"
	"github.com/caddy-chat/caddy-chat/modules/store/redis/redistest"
)

// many are tenants whose data is on several servers of a cluster.
var many = []string{"t0", "t1", "t2", "t3", "t4", "t5", "t6", "t7"}

// manyOptions are the global options of a node with many tenants, and as many that
// have limits.
func manyOptions(url, limits string) string {
	tenants := ""
	for _, name := range many {
		tenants += "tenant " + name + "\ntenant limited-" + name + " {\n" + limits + "\n}\n"
	}
	return "grace_period 2s\nchat {\nstore redis " + url + "\n" + tenants + "}"
}

// with returns a tenant of many, with this in front of its name, whose data is on a
// server, or is not.
func with(t *testing.T, c *redistest.Cluster, s *redistest.Server, on bool, prefix string) string {
	t.Helper()
	for _, name := range many {
		if (c.Of(keyOf(prefix+name)) == s) == on {
			return prefix + name
		}
	}
	t.Fatal("all tenants are on other servers")
	return ""
}

// keyOf returns what all keys of a tenant begin with.
func keyOf(tenant string) string { return "chat:{" + tenant + "}:" }

// health returns what a node says of itself.
func health(c *harness.Client) string {
	c.T.Helper()
	var h struct{ Data struct{ Status string } }
	c.Call(http.MethodGet, "/v1/health", nil, &h)
	return h.Data.Status
}

// TestHealthOfOneServer has one server of a cluster not answer, while others do.
func TestHealthOfOneServer(t *testing.T) {
	t.Parallel()
	servers := redistest.StartCluster(t)
	server := servers.Servers[0]
	one, other := with(t, servers, server, true, ""), with(t, servers, server, false, "")
	up := harness.NewUpstream(t)
	node := startWith(t, manyOptions(servers.URL(), ""), 1, up.Sessions(""))[0]
	ann, bob := harness.NewClient(node, one, "ann"), harness.NewClient(node, other, "bob")
	for _, c := range []*harness.Client{ann, bob} {
		if got := c.List("").Data.Sessions; len(got) != 0 || health(c) != "ok" {
			t.Errorf("%s: %v, health %q", c.Tenant, got, health(c))
		}
	}
	server.Freeze()
	harness.WantFailure(t, ann.Do(http.MethodGet, "/chat", nil), http.StatusServiceUnavailable, "storage_unavailable")
	bob.List("")
	if got := health(bob); got != "degraded" {
		t.Errorf("health is %q while a server does not answer", got)
	}
	server.Thaw()
	harness.Eventually(t, "the node is well", func() bool { return health(bob) == "ok" })
}

// TestFailover kills a master under load, which its replica replaces.
func TestFailover(t *testing.T) {
	t.Parallel()
	const streams, limit, length = 20, 30, 2 * time.Second
	servers := redistest.StartReplicated(t)
	master, replica := servers.Servers[0], servers.ReplicaOf(servers.Servers[0])
	one, other := with(t, servers, master, true, ""), with(t, servers, master, false, "")
	limited := with(t, servers, master, true, "limited-")
	up := harness.NewUpstream(t)
	nodes := startWith(t, manyOptions(servers.URL(), fmt.Sprintf("requests %d %s", limit, length)), 3, up.Chain("")+"respond ok")
	all, others := clients(nodes, one, "ann"), clients(nodes, other, "ann")

	type turn struct {
		session string
		call    *harness.HeldCall
		events  *harness.Events
	}
	var turns []turn
	for i := range streams {
		session := harness.NewSession()
		a := all[i%3].Ask(session, "hello")
		call := up.Call()
		call.Say("one ")
		e := a.Events()
		e.Text("one ")
		turns = append(turns, turn{session, call, e})
	}
	load := startLoad(t, clients(nodes, limited, "ann"), &windowLog{limit: limit, length: length})
	load.passes(t, 2*limit)
	master.WaitForReplica()
	replica.Freeze() // it replaces its master when the test has seen what happens until then
	master.Kill()
	killed := time.Now().UnixMilli()

	for i, c := range all {
		harness.WantFailure(t, c.Do(http.MethodGet, "/chat", nil), http.StatusServiceUnavailable, "storage_unavailable")
		others[i].List("")
		if got := health(others[i]); got != "degraded" {
			t.Errorf("health of node %d is %q without a master", i, got)
		}
	}
	for i, turn := range turns {
		turn.call.Say("two ")
		turn.events.Text("two ")
		others[i%3].List("") // those of other servers notice nothing
		if i%2 == 0 {
			turn.call.Finish("stop")
			if end := turn.events.Rest(); end.Failed != nil || end.Done == nil || end.Done.FinishReason != "stop" {
				t.Errorf("turn %d ends with %+v", i, end)
			}
		}
	}
	replica.Thaw()
	load.passes(t, 2*limit)
	load.stop()
	for _, c := range others {
		harness.Eventually(t, "the node is well", func() bool { return health(c) == "ok" })
	}
	for i, turn := range turns {
		text := "one two "
		if i%2 == 1 {
			turn.call.Say("three")
			turn.call.Finish("stop")
			text += "three"
			if end := turn.events.Rest(); end.Text != "three" || end.Failed != nil || end.Done == nil {
				t.Errorf("turn %d ends with %+v", i, end)
			}
		}
		all[(i+1)%3].WantLast(turn.session, text, "complete")
	}
	load.check(t, killed)
}

// load asks all nodes without pause.
type load struct {
	*windowLog
	stopped chan struct{}
	asking  sync.WaitGroup
}

func startLoad(t *testing.T, list []*harness.Client, log *windowLog) *load {
	t.Helper()
	l := &load{windowLog: log, stopped: make(chan struct{})}
	for _, c := range list {
		l.asking.Go(func() {
			for l.runs() {
				l.ask(t, c, http.StatusServiceUnavailable)
			}
		})
	}
	t.Cleanup(l.stop)
	return l
}

func (l *load) runs() bool {
	select {
	case <-l.stopped:
		return false
	default:
		return true
	}
}

func (l *load) stop() {
	if l.runs() {
		close(l.stopped)
	}
	l.asking.Wait()
}

// passes waits until so many more requests have passed.
func (l *load) passes(t *testing.T, n int) {
	t.Helper()
	passed := func() int {
		l.mu.Lock()
		defer l.mu.Unlock()
		return len(l.granted)
	}
	n += passed()
	harness.Eventually(t, fmt.Sprint(n, " requests have passed"), func() bool { return passed() >= n })
}

// check checks that each server let through no more than the window's limit: both
// together at most twice as many, once.
func (l *load) check(t *testing.T, killed int64) {
	t.Helper()
	var before, after []int64
	for _, at := range l.granted {
		if at <= killed {
			before = append(before, at)
		} else {
			after = append(after, at)
		}
	}
	l.checkGranted(t, before)
	l.checkGranted(t, after)
	t.Logf("%d requests passed before and %d after the failover", len(before), len(after))
}
