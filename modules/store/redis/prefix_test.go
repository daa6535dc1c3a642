package redis

import (
	"strings"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"

	"github.com/caddy-chat/caddy-chat/modules/store"
	"github.com/caddy-chat/caddy-chat/modules/store/redis/redistest"
)

// TestPrefixes has two installations on one server that know nothing of each other.
func TestPrefixes(t *testing.T) {
	server := redistest.Start(t)
	for name, prefix := range map[string][2]string{
		"one begins with the other": {"a:", "a:b:"},
		"one is a pattern":          {"abc:", "a*[a-z]?"},
		"long ones":                 {strings.Repeat("p", 5000), strings.Repeat("p", 5001)},
		"spaces":                    {"a b", "a  b"},
	} {
		t.Run(name, func(t *testing.T) {
			knowNothing(t, openAt(t, server.URL(), prefix[0], nil), openAt(t, server.URL(), prefix[1], nil))
		})
	}
}

func knowNothing(t *testing.T, a, b *db) {
	t.Helper()
	s := store.SessionKey{User: "ann", ID: "0198f000-0000-7000-8000-000000000001"}
	ctx := t.Context()
	cancelled, err := a.Claim(ctx, "acme", s, "t1", time.Minute)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := b.Claim(ctx, "acme", s, "t1", time.Minute); err != nil {
		t.Errorf("the session is busy for the other one: %v", err)
	}
	followed := make(chan []store.Event, 1)
	go func() {
		_, evs, _ := b.Follow(ctx, "acme", s, "t1", 0)
		followed <- evs
	}()
	becomes(t, "the follower waits", func() bool {
		f := b.feeds.get(turnKey{"acme", s}, "t1", 0)
		return f != nil && !f.idle()
	})
	if err := a.FinishTurn(ctx, "acme", s, "t1", time.Minute, store.Event{N: 1, Kind: 'a'}); err != nil {
		t.Fatal(err)
	}
	if err := b.Publish(ctx, "acme", s, "t1", store.Event{N: 1, Kind: 'b'}); err != nil {
		t.Fatal(err)
	}
	if evs := <-followed; len(evs) != 1 || evs[0].Kind != 'b' {
		t.Errorf("the follower gets %v", evs)
	}
	if was, err := b.CancelTurn(ctx, "acme", s, ""); !was || err != nil {
		t.Errorf("cancelling: %v, %v", was, err)
	}
	select {
	case <-cancelled:
		t.Error("the other one's turn was cancelled")
	default:
	}
	if err := b.EraseTenant(ctx, "acme"); err != nil {
		t.Fatal(err)
	}
	if turn, evs, err := a.Follow(ctx, "acme", s, "", 0); err != nil || turn != "t1" || len(evs) != 1 {
		t.Errorf("the other one's turn is gone: %q, %v, %v", turn, evs, err)
	}
	b.note("acme", errForbidden)
	if err := a.Health(); err != nil {
		t.Errorf("the other one says %v", err)
	}
}

// TestBadPrefix has prefixes that are refused where the Caddyfile cannot be checked.
func TestBadPrefix(t *testing.T) {
	t.Setenv("PREFIX", "a{b}")
	for prefix, want := range map[string]string{
		"a{":           "prefix: want no braces",
		"}":            "prefix: want no braces",
		"{env.PREFIX}": "prefix: want no braces",
		"{env.NONE}":   "prefix: ",
	} {
		if err := (&Redis{Prefix: prefix}).Provision(caddy.Context{}); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %s", prefix, err, want)
		}
	}
}
