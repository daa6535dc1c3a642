package integration

import (
	"testing"
)

// EchoChain is the whole chain with the echo provider.
const EchoChain = `
	tenant_resolve
	chat_ratelimit {
		requests 100000 1m
	}
	chat_session
	ai_gateway {
		provider echo {
			delay 0
		}
	}
`

const TwoTenants = `
	chat {
		tenant acme {
			host acme.test
		}
		tenant globex {
			api_key globex-key
		}
	}
`

func TestChat(t *testing.T) {
	c := Start(t, TwoTenants, EchoChain)
	acme := NewClient(c, "acme", "ann")
	session := NewSession()

	a := acme.Say(session, "hello there, wörld")
	if a.Text != "hello there, wörld" || a.Done == nil || a.Done.FinishReason != "stop" {
		t.Fatalf("got %q, done %+v", a.Text, a.Done)
	}
	msgs := acme.History(session)
	if len(msgs) != 2 || msgs[0].Role != "user" || msgs[1].Content != a.Text || msgs[1].Status != "complete" {
		t.Fatalf("history: %+v", msgs)
	}
	if other := NewClient(c, "acme", "bob").History(session); other != nil {
		t.Errorf("another user sees %+v", other)
	}
}
