package redis

import (
	"errors"
	"sync/atomic"
	"testing"
	"time"

	"github.com/caddy-chat/caddy-chat/modules/store"
	"github.com/caddy-chat/caddy-chat/modules/store/redis/redistest"
)

// TestLost lets the lease of a turn end, as when its node is killed.
func TestLost(t *testing.T) {
	begin := time.Now()
	var later atomic.Int64 // the store reads the clock on its own, too
	d := openAt(t, redistest.Start(t).URL(), "test:", func() time.Time { return begin.Add(time.Duration(later.Load())) })
	key := store.SessionKey{User: "ann", ID: "019865a0-0000-7000-8000-000000000001"}
	want := func(when string, want bool) {
		t.Helper()
		lost, err := d.Lost(t.Context(), "acme", key)
		if err != nil || lost != want {
			t.Errorf("%s: lost is %t, %v, want %t", when, lost, err, want)
		}
		list, _, err := d.Sessions(t.Context(), "acme", "ann", nil, 10)
		if err != nil || len(list) == 1 && list[0].Lost != want {
			t.Errorf("%s: the list is %+v, %v", when, list, err)
		}
	}
	m := &store.Message{ID: "m1", Role: "user", Content: "hello", Time: begin, Status: store.StatusComplete}
	starts := func(turn string) error {
		_, err := d.Begin(t.Context(), "acme", key, store.Beginning{Turn: turn, Lease: time.Minute, Past: store.Range{Limit: 1}}, m)
		return err
	}
	wantClaims := func(when string, want error) {
		t.Helper()
		if err := starts("t2"); !errors.Is(err, want) {
			t.Errorf("%s: beginning answers %v, want %v", when, err, want)
		}
		if _, err := d.Claim(t.Context(), "acme", key, "t2", time.Minute); !errors.Is(err, want) {
			t.Errorf("%s: claiming answers %v, want %v", when, err, want)
		}
	}
	ends := func() bool {
		t.Helper()
		ended, err := d.EndLost(t.Context(), "acme", key, store.Ending{Turn: "t1", Keep: time.Minute, Last: []store.Event{{N: 1, Kind: 'd'}}})
		if err != nil {
			t.Error(err)
		}
		return ended
	}
	want("without a turn", false)
	if err := starts("t1"); err != nil {
		t.Fatal(err)
	}
	want("while it runs", false)
	later.Store(int64(time.Minute))
	d.note("acme", errors.New("it does not answer"))
	want("after its lease, while no node could renew it", false)
	wantClaims("after its lease, while no node could renew it", store.ErrBusy)
	if ends() {
		t.Error("it is ended, while no node could renew it")
	}
	followed := make(chan error, 1)
	go func() {
		_, _, err := d.Follow(t.Context(), "acme", key, "", 0)
		followed <- err
	}()
	becomes(t, "the follower waits", func() bool {
		select {
		case err := <-followed:
			t.Fatalf("a follower gets %v, while no node could renew it", err)
		default:
		}
		f := d.feeds.get(turnKey{"acme", key}, "t1", 0)
		return f != nil && !f.idle() && f.newest() == 0
	})
	d.answered.Store(begin.Add(-time.Hour).UnixNano())
	if err := <-followed; !errors.Is(err, store.ErrLost) {
		t.Errorf("the follower gets %v", err)
	}
	want("after its lease", true)
	wantClaims("after its lease", store.ErrLost)
	if !ends() {
		t.Error("it is not ended")
	}
	want("once it was ended", false)
}
