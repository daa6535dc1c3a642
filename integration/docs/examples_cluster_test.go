package docs

import (
	"strings"
	"testing"

	"github.com/caddy-chat/caddy-chat/integration/harness"
	"github.com/caddy-chat/caddy-chat/modules/store/redis/redistest"
)

// tryCluster has a conversation through the front, and goes on with it when a node is
// gone.
func tryCluster(t *testing.T) {
	file := harness.CaddyfileOf(t, "cluster/front")
	if out, err := harness.RunCaddy(t, t.TempDir(), "fmt", "--diff", file); err != nil {
		t.Errorf("caddy fmt: %v\n%s", err, out)
	}
	server := redistest.Start(t)
	model := newModelServer(t)
	var nodes []*harness.Caddy
	var addrs []string
	for range 2 {
		n := harness.StartExample(t, "cluster",
			"store redis {env.REDIS_URL}", "store redis "+server.URL(),
			"provider openai {", "provider openai {\n base_url "+model.URL+"")
		nodes = append(nodes, n)
		addrs = append(addrs, strings.TrimPrefix(n.URL, "http://"))
	}
	front := harness.StartExample(t, "cluster/front",
		"node1.internal:8080 node2.internal:8080", strings.Join(addrs, " "))

	acme := harness.NewClient(front, "", "ann")
	acme.Key = "acme-key"
	wantAnswer(t, acme)
	session := harness.NewSession()
	say := func(what string, stored int) {
		t.Helper()
		if a := acme.Say(session, "hi"); a.Text != "Hello from afar" || a.Done == nil {
			t.Errorf("%s: got %q, done %+v", what, a.Text, a.Done)
		}
		for _, n := range nodes[1:] {
			direct := harness.NewClient(n, "", "ann")
			direct.Key = "acme-key"
			if got := len(direct.History(session)); got != stored {
				t.Errorf("%s: %d messages stored, want %d", what, got, stored)
			}
		}
	}
	say("with both nodes", 2)
	nodes[0].Kill()
	for i := range 3 {
		say("with one node", 4+2*i)
	}
}
