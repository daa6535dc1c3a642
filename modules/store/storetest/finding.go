package storetest

import (
	"time"

	"github.com/caddy-chat/caddy-chat/modules/store"
)

func (x *subject) wantTurn(tenant string, s store.SessionKey, turn string) {
	x.Helper()
	found, err := x.FindTurn(x.ctx, tenant, s.User, turn)
	x.ok(err)
	if found != s {
		x.Fatalf("%s is of %v, want %v", turn, found, s)
	}
}

func (x *subject) wantNoTurn(tenant, user, turn string) {
	x.Helper()
	found, err := x.FindTurn(x.ctx, tenant, user, turn)
	x.wantErr(err, store.ErrNotFound)
	if found != (store.SessionKey{}) {
		x.Fatalf("%s of %s/%q is %v", turn, tenant, user, found)
	}
}

func turnFound(x *subject) {
	x.wantNoTurn(tenantA, user, "t1")
	x.claim(key(1), "t1")
	_, err := x.Begin(x.ctx, tenantA, key(2), beginning("t2"), x.message("1"))
	x.ok(err)
	x.wantTurn(tenantA, key(1), "t1") // without any event
	x.wantTurn(tenantA, key(2), "t2")
	x.publish(key(1), "t1", 1)
	x.wantTurn(tenantA, key(1), "t1")
	x.wantNoTurn(tenantA, user, "t3")
	x.wantNoTurn(tenantA, user, "")
	x.wantNoTurn(tenantA, "bob", "t1")
	x.wantNoTurn(tenantB, user, "t1")
	_, err = x.Claim(x.ctx, tenantA, key(1), "t3", time.Minute)
	x.wantErr(err, store.ErrBusy)
	x.wantNoTurn(tenantA, user, "t3")
	x.wantTurn(tenantA, key(1), "t1")
}

func turnFoundFollowed(x *subject) {
	x.claim(key(1), "t1")
	x.publish(key(1), "t1", 1)
	x.finish(key(1), "t1") // kept for a minute
	x.clock.advance(time.Minute - time.Millisecond)
	x.wantTurn(tenantA, key(1), "t1")
	x.clock.advance(time.Millisecond)
	x.wantNoTurn(tenantA, user, "t1")

	x.claim(key(1), "t2")
	x.finish(key(1), "t2")
	x.claim(key(1), "t3")
	x.wantNoTurn(tenantA, user, "t2")
	x.wantTurn(tenantA, key(1), "t3")
	x.ok(x.FinishTurn(x.ctx, tenantA, key(1), "t3", 0))
	x.wantNoTurn(tenantA, user, "t3")

	x.append(tenantA, key(2), create, "1")
	x.claim(key(2), "t4")
	x.ok(x.Delete(x.ctx, tenantA, key(2)))
	x.wantNoTurn(tenantA, user, "t4")
	x.append(tenantA, key(3), create, "1")
	x.claim(key(3), "t5")
	x.finish(key(3), "t5")
	x.ok(x.Delete(x.ctx, tenantA, key(3)))
	x.wantNoTurn(tenantA, user, "t5")
	x.claim(key(4), "t6")
	x.ok(x.EraseTenant(x.ctx, tenantA))
	x.wantNoTurn(tenantA, user, "t6")
}
