package storetest

import (
	"time"

	"github.com/caddy-chat/caddy-chat/modules/store"
)

// turnEndLost ends turns whose leases have ended. An embedded store has none that are
// lost, and changes nothing.
func turnEndLost(x *subject) {
	x.append(tenantA, key(1), create, "question")
	x.claim(key(1), "t1")
	x.publish(key(1), "t1", 1)
	x.wantFollow(key(1), "t1", 0, "t1", "t1:1") // it has arrived, and renews nothing later
	x.claim(key(2), "t2")                       // of a session that is no longer there
	if x.endLost(key(1), "t1", x.message("too early")) {
		x.Error("a turn that runs is ended")
	}
	x.wantContents(tenantA, key(1), "question")
	x.clock.advance(time.Hour)
	lost, err := x.Lost(x.ctx, tenantA, key(1))
	x.ok(err)
	for _, turn := range []string{"t0", "t1", "t1"} {
		if want := lost && turn == "t1"; x.endLost(key(1), turn, x.message("answer of "+turn)) != want {
			x.Errorf("%s: ended is %t, want %t", turn, !want, want)
		}
		lost = lost && turn != "t1" // it ends once
	}
	if x.endLost(key(2), "t2", x.message("answer")) {
		x.wantContents(tenantA, key(1), "question", "answer of t1")
		x.wantFollow(key(1), "t1", 0, "t1", "t1:1", "last")
		x.wantFollow(key(2), "t2", 0, "t2", "last")
		x.claim(key(1), "t3")
	} else {
		x.wantContents(tenantA, key(1), "question")
		x.wantFollow(key(1), "t1", 0, "t1", "t1:1")
	}
	x.wantNoSession(tenantA, key(2))
}

// endLost ends a turn, if it is lost, with event 2 and messages.
func (x *subject) endLost(s store.SessionKey, turn string, msgs ...*store.Message) bool {
	x.Helper()
	last := []store.Event{{N: 2, Kind: 'd', Data: []byte("last")}}
	ended, err := x.EndLost(x.ctx, tenantA, s, store.Ending{Turn: turn, Keep: time.Minute, Last: last}, msgs...)
	x.ok(err)
	return ended
}
