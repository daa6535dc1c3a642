package redis

import (
	"testing"
	"time"

	"github.com/caddy-chat/caddy-chat/modules/store"
	"github.com/caddy-chat/caddy-chat/modules/store/redis/redistest"
)

// TestFollowWaits has the server not answer to a follower that has read the first event
// of two.
func TestFollowWaits(t *testing.T) {
	server := redistest.Start(t)
	producer, d := openAt(t, server.URL(), "test:", nil), openAt(t, server.URL(), "test:", nil)
	key := store.SessionKey{User: "ann", ID: "019865a0-0000-7000-8000-000000000001"}
	if _, err := producer.Claim(t.Context(), "acme", key, "t1", time.Minute); err != nil {
		t.Fatal(err)
	}
	if err := producer.FinishTurn(t.Context(), "acme", key, "t1", time.Minute, store.Event{N: 1, Kind: 'd'}, store.Event{N: 2, Kind: 'd'}); err != nil {
		t.Fatal(err)
	}
	d.limit = 50 * time.Millisecond
	server.Freeze()
	if _, _, err := d.Follow(t.Context(), "acme", key, "", 0); err == nil {
		t.Error("one who has read nothing waits, too")
	}
	d.failure.Store(nil)
	var evs []store.Event
	var err error
	read := make(chan struct{})
	go func() {
		defer close(read)
		_, evs, err = d.Follow(t.Context(), "acme", key, "t1", 1)
	}()
	for d.failure.Load() == nil {
		select {
		case <-read:
			t.Fatalf("following answers %v", err)
		case <-time.After(time.Millisecond):
		}
	}
	server.Thaw()
	<-read
	if err != nil || len(evs) != 1 || evs[0].N != 2 {
		t.Errorf("the rest is %v, %v", evs, err)
	}
}
