package storetest

import (
	"strconv"
	"time"

	"github.com/caddy-chat/caddy-chat/modules/store"
)

var expiryTests = []test{
	{"expired_messages_are_never_returned", expireMessages},
	{"a_session_lives_as_long_as_its_longest_lived_message", expireSession},
	{"an_expired_session_begins_anew", expireAnew},
	{"a_shorter_retention_expires_the_newer_messages_first", expireMixed},
	{"retention_counts_from_the_messages_own_time", expireOwnTime},
	{"no_retention_keeps_for_good", expireNever},
	{"an_expired_session_cannot_be_deleted", expireDelete},
	{"pruning_goes_on_after_expiry", expireAndPrune},
	{"retract_after_expiry_removes_the_session", expireRetract},
}

func keep(d time.Duration) store.AppendOptions {
	return store.AppendOptions{Create: true, Retention: d}
}

func (x *subject) wantCount(s store.SessionKey, want int) {
	x.Helper()
	list, _ := x.list(tenantA, s.User, nil, 100)
	for _, l := range list {
		if l.ID == s.ID {
			if l.Messages != want {
				x.Fatalf("%d messages counted, want %d", l.Messages, want)
			}
			return
		}
	}
	if want != 0 {
		x.Fatalf("session is not in the list, want it with %d messages", want)
	}
}

func expireMessages(x *subject) {
	const day = 24 * time.Hour
	for i := 1; i <= 10; i++ {
		x.append(tenantA, key(1), keep(5*day), strconv.Itoa(i))
		x.clock.advance(day)
	}
	// Day 10: what was written on day 5 has just expired.
	x.wantContents(tenantA, key(1), "7", "8", "9", "10")
	x.wantCount(key(1), 4)
	msgs, more := x.history(tenantA, key(1), store.Range{Limit: 2, Before: 9})
	x.equal("page", contents(msgs), []string{"7", "8"})
	if more {
		x.Error("an expired message counts as more")
	}
	msgs, _ = x.history(tenantA, key(1), store.Range{Limit: 2, After: 1})
	x.equal("page", contents(msgs), []string{"7", "8"})

	x.append(tenantA, key(1), keep(5*day), "11")
	x.wantContents(tenantA, key(1), "7", "8", "9", "10", "11")
	x.wantCount(key(1), 5)
	x.clock.advance(2 * day)
	x.wantContents(tenantA, key(1), "9", "10", "11")
	x.wantCount(key(1), 3)
}

func expireSession(x *subject) {
	x.append(tenantA, key(1), keep(time.Hour), "1")
	x.clock.advance(time.Hour - time.Millisecond)
	x.wantContents(tenantA, key(1), "1")
	x.wantCount(key(1), 1)
	x.clock.advance(time.Millisecond)
	x.wantNoSession(tenantA, key(1))
	x.wantCount(key(1), 0)
	x.wantErr(x.Append(x.ctx, tenantA, key(1), store.AppendOptions{}, x.message("late")), store.ErrNotFound)
}

func expireAnew(x *subject) {
	x.append(tenantA, key(1), keep(time.Hour), "old", "old too")
	x.clock.advance(2 * time.Hour)
	m := x.message("new")
	x.ok(x.Append(x.ctx, tenantA, key(1), store.AppendOptions{Create: true, Title: "new", Retention: time.Hour}, m))
	if m.Seq != 1 {
		x.Errorf("seq is %d, want 1", m.Seq)
	}
	x.wantContents(tenantA, key(1), "new")
	list, _ := x.list(tenantA, user, nil, 10)
	if len(list) != 1 || list[0].Title != "new" || !list[0].CreatedAt.Equal(m.Time) {
		x.Errorf("list: %+v", list)
	}
}

func expireMixed(x *subject) {
	x.append(tenantA, key(1), keep(10*time.Hour), "1", "2")
	x.append(tenantA, key(1), keep(time.Hour), "3")
	x.append(tenantA, key(1), keep(0), "4")
	x.append(tenantA, key(1), keep(2*time.Hour), "5")
	x.wantCount(key(1), 5)
	x.clock.advance(time.Hour)
	x.wantContents(tenantA, key(1), "1", "2", "4", "5")
	x.wantCount(key(1), 4)
	msgs, more := x.history(tenantA, key(1), store.Range{Limit: 2, After: 1})
	x.equal("page", contents(msgs), []string{"2", "4"})
	if !more {
		x.Error("no more where there is")
	}
	x.clock.advance(9 * time.Hour)
	x.wantContents(tenantA, key(1), "4")
	x.wantCount(key(1), 1)
	x.append(tenantA, key(1), keep(time.Hour), "6")
	x.wantContents(tenantA, key(1), "4", "6")
	x.wantCount(key(1), 2)
}

func expireOwnTime(x *subject) {
	old, recent := x.message("old"), x.message("recent")
	old.Time = old.Time.Add(-50 * time.Minute)
	x.ok(x.Append(x.ctx, tenantA, key(1), keep(time.Hour), old, recent))
	x.clock.advance(10 * time.Minute)
	x.wantContents(tenantA, key(1), "recent")
	x.wantCount(key(1), 1)
}

func expireNever(x *subject) {
	x.append(tenantA, key(1), keep(time.Hour), "1")
	x.append(tenantA, key(1), keep(0), "2")
	x.clock.advance(20 * 365 * 24 * time.Hour)
	x.wantContents(tenantA, key(1), "2")
	x.wantCount(key(1), 1)
}

func expireDelete(x *subject) {
	x.append(tenantA, key(1), keep(time.Hour), "1")
	x.clock.advance(time.Hour)
	x.wantErr(x.Delete(x.ctx, tenantA, key(1)), store.ErrNotFound)
}

func expireAndPrune(x *subject) {
	opts := store.AppendOptions{Create: true, Retention: 10 * time.Hour, MaxMessages: 4}
	for i := 1; i <= 8; i++ {
		x.append(tenantA, key(1), opts, strconv.Itoa(i))
		x.clock.advance(time.Hour)
	}
	x.wantContents(tenantA, key(1), "5", "6", "7", "8")
	x.clock.advance(8 * time.Hour) // hour 16: "5" was written in hour 4, "6" in hour 5
	x.wantContents(tenantA, key(1), "8")
	x.append(tenantA, key(1), opts, "9", "10", "11", "12")
	x.wantContents(tenantA, key(1), "9", "10", "11", "12")
	x.wantCount(key(1), 4)
}

func expireRetract(x *subject) {
	x.append(tenantA, key(1), keep(time.Hour), "1")
	x.clock.advance(30 * time.Minute)
	x.append(tenantA, key(1), keep(time.Hour), "2")
	x.clock.advance(45 * time.Minute)
	x.ok(x.Retract(x.ctx, tenantA, key(1), 2, 2))
	x.wantNoSession(tenantA, key(1))
	x.wantCount(key(1), 0)
	x.append(tenantA, key(1), keep(time.Hour), "anew")
	x.wantContents(tenantA, key(1), "anew")
}
