package cluster

import (
	"testing"

	"github.com/caddy-chat/caddy-chat/integration/harness"
	"github.com/caddy-chat/caddy-chat/modules/store/redis/redistest"
)

// TestAnotherConversation sends all of another conversation to a session. Its last message,
// which was stored as the turn began and taken back, is stored with the others.
func TestAnotherConversation(t *testing.T) {
	t.Parallel()
	up := harness.NewUpstream(t, harness.Echoes)
	cl := harness.NewClient(start(t, redistest.Start(t).URL(), 1, up.Chain(""))[0], "acme", "ann")
	session := harness.NewSession()
	for _, list := range [][]string{{"one"}, {"two", "re: two", "three"}} {
		q := harness.NewQuestion("fast")
		q.Messages = nil
		for i, text := range list {
			q.Messages = append(q.Messages, harness.Message{Role: []string{"user", "assistant"}[i%2], Content: text})
		}
		cl.Complete(q, "X-Session-Id", session)
	}
	var got []string
	for _, m := range cl.History(session) {
		got = append(got, m.Content)
	}
	harness.WantList(t, "the history", got, []string{"one", "re: one", "two", "re: two", "three", "re: three"})
}
