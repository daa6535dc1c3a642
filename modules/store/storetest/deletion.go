package storetest

import (
	"strconv"
	"time"

	"github.com/caddy-chat/caddy-chat/modules/store"
)

var deletionTests = []test{
	{"a_deleted_session_is_gone", deleteGone},
	{"an_unknown_session_is_not_found", deleteUnknown},
	{"a_session_of_the_same_id_sees_nothing_old", deleteAnew},
	{"a_running_turn_is_cancelled_and_keeps_the_session_busy", deleteRunning},
	{"finished_turns_go_with_their_session", deleteFinished},
	{"an_erased_tenant_has_nothing_left", eraseTenant},
	{"an_erased_tenant_can_begin_again", eraseAnew},
}

func deleteGone(x *subject) {
	x.numbers(key(1), create, 30)
	x.append(tenantA, key(2), create, "other")
	x.ok(x.Delete(x.ctx, tenantA, key(1)))
	x.wantNoSession(tenantA, key(1))
	list, _ := x.list(tenantA, user, nil, 10)
	x.equal("list", ids(list), []string{sid(2)})
	x.wantErr(x.Append(x.ctx, tenantA, key(1), store.AppendOptions{}, x.message("late")), store.ErrNotFound)
	x.wantErr(x.Delete(x.ctx, tenantA, key(1)), store.ErrNotFound)
}

func deleteUnknown(x *subject) {
	x.wantErr(x.Delete(x.ctx, tenantA, key(1)), store.ErrNotFound)
}

func deleteAnew(x *subject) {
	for round := range 3 {
		n := 5 - round // each shorter than the last one
		x.numbers(key(1), create, n)
		msgs, _ := x.history(tenantA, key(1), store.Range{Limit: 100})
		if len(msgs) != n || msgs[0].Seq != 1 || msgs[n-1].Content != strconv.Itoa(n) {
			x.Fatalf("round %d: %v", round, contents(msgs))
		}
		x.wantCount(key(1), n)
		x.ok(x.Delete(x.ctx, tenantA, key(1)))
	}
}

func deleteRunning(x *subject) {
	x.append(tenantA, key(1), create, "1")
	cancelled := x.claim(key(1), "t1")
	x.publish(key(1), "t1", 1)
	x.ok(x.Delete(x.ctx, tenantA, key(1)))
	x.wantCancelled(cancelled)
	x.wantNothingToFollow(key(1))

	// Its last message must not land in a new session of the same id.
	_, err := x.Claim(x.ctx, tenantA, key(1), "t2", time.Minute)
	x.wantErr(err, store.ErrBusy)
	x.ok(x.FinishTurn(x.ctx, tenantA, key(1), "t1", time.Minute))
	x.wantNothingToFollow(key(1))
	x.claim(key(1), "t2")
}

func deleteFinished(x *subject) {
	x.append(tenantA, key(1), create, "1")
	x.claim(key(1), "t1")
	x.publish(key(1), "t1", 1)
	x.ok(x.FinishTurn(x.ctx, tenantA, key(1), "t1", time.Hour))
	x.ok(x.Delete(x.ctx, tenantA, key(1)))
	x.wantNothingToFollow(key(1))
}

// occupy gives a tenant something of everything.
func (x *subject) occupy(tenant string) {
	x.Helper()
	for n := range 3 {
		x.append(tenant, key(n), create, "1", "2")
	}
	_, err := x.Claim(x.ctx, tenant, key(1), "t1", time.Minute)
	x.ok(err)
	x.ok(x.Publish(x.ctx, tenant, key(1), "t1", store.Event{N: 1}))
	x.ok(x.FinishTurn(x.ctx, tenant, key(1), "t1", time.Hour))
	x.take(tenant, oneTake("k", 1))
	_, err = x.Settle(x.ctx, tenant, "r1", append(budget(100, 10), tokens(100, 10)...))
	x.ok(err)
	_, err = x.Reserve(x.ctx, tenant, "r2", time.Hour, budget(100, 10))
	x.ok(err)
	x.ok(x.CachePut(x.ctx, tenant, "k", []byte("v"), time.Hour))
}

func (x *subject) wantEmpty(tenant string) {
	x.Helper()
	for n := range 3 {
		x.wantNoSession(tenant, key(n))
	}
	list, _ := x.list(tenant, user, nil, 10)
	x.equal("list", ids(list), nil)
	_, _, err := x.Follow(x.ctx, tenant, key(1), "", 0)
	x.wantErr(err, store.ErrNotFound)
	if !x.take(tenant, oneTake("k", 1)) {
		x.Error("the limiter still counts")
	}
	balances, err := x.Balances(x.ctx, tenant, append(budget(0, 0), tokens(0, 0)...))
	x.ok(err)
	if balances[0] != (store.Balance{}) || balances[1].Used != 0 {
		x.Errorf("balances: %+v", balances)
	}
	_, err = x.CacheGet(x.ctx, tenant, "k")
	x.wantErr(err, store.ErrNotFound)
}

func eraseTenant(x *subject) {
	x.occupy(tenantA)
	x.occupy(tenantB)
	x.ok(x.EraseTenant(x.ctx, tenantA))
	x.wantEmpty(tenantA)
	x.wantContents(tenantB, key(1), "1", "2")
	if x.take(tenantB, oneTake("k", 1)) {
		x.Error("the limiter of another tenant was erased")
	}
	x.ok(x.EraseTenant(x.ctx, "nobody"))
}

func eraseAnew(x *subject) {
	x.occupy(tenantA)
	x.ok(x.EraseTenant(x.ctx, tenantA))
	x.append(tenantA, key(1), create, "new")
	x.wantContents(tenantA, key(1), "new")
	x.claim(key(1), "t2")
	_, err := x.Settle(x.ctx, tenantA, "r1", budget(100, 7))
	x.ok(err)
	x.wantBalance(7, 0)
}
