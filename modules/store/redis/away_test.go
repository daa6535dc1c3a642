package redis

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/caddy-chat/caddy-chat/modules/store"
	"github.com/caddy-chat/caddy-chat/modules/store/redis/redistest"
)

// TestRefusedWhileAway begins a turn while the server is away. Nothing of it waits for the
// server once that is back, and the session is free.
func TestRefusedWhileAway(t *testing.T) {
	server := redistest.Start(t)
	d := openAt(t, server.URL(), "away:", nil)
	d.limit = callTimeout
	s := store.SessionKey{User: "ann", ID: "0198f000-0000-7000-8000-000000000001"}
	begin := func(turn string) error {
		m := &store.Message{ID: turn, Role: "user", Content: "hi", Time: time.Now(), Status: store.StatusComplete}
		_, err := d.Begin(context.Background(), "acme", s, store.Beginning{
			Turn: turn, Lease: time.Minute, Past: store.Range{Limit: 1}, AppendOptions: store.AppendOptions{Create: true, Title: "t"},
		}, m)
		return err
	}
	server.Kill()
	for _, turn := range []string{"t1", "t2", "t3"} {
		if begin(turn) == nil {
			t.Fatal("a turn has begun without a server")
		}
	}
	server.Restart()
	for end := time.Now().Add(time.Minute); d.Health() != nil || d.Waiting() > 0; time.Sleep(retryTime / 10) {
		if time.Now().After(end) {
			t.Fatalf("%d writes wait, %v", d.Waiting(), d.Health())
		}
	}
	for _, turn := range []string{"t4", "t5"} {
		if err := begin(turn); err != nil {
			t.Fatal(err)
		}
		if err := errors.Join(d.Publish(context.Background(), "acme", s, turn, store.Event{N: 1, Kind: 'd'}), d.FinishTurn(context.Background(), "acme", s, turn, time.Minute)); err != nil {
			t.Fatal(err)
		}
	}
}
