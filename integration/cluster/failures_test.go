package cluster

import (
	"fmt"
	"net/http"
	"testing"

	"github.com/caddy-chat/caddy-chat/integration/harness"
	"github.com/caddy-chat/caddy-chat/modules/store/redis/redistest"
)

// TestNodeDies kills the node of a running turn. Its lease ends within 30 seconds.
func TestNodeDies(t *testing.T) {
	t.Parallel()
	up := harness.NewUpstream(t)
	nodes := start(t, redistest.Start(t).URL(), 3, "tenant_resolve\nchat_ratelimit {\n\tconcurrent 3\n\trequests 1000 1m\n}\nchat_session\n"+up.Gateway())
	all := clients(nodes, "acme", "ann")
	session, other := harness.NewSession(), harness.NewSession()
	a := all[0].Ask(session, "hello")
	call := up.Call()
	call.Say("part one")
	own := a.Events()
	own.Text("part one")
	quiet := all[0].Ask(other, "hello")
	up.Call().Say("part")
	quiet.Events().Text("part")
	follower := all[1].Follow(session, "").Events()
	follower.Text("part one")
	harness.WantFailure(t, all[1].Do(http.MethodPost, "/chat", harness.ChatRequest{SessionID: harness.NewSession(), Message: "one more"}), http.StatusTooManyRequests, "rate_limited")
	nodes[0].Kill()
	if end := follower.Rest(); end.Failed == nil || end.Failed.Code != "ai_unavailable" || end.Done == nil || end.Done.FinishReason != "error" {
		t.Errorf("the follower's stream ends with %+v", end)
	}
	all[2].WantLast(session, "part one", "partial")

	// the other session had no follower: its next message finds it
	up.Plays(harness.Echoes)
	harness.Eventually(t, "the session and the slots are free", func() bool {
		resp := all[2].Do(http.MethodPost, "/chat", harness.ChatRequest{SessionID: other, Message: "again"})
		if resp.StatusCode != http.StatusOK {
			harness.ReadAll(t, resp)
			return false
		}
		return harness.ReadEvents(t, resp).Rest().Done != nil
	})
	want := "[user: hello assistant: part user: again assistant: re: again]"
	if got := fmt.Sprint(harness.Contents(all[1].History(other))); got != want {
		t.Errorf("the history is %s, want %s", got, want)
	}
}

// TestServerDies kills Redis while answers are streamed, and starts it again with what
// its log had.
func TestServerDies(t *testing.T) {
	t.Parallel()
	const streams = 20
	server := redistest.Start(t, "--appendonly", "yes", "--appendfsync", "everysec")
	up := harness.NewUpstream(t)
	nodes := start(t, server.URL(), 2, up.Chain(""))
	all := clients(nodes, "acme", "ann")

	type turn struct {
		session string
		call    *harness.HeldCall
		events  *harness.Events
	}
	var turns []turn
	for i := range streams {
		session := harness.NewSession()
		a := all[i%2].Ask(session, "hello")
		call := up.Call()
		call.Say("one ")
		e := a.Events()
		e.Text("one ")
		turns = append(turns, turn{session, call, e})
	}
	server.Kill()
	harness.WantFailure(t, all[0].Do(http.MethodPost, "/chat", harness.ChatRequest{SessionID: harness.NewSession(), Message: "x"}), http.StatusServiceUnavailable, "storage_unavailable")
	for i, turn := range turns {
		turn.call.Say("two ")
		turn.events.Text("two ")
		if i%2 == 0 {
			turn.call.Finish("stop")
			if end := turn.events.Rest(); end.Failed != nil || end.Done == nil || end.Done.FinishReason != "stop" {
				t.Errorf("turn %d ends with %+v", i, end)
			}
		}
	}
	server.Restart()
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
		all[(i+1)%2].WantLast(turn.session, text, "complete")
		if got, want := fmt.Sprint(harness.Contents(all[0].History(turn.session))), "[user: hello assistant: "+text+"]"; got != want {
			t.Errorf("turn %d: the history is %s, want %s", i, got, want)
		}
	}
	harness.Eventually(t, "the nodes are well", func() bool {
		var h struct{ Data struct{ Status string } }
		return all[0].Call(http.MethodGet, "/v1/health", nil, &h) == http.StatusOK && h.Data.Status == "ok"
	})
}

// TestSlowServer has Redis stop for a while.
func TestSlowServer(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	up := harness.NewUpstream(t)
	all := clients(start(t, server.URL(), 2, up.Sessions("")), "acme", "ann")
	session := harness.NewSession()
	a := all[0].Ask(session, "hello")
	call := up.Call()
	call.Say("one ")
	e := a.Events()
	e.Text("one ")
	server.Freeze()
	for range 5 {
		call.Say("more ")
		e.Text("more ")
	}
	harness.WantFailure(t, all[1].Do(http.MethodPost, "/chat", harness.ChatRequest{SessionID: harness.NewSession(), Message: "x"}), http.StatusServiceUnavailable, "storage_unavailable")
	var h struct{ Data struct{ Status string } }
	if all[1].Call(http.MethodGet, "/v1/health", nil, &h); h.Data.Status != "degraded" {
		t.Errorf("health is %q while redis does not answer", h.Data.Status)
	}
	server.Thaw()
	call.Finish("stop")
	if end := e.Rest(); end.Failed != nil || end.Done == nil {
		t.Errorf("ends with %+v", end)
	}
	all[1].WantLast(session, "one more more more more more ", "complete")
}

// TestIdleNodeRecovers checks that a node that gets no requests notices that Redis is
// back.
func TestIdleNodeRecovers(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	up := harness.NewUpstream(t)
	node := start(t, server.URL(), 1, up.Sessions(""))[0]
	ann := harness.NewClient(node, "acme", "ann")
	status := func() string {
		var h struct{ Data struct{ Status string } }
		ann.Call(http.MethodGet, "/v1/health", nil, &h) // which asks no Redis
		return h.Data.Status
	}
	server.Freeze()
	harness.WantFailure(t, ann.Do(http.MethodGet, "/chat", nil), http.StatusServiceUnavailable, "storage_unavailable")
	if got := status(); got != "degraded" {
		t.Errorf("health is %q", got)
	}
	server.Thaw()
	harness.Eventually(t, "the node is well", func() bool { return status() == "ok" })
}
