package chat

import (
	"testing"

	"github.com/caddy-chat/caddy-chat/integration/harness"
)

func TestChat(t *testing.T) {
	c := harness.Start(t, harness.TwoTenants, harness.EchoChain)
	acme := harness.NewClient(c, "acme", "ann")
	session := harness.NewSession()

	a := acme.Say(session, "hello there, wörld")
	if a.Text != "hello there, wörld" || a.Done == nil || a.Done.FinishReason != "stop" {
		t.Fatalf("got %q, done %+v", a.Text, a.Done)
	}
	msgs := acme.History(session)
	if len(msgs) != 2 || msgs[0].Role != "user" || msgs[1].Content != a.Text || msgs[1].Status != "complete" {
		t.Fatalf("history: %+v", msgs)
	}
	if other := harness.NewClient(c, "acme", "bob").History(session); other != nil {
		t.Errorf("another user sees %+v", other)
	}
}
