package storetest

import (
	"errors"
	"fmt"
	"time"

	"github.com/caddy-chat/caddy-chat/modules/store"
)

// place is where data may be: a tenant and a user.
type place struct{ tenant, user string }

func (p place) String() string         { return fmt.Sprintf("%q/%q", p.tenant, p.user) }
func (p place) key() store.SessionKey  { return store.SessionKey{User: p.user, ID: sid(1)} }
func (p place) secret() string         { return "secret of " + p.String() }
func (p place) turn() string           { return "turn of " + p.String() }
func (p place) take() []store.Take     { return oneTake(p.user, 1) }
func (p place) budget() []store.Budget { return []store.Budget{{Key: p.user, Limit: 10, Want: 10}} }

// places are names that a careless key would mix up: prefixes of each other,
// separators, and pairs that are equal once they are joined.
func places() (list []place) {
	tenants := []string{"a", "ab", "a_b", "a-1", "b"}
	users := []string{
		"a", "ab", "b", "a/b", "/", "a:b", "a\x00", "a\x00b", "\x00", "{a}", "a}", "*", "?",
		"a\xff", "\u00fcml\u00e4ut", "anonymous", " ", "a b", "%61", "\x01a", "s", "m",
	}
	for _, t := range tenants {
		for _, u := range users {
			list = append(list, place{t, u})
		}
	}
	return list
}

var isolationTests = []test{
	{"another_tenant_or_user_never_sees_messages", isolatedMessages},
	{"another_tenant_or_user_never_changes_a_session", isolatedChanges},
	{"a_list_holds_the_sessions_of_one_user_only", isolatedLists},
	{"deleting_leaves_the_same_id_of_others", isolatedDelete},
	{"erasing_a_tenant_leaves_all_others", isolatedErase},
	{"turns_belong_to_one_session", isolatedTurns},
	{"limiter_keys_are_per_tenant", isolatedLimiter},
	{"limiter_and_sessions_never_mix", limiterAndSessions},
	{"budgets_are_per_tenant", isolatedLedger},
	{"cached_values_are_per_tenant", isolatedCache},
}

// fill puts a session with the same id into every place.
func (x *subject) fill() []place {
	x.Helper()
	all := places()
	for _, p := range all {
		x.append(p.tenant, p.key(), create, p.secret())
	}
	return all
}

func isolatedMessages(x *subject) {
	for _, p := range x.fill() {
		x.wantContents(p.tenant, p.key(), p.secret())
	}
	x.wantNoSession("nobody", key(1))
	x.wantNoSession("a", store.SessionKey{User: "nobody", ID: sid(1)})
	x.wantNoSession("a", store.SessionKey{User: "a", ID: sid(2)})
}

func isolatedChanges(x *subject) {
	x.append(tenantA, key(1), create, "hello")
	for _, other := range []struct {
		tenant string
		s      store.SessionKey
	}{
		{tenantB, key(1)},
		{tenantA, store.SessionKey{User: "bob", ID: sid(1)}},
		{tenantA, key(2)},
	} {
		x.wantErr(x.Append(x.ctx, other.tenant, other.s, store.AppendOptions{}, x.message("x")), store.ErrNotFound)
		x.wantErr(x.Delete(x.ctx, other.tenant, other.s), store.ErrNotFound)
		x.ok(x.Retract(x.ctx, other.tenant, other.s, 1, 1))
	}
	x.wantContents(tenantA, key(1), "hello")
}

func isolatedLists(x *subject) {
	for _, p := range x.fill() {
		list, more := x.list(p.tenant, p.user, nil, 10)
		if len(list) != 1 || more || list[0].ID != sid(1) {
			x.Fatalf("list of %s: %v, more %v, want one session", p, list, more)
		}
	}
	list, _ := x.list("nobody", "a", nil, 10)
	x.equal("list of a tenant without sessions", ids(list), nil)
	list, _ = x.list("a", "nobody", nil, 10)
	x.equal("list of a user without sessions", ids(list), nil)
}

func isolatedDelete(x *subject) {
	all := x.fill()
	for i, p := range all {
		if i%2 == 0 {
			x.ok(x.Delete(x.ctx, p.tenant, p.key()))
		}
	}
	for i, p := range all {
		if i%2 == 0 {
			x.wantNoSession(p.tenant, p.key())
		} else {
			x.wantContents(p.tenant, p.key(), p.secret())
		}
	}
}

func isolatedErase(x *subject) {
	all := x.fill()
	for _, p := range all {
		x.ok(x.CachePut(x.ctx, p.tenant, p.user, []byte(p.secret()), time.Hour))
		_, err := x.Settle(x.ctx, p.tenant, p.String(), p.budget())
		x.ok(err)
	}
	x.ok(x.EraseTenant(x.ctx, "a"))
	for _, p := range all {
		_, _, historyErr := x.History(x.ctx, p.tenant, p.key(), store.Range{Limit: 1})
		_, cacheErr := x.CacheGet(x.ctx, p.tenant, p.user)
		balances, err := x.Balances(x.ctx, p.tenant, p.budget())
		x.ok(err)
		list, _ := x.list(p.tenant, p.user, nil, 10)
		gone := p.tenant == "a"
		if gone != errors.Is(historyErr, store.ErrNotFound) || gone != errors.Is(cacheErr, store.ErrNotFound) ||
			gone != (balances[0].Used == 0) || gone != (len(list) == 0) {
			x.Fatalf("%s: history %v, cache %v, balance %v, sessions %v", p, historyErr, cacheErr, balances[0], ids(list))
		}
	}
}

func isolatedTurns(x *subject) {
	all := places()
	for _, p := range all {
		_, err := x.Claim(x.ctx, p.tenant, p.key(), p.turn(), time.Minute)
		if err != nil {
			x.Fatalf("claim at %s: %v", p, err)
		}
		x.ok(x.Publish(x.ctx, p.tenant, p.key(), p.turn(), store.Event{N: 1, Kind: 'd', Data: []byte(p.secret())}))
	}
	for _, p := range all {
		turn, evs, err := x.Follow(x.ctx, p.tenant, p.key(), "", 0)
		x.ok(err)
		if turn != p.turn() || len(evs) != 1 || string(evs[0].Data) != p.secret() {
			x.Fatalf("follow at %s: turn %q, events %v", p, turn, evs)
		}
	}
	for _, p := range all {
		for _, other := range all {
			if p != other {
				x.wantNoTurn(other.tenant, other.user, p.turn())
			}
		}
		x.wantTurn(p.tenant, p.key(), p.turn())
	}
	for _, foreign := range []store.SessionKey{{User: "nobody", ID: sid(1)}, {User: "a", ID: sid(2)}} {
		running, err := x.CancelTurn(x.ctx, "a", foreign, "")
		x.ok(err)
		if running {
			x.Fatalf("cancelled a turn that is not there: %v", foreign)
		}
		x.wantErr(x.Publish(x.ctx, "a", foreign, all[0].turn(), store.Event{N: 2}), store.ErrNotFound)
		_, _, err = x.Follow(x.ctx, "a", foreign, "", 0)
		x.wantErr(err, store.ErrNotFound)
	}
}

func isolatedLimiter(x *subject) {
	all := places()
	for _, p := range all {
		if !x.take(p.tenant, p.take()) {
			x.Fatalf("first take at %s was refused", p)
		}
	}
	for _, p := range all {
		if x.take(p.tenant, p.take()) {
			x.Fatalf("second take at %s was granted", p)
		}
	}
}

func limiterAndSessions(x *subject) {
	x.append(tenantA, key(1), create, "hello")
	for _, k := range []string{user, sid(1), "s", "m", ""} {
		x.take(tenantA, oneTake(k, 5))
	}
	x.wantContents(tenantA, key(1), "hello")
	x.ok(x.Delete(x.ctx, tenantA, key(1)))
	for range 4 {
		if !x.take(tenantA, oneTake(user, 5)) {
			x.Fatal("deleting a session changed the limiter")
		}
	}
	if x.take(tenantA, oneTake(user, 5)) {
		x.Fatal("deleting a session reset the limiter")
	}
}

func isolatedLedger(x *subject) {
	all := places()
	for _, p := range all {
		_, err := x.Reserve(x.ctx, p.tenant, "same id", time.Minute, nil)
		x.ok(err)
		_, err = x.Reserve(x.ctx, p.tenant, p.String(), time.Minute, p.budget())
		if err != nil {
			x.Fatalf("reserve at %s: %v", p, err)
		}
	}
	for _, p := range all {
		balances, err := x.Balances(x.ctx, p.tenant, p.budget())
		x.ok(err)
		if balances[0] != (store.Balance{Held: 10}) {
			x.Fatalf("balance at %s: %+v", p, balances[0])
		}
	}
	// The id of a reservation counts inside its tenant only.
	x.ok(x.ReleaseHold(x.ctx, "b", all[0].String()))
	balances, err := x.Balances(x.ctx, all[0].tenant, all[0].budget())
	x.ok(err)
	if balances[0].Held != 10 {
		x.Fatal("another tenant released a hold")
	}
}

func isolatedCache(x *subject) {
	all := places()
	for _, p := range all {
		x.ok(x.CachePut(x.ctx, p.tenant, p.user, []byte(p.secret()), time.Hour))
	}
	for _, p := range all {
		v, err := x.CacheGet(x.ctx, p.tenant, p.user)
		x.ok(err)
		if string(v) != p.secret() {
			x.Fatalf("cache at %s: %q", p, v)
		}
	}
}
