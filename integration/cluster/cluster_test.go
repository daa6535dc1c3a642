// Package cluster tests several Caddy processes that share a Redis.
package cluster

import (
	"fmt"
	"net/http"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/caddy-chat/caddy-chat/integration/harness"
	"github.com/caddy-chat/caddy-chat/modules/store/redis/redistest"
)

// servers are what the nodes of a test share: one server, or a cluster.
var servers = map[string]func(testing.TB) (url string){
	"standalone": func(t testing.TB) string { return redistest.Start(t).URL() },
	"cluster":    func(t testing.TB) string { return redistest.StartCluster(t).URL() },
}

// options are the global options of a node.
func options(url string) string {
	return fmt.Sprintf(`
	grace_period 2s
	chat {
		store redis %s
		tenant acme
		tenant globex {
			budget 1000 tokens/day
		}
		tenant initech {
			budget 1000000 tokens/day
		}
	}
`, url)
}

// start starts nodes with one site.
func start(t testing.TB, url string, n int, site string) []*harness.Caddy {
	t.Helper()
	return startWith(t, options(url), n, site)
}

// startWith is start with other global options.
func startWith(t testing.TB, options string, n int, site string) []*harness.Caddy {
	t.Helper()
	nodes := make([]*harness.Caddy, n)
	var starting sync.WaitGroup
	for i := range nodes {
		starting.Go(func() { nodes[i] = harness.Start(t, options, site) })
	}
	starting.Wait()
	if t.Failed() {
		t.FailNow()
	}
	return nodes
}

// clients returns a client of each node, all of one user.
func clients(nodes []*harness.Caddy, tenant, user string) []*harness.Client {
	list := make([]*harness.Client, len(nodes))
	for i, n := range nodes {
		list[i] = harness.NewClient(n, tenant, user)
	}
	return list
}

// onEach runs the subtest against each kind of server.
func onEach(t *testing.T, run func(t *testing.T, url string)) {
	t.Parallel()
	for name, start := range servers {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			run(t, start(t))
		})
	}
}

// TestWindows has three nodes asked for three times as many requests as a window
// admits, all at once.
func TestWindows(t *testing.T) {
	onEach(t, func(t *testing.T, url string) {
		const limit = 40
		nodes := start(t, url, 3, harness.LimitedSite(fmt.Sprintf("requests %d 1h", limit)))
		all := clients(nodes, "acme", "ann")
		var passed, refused atomic.Int64
		var asking sync.WaitGroup
		for i := range 3 * limit {
			asking.Go(func() {
				switch resp := all[i%3].Get(); resp.StatusCode {
				case http.StatusOK:
					passed.Add(1)
				case http.StatusTooManyRequests:
					refused.Add(1)
				default:
					t.Errorf("status %d", resp.StatusCode)
				}
			})
		}
		asking.Wait()
		if passed.Load() != limit || refused.Load() != 2*limit {
			t.Errorf("%d passed and %d were refused, want %d and %d", passed.Load(), refused.Load(), limit, 2*limit)
		}
	})
}

// TestBudget has three nodes spend one budget, which has room for some of the answers.
func TestBudget(t *testing.T) {
	onEach(t, func(t *testing.T, url string) {
		up := harness.NewUpstream(t, harness.Says(5, 60, "Hello"))
		nodes := start(t, url, 3, "tenant_resolve\n"+up.Gateway())
		all := clients(nodes, "globex", "ann")
		var spent atomic.Int64
		var asking sync.WaitGroup
		for i := range 60 {
			asking.Go(func() {
				body := `{"model":"fast","max_tokens":60,"messages":[{"role":"user","content":"hi"}]}`
				switch a := all[i%3].Complete(body); {
				case a.Status == http.StatusOK:
					spent.Add(a.Usage.Get("total_tokens").Int())
				case a.Code != "budget_exceeded":
					t.Errorf("%d %s", a.Status, a.Code)
				}
			})
		}
		asking.Wait()
		if n := spent.Load(); n > 1000 || n < 900 {
			t.Errorf("%d tokens were spent, want nearly 1000 and no more", n)
		}
	})
}

// TestSession has a conversation over three nodes.
func TestSession(t *testing.T) {
	onEach(t, func(t *testing.T, url string) {
		up := harness.NewUpstream(t, harness.Echoes)
		all := clients(start(t, url, 3, up.Chain("")), "acme", "ann")
		session := harness.NewSession()
		for i, question := range []string{"one", "two", "three"} {
			if a := all[i].Say(session, question); a.Text != "re: "+question || a.Done == nil {
				t.Errorf("%+v", a)
			}
		}
		want := "[user: one assistant: re: one user: two assistant: re: two user: three assistant: re: three]"
		for _, c := range all {
			if got := fmt.Sprint(harness.Contents(c.History(session))); got != want {
				t.Errorf("the history is %s", got)
			}
		}
		if resp := all[1].Do(http.MethodDelete, "/chat/"+session, nil); resp.StatusCode != http.StatusOK {
			t.Errorf("deleting answers %d", resp.StatusCode)
		}
		harness.WantFailure(t, all[2].Do(http.MethodGet, "/chat/"+session+"/history", nil), http.StatusNotFound, "session_not_found")
	})
}

// TestFollow has a turn of one node followed and cancelled on others.
func TestFollow(t *testing.T) {
	onEach(t, func(t *testing.T, url string) {
		up := harness.NewUpstream(t)
		all := clients(start(t, url, 3, up.Chain("")), "acme", "ann")
		session := harness.NewSession()
		a := all[0].Ask(session, "hello")
		call := up.Call()
		call.Say("part one")
		own := a.Events()
		first := own.Text("part one")[0]

		b, c := all[1].Follow(session, "").Events(), all[2].Follow(session, first.ID).Events()
		b.Text("part one")
		harness.WantFailure(t, all[1].Do(http.MethodPost, "/chat", harness.ChatRequest{SessionID: session, Message: "again"}), http.StatusConflict, "session_busy")
		call.Say(" and two")
		b.Text(" and two")
		c.Text(" and two")
		a.GoAway()
		call.Say(" and three")
		call.Finish("stop")
		for name, e := range map[string]*harness.Events{"b": b, "c": c} {
			if end := e.Rest(); end.Text != " and three" || end.Done == nil || end.Done.FinishReason != "stop" {
				t.Errorf("%s ends with %+v", name, end)
			}
		}
		for _, cl := range all {
			cl.WantLast(session, "part one and two and three", "complete")
		}
		if n := up.Count(); n != 1 {
			t.Errorf("%d calls", n)
		}

		session = harness.NewSession()
		a = all[0].Ask(session, "hello")
		call = up.Call()
		call.Say("part one")
		own = a.Events()
		own.Text("part one")
		if !all[1].CancelTurn(session) {
			t.Error("another node knows of no turn")
		}
		call.WantGone()
		if end := own.Rest(); end.Done == nil || end.Done.FinishReason != "cancelled" {
			t.Errorf("ends with %+v", end)
		}
		all[2].WantLast(session, "part one", "partial")
	})
}

// TestIdempotency sends one Idempotency-Key to three nodes at once.
func TestIdempotency(t *testing.T) {
	onEach(t, func(t *testing.T, url string) {
		up := harness.NewUpstream(t)
		all := clients(start(t, url, 3, up.Chain("")), "acme", "ann")
		q := harness.NewQuestion("fast").Streamed()
		var asked []*harness.Pending
		for _, c := range all {
			asked = append(asked, c.StartCompletion(q, "Idempotency-Key", "k1"))
		}
		call := up.Call()
		call.Say("Hello")
		call.Finish("stop")
		for i, a := range asked {
			if got := harness.ReadCompletion(t, a.Answer()); got.Text != "Hello" || !got.Done {
				t.Errorf("node %d: %+v", i, got)
			}
		}
		if n := up.Count(); n != 1 {
			t.Errorf("%d calls, want 1", n)
		}
	})
}
