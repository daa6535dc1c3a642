package redis

import (
	"context"
	"runtime"
	"testing"
	"time"

	"github.com/caddy-chat/caddy-chat/modules/store"
	"github.com/caddy-chat/caddy-chat/modules/store/redis/redistest"
)

// TestBatchWhileSending has the server stop while events are on their way: those that
// come meanwhile wait for the next batch, and not only for the answer.
func TestBatchWhileSending(t *testing.T) {
	server := redistest.Start(t)
	d := openAt(t, server.URL(), "chat:", nil)
	ctx := context.Background()
	key := store.SessionKey{User: "ann", ID: "s"}
	if _, err := d.Claim(ctx, "acme", key, "turn", time.Minute); err != nil {
		t.Fatal(err)
	}
	turn := d.owned.of(turnKey{"acme", key})
	server.Freeze()
	defer server.Thaw()
	if err := d.Publish(ctx, "acme", key, "turn", store.Event{N: 1, Kind: 't', Data: []byte("one")}); err != nil {
		t.Fatal(err)
	}
	for end := time.Now().Add(time.Minute); ; runtime.Gosched() {
		turn.mu.Lock()
		taken, sent := len(turn.unsent) == 0, turn.sent
		turn.mu.Unlock()
		if taken {
			if sent.IsZero() {
				t.Error("the next batch is counted from an earlier one")
			}
			return
		}
		if time.Now().After(end) {
			t.Fatal("the event is not sent")
		}
	}
}
