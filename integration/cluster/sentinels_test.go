package cluster

import (
	"fmt"
	"net/http"
	"testing"

	"github.com/caddy-chat/caddy-chat/integration/harness"
	"github.com/caddy-chat/caddy-chat/modules/store/redis/redistest"
)

// TestSentinels kills the master that sentinels watch, over TLS, during a conversation.
func TestSentinels(t *testing.T) {
	t.Parallel()
	certificates := redistest.NewCertificates(t)
	servers := redistest.StartSentinels(t, certificates)
	up := harness.NewUpstream(t)
	all := clients(start(t, servers.URL()+"&"+certificates.Query(), 2, up.Chain("")), "acme", "ann")

	running := harness.NewSession()
	a := all[0].Ask(running, "hello")
	call := up.Call()
	call.Say("one ")
	own := a.Events()
	own.Text("one ")
	follower := all[1].Follow(running, "").Events()
	follower.Text("one ")
	up.Plays(harness.Echoes)
	var acknowledged []string
	for i := range 10 {
		session := harness.NewSession()
		if a := all[i%2].Say(session, "kept"); a.Done == nil {
			t.Fatalf("%+v", a)
		}
		acknowledged = append(acknowledged, session)
	}
	servers.Master.WaitForReplica()
	servers.Master.Kill()

	call.Say("two ")
	own.Text("two ")
	for _, c := range all {
		harness.Eventually(t, "messages are taken again", func() bool {
			resp := c.Do(http.MethodPost, "/chat", harness.ChatRequest{SessionID: harness.NewSession(), Message: "new"})
			if resp.StatusCode != http.StatusOK {
				harness.WantFailure(t, resp, http.StatusServiceUnavailable, "storage_unavailable")
				return false
			}
			return harness.ReadEvents(t, resp).Rest().Done != nil
		})
		harness.Eventually(t, "the node is well", func() bool { return health(c) == "ok" })
	}
	call.Say("three")
	call.Finish("stop")
	if end := own.Rest(); end.Text != "three" || end.Done == nil || end.Failed != nil {
		t.Errorf("the turn ends with %+v", end)
	}
	if end := follower.Rest(); end.Text != "two three" || end.Done == nil || end.Failed != nil {
		t.Errorf("the follower's stream ends with %+v", end)
	}
	all[1].WantLast(running, "one two three", "complete")
	for i, session := range acknowledged {
		if got := fmt.Sprint(harness.Contents(all[i%2].History(session))); got != "[user: kept assistant: re: kept]" {
			t.Errorf("session %d is %s", i, got)
		}
	}
}
