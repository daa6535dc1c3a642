package integration

import (
	"testing"
)

// chain is the whole chain with the echo provider.
const chain = `
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

const twoTenants = `
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
	c := startCaddy(t, twoTenants, chain)
	acme := newClient(c, "acme", "ann")
	session := newSession()

	a := acme.say(session, "hello there, wörld")
	if a.text != "hello there, wörld" || a.done == nil || a.done.FinishReason != "stop" {
		t.Fatalf("got %q, done %+v", a.text, a.done)
	}
	msgs := acme.history(session)
	if len(msgs) != 2 || msgs[0].Role != "user" || msgs[1].Content != a.text || msgs[1].Status != "complete" {
		t.Fatalf("history: %+v", msgs)
	}
	if other := newClient(c, "acme", "bob").history(session); other != nil {
		t.Errorf("another user sees %+v", other)
	}
}
