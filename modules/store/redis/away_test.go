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
	waitUntilBack(t, d)
	for _, turn := range []string{"t4", "t5"} {
		if err := begin(turn); err != nil {
			t.Fatal(err)
		}
		if err := errors.Join(d.Publish(context.Background(), "acme", s, turn, store.Event{N: 1, Kind: 'd'}), d.FinishTurn(context.Background(), "acme", s, turn, time.Minute)); err != nil {
			t.Fatal(err)
		}
	}
}

func waitUntilBack(t *testing.T, d *db) {
	t.Helper()
	for end := time.Now().Add(time.Minute); d.Health() != nil || d.Waiting() > 0; time.Sleep(retryTime / 10) {
		if time.Now().After(end) {
			t.Fatalf("%d writes wait, %v", d.Waiting(), d.Health())
		}
	}
}

// TestEndsWhileAway ends a turn under a key, whose call used a budget, while the server is
// away: all of it is there when that is back, and the key is not free before its value.
func TestEndsWhileAway(t *testing.T) {
	server := redistest.Start(t)
	d := openAt(t, server.URL(), "ends:", nil)
	d.limit = callTimeout
	ctx := context.Background()
	claim := store.KeyClaim{
		Session: store.SessionKey{User: "ann", ID: "0198f000-0000-7000-8000-000000000001"}, Turn: "t1", Lease: time.Minute,
		Key: "key", First: store.Event{N: 1, Kind: 'r'},
	}
	if _, _, err := d.ClaimKey(ctx, "acme", claim, false, nil); err != nil {
		t.Fatal(err)
	}
	budget := []store.Budget{{Key: "day", Limit: 100, Want: 30, Until: time.Now().Add(time.Hour)}}
	if _, err := d.Reserve(ctx, "acme", "hold", time.Minute, budget); err != nil {
		t.Fatal(err)
	}
	server.Kill()
	budget[0].Want = 20
	balances, err := d.Settle(ctx, "acme", "hold", budget)
	if err != nil || balances != nil {
		t.Errorf("settled: %v, %v", balances, err)
	}
	if err := d.CacheKeep(ctx, "acme", claim.Session, claim.Key, []byte("value"), time.Hour); err != nil {
		t.Error(err)
	}
	if err := d.CachePut(ctx, "acme", "other", []byte("value"), time.Hour); err == nil {
		t.Error("what can be had again was put")
	}
	if err := d.FinishTurn(ctx, "acme", claim.Session, claim.Turn, 0); err != nil {
		t.Error(err)
	}
	server.Restart()
	again := claim
	again.Turn = "t2"
	for end := time.Now().Add(time.Minute); ; time.Sleep(retryTime / 10) {
		value, cancelled, err := d.ClaimKey(ctx, "acme", again, false, nil)
		if cancelled != nil {
			t.Fatal("the key was claimed once more")
		}
		if string(value) == "value" {
			break
		}
		if time.Now().After(end) {
			t.Fatalf("the value is %q, %v", value, err)
		}
	}
	waitUntilBack(t, d)
	if balances, err = d.Balances(ctx, "acme", budget); err != nil || balances[0].Used != 20 || balances[0].Held != 0 {
		t.Errorf("the balance is %+v, %v", balances, err)
	}
}

// TestSilent has a server that is there and does not answer: calls do not wait for it once
// that is known, and are answered again as soon as it is.
func TestSilent(t *testing.T) {
	server := redistest.Start(t)
	d := openAt(t, server.URL(), "silent:", nil)
	d.limit = callTimeout
	get := func() error {
		_, err := d.CacheGet(context.Background(), "acme", "k")
		return err
	}
	server.Freeze()
	for end := time.Now().Add(time.Minute); !errors.Is(get(), errAway); {
		if time.Now().After(end) {
			t.Fatal("it is not noticed")
		}
	}
	if d.Health() == nil {
		t.Error("it is well")
	}
	server.Thaw()
	for end := time.Now().Add(time.Minute); !errors.Is(get(), store.ErrNotFound); time.Sleep(retryTime / 10) {
		if time.Now().After(end) {
			t.Fatalf("it stays away: %v", get())
		}
	}
	waitUntilBack(t, d)
}
