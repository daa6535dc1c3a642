package redis

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"
	"go.uber.org/zap"

	"github.com/caddy-chat/caddy-chat/modules/store"
	"github.com/caddy-chat/caddy-chat/modules/store/redis/redistest"
)

// openFails opens a store and returns the error. It fails the test if the error shows
// the password, which is "secret".
func openFails(t *testing.T, r *Redis) string {
	t.Helper()
	if err := r.Provision(caddy.Context{}); err != nil {
		t.Fatal(err)
	}
	d, err := r.open(zap.NewNop(), nil)
	if err == nil {
		d.Close()
		t.Fatal("it opens")
	}
	if strings.Contains(err.Error(), "secret") {
		t.Errorf("the error shows the password: %v", err)
	}
	return err.Error()
}

func wantIn(t *testing.T, text string, words ...string) {
	t.Helper()
	for _, w := range words {
		if !strings.Contains(text, w) {
			t.Errorf("%q does not say %q", text, w)
		}
	}
}

func becomes(t *testing.T, what string, is func() bool) {
	t.Helper()
	for end := time.Now().Add(time.Minute); !is(); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("still waiting: %s", what)
		}
	}
}

// TestCommands checks that the start asks for every command of the page's user.
func TestCommands(t *testing.T) {
	list, err := commands()
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []string{"HGET", "XADD", "ZREVRANGEBYSCORE", "PUBLISH", "SPUBLISH", "SSUBSCRIBE", "TIME"} {
		if !slices.Contains(list, c) {
			t.Errorf("%s is not checked", c)
		}
	}
}

// TestForbidden opens the store as users that lack something.
func TestForbidden(t *testing.T) {
	server := redistest.Start(t)
	for _, c := range []struct {
		name string
		rule []string
		want string
	}{
		{"a_command_of_a_script", []string{"~chat:*", "&chat:*", "+@all", "-xadd"}, "XADD"},
		{"scripts", []string{"~chat:*", "&chat:*", "+@all", "-evalsha"}, "evalsha"},
		{"keys", []string{"~other:*", "&chat:*", "+@all"}, "keys that begin with chat:"},
		{"channels", []string{"~chat:*", "+@all"}, "PUBLISH"},
		{"hearing_of_cancels", []string{"~chat:*", "&chat:*", "+@all", "-subscribe"}, "SUBSCRIBE"},
		{"hearing_of_events", []string{"~chat:*", "&chat:*", "+@all", "-ssubscribe"}, "SSUBSCRIBE"},
		{"databases", []string{"~chat:*", "&chat:*", "+@all", "-select"}, "select"},
	} {
		t.Run(c.name, func(t *testing.T) {
			server.Command(append([]string{"ACL", "SETUSER", "chat", "reset", "on", ">secret"}, c.rule...)...)
			wantIn(t, openFails(t, &Redis{URL: "redis://chat:secret@" + server.Addr + "/5"}), c.want)
		})
	}
	t.Run("a_wrong_password", func(t *testing.T) {
		wantIn(t, openFails(t, &Redis{URL: "redis://chat:not-secret@" + server.Addr}), "WRONGPASS")
	})
	t.Run("a_password_is_missing", func(t *testing.T) {
		locked := redistest.Start(t)
		locked.Command("ACL", "SETUSER", "chat", "on", ">secret", "+@all", "~*", "&*")
		locked.Command("ACL", "SETUSER", "default", "-@all")
		wantIn(t, openFails(t, &Redis{URL: locked.URL()}), "NOPERM")
	})
}

// TestUnfit opens the store on servers that cannot be used.
func TestUnfit(t *testing.T) {
	t.Run("scripts_are_renamed", func(t *testing.T) {
		server := redistest.Start(t, "--rename-command", "EVALSHA", "hidden")
		wantIn(t, openFails(t, &Redis{URL: server.URL()}), "EVALSHA")
	})
	t.Run("a_replica", func(t *testing.T) {
		master := redistest.Start(t)
		replica := redistest.Start(t, "--replicaof", strings.ReplaceAll(master.Addr, ":", " "))
		wantIn(t, openFails(t, &Redis{URL: replica.URL()}), "replica", "READONLY")
	})
	t.Run("a_database_that_is_not_there", func(t *testing.T) {
		wantIn(t, openFails(t, &Redis{URL: redistest.Start(t).URL() + "/99"}), "DB index")
	})
	t.Run("a_database_of_a_cluster", func(t *testing.T) {
		one, _, _ := strings.Cut(redistest.StartCluster(t).URL(), "?") // of several it is known before
		wantIn(t, openFails(t, &Redis{URL: one + "/5"}), "SELECT")
	})
	t.Run("several_servers_that_are_no_cluster", func(t *testing.T) {
		url := redistest.Start(t).URL() + "?addr=" + redistest.Start(t).Addr
		wantIn(t, openFails(t, &Redis{URL: url}), "nodes of a cluster, or sentinels")
	})
}

// TestRefused has a server refuse writes after the store was opened.
func TestRefused(t *testing.T) {
	ctx := context.Background()
	for name, c := range map[string]struct {
		begin, end []string
		want       string
	}{
		"full":       {[]string{"CONFIG", "SET", "maxmemory", "1"}, []string{"CONFIG", "SET", "maxmemory", "0"}, "OOM"},
		"replica":    {[]string{"REPLICAOF", "127.0.0.1", "1"}, []string{"REPLICAOF", "NO", "ONE"}, "READONLY"},
		"replicas":   {[]string{"CONFIG", "SET", "min-replicas-to-write", "1"}, []string{"CONFIG", "SET", "min-replicas-to-write", "0"}, "NOREPLICAS"},
		"permission": {[]string{"ACL", "SETUSER", "chat", "-set", "-hset"}, []string{"ACL", "SETUSER", "chat", "+set", "+hset"}, "HSET"},
	} {
		t.Run(name, func(t *testing.T) {
			server := redistest.Start(t)
			server.Command("ACL", "SETUSER", "chat", "on", ">secret", "~*", "&*", "+@all")
			d := openAt(t, "redis://chat:secret@"+server.Addr, "chat:", nil)
			n := 0
			put := func() error {
				n++
				return d.CachePut(ctx, "acme", fmt.Sprint(n), []byte("value"), time.Hour)
			}
			if err := put(); err != nil {
				t.Fatal(err)
			}
			server.Command(c.begin...)
			if put() == nil {
				t.Fatal("the write is accepted")
			}
			if _, err := d.CacheGet(ctx, "acme", "1"); err != nil {
				t.Errorf("reading: %v", err)
			}
			becomes(t, "the store says why", func() bool {
				err := d.Health()
				if err == nil {
					t.Fatal("the store says that it is well")
				}
				return strings.Contains(err.Error(), c.want)
			})
			server.Command(c.end...)
			becomes(t, "the store is well", func() bool { return d.Health() == nil })
			if err := put(); err != nil {
				t.Error(err)
			}
		})
	}
}

// TestStartsFull opens the store on a server that refuses writes for the moment.
func TestStartsFull(t *testing.T) {
	server := redistest.Start(t, "--maxmemory", "1")
	d := openAt(t, server.URL(), "chat:", nil)
	if err := d.Health(); err == nil || !strings.Contains(err.Error(), "OOM") {
		t.Errorf("health is %v", err)
	}
	server.Command("CONFIG", "SET", "maxmemory", "0")
	becomes(t, "the store is well", func() bool { return d.Health() == nil })
}

// TestHealthy checks that what is not there is no failure of the server.
func TestHealthy(t *testing.T) {
	d := openAt(t, redistest.Start(t).URL(), "chat:", nil)
	if _, err := d.CacheGet(context.Background(), "acme", "no such key"); err == nil {
		t.Fatal("there is a value")
	}
	if err := d.Health(); err != nil {
		t.Error(err)
	}
}

// TestInMidUse has the server forget the scripts, and close the connections.
func TestInMidUse(t *testing.T) {
	ctx := context.Background()
	server := redistest.Start(t)
	d := openAt(t, server.URL(), "chat:", nil)
	s := store.SessionKey{User: "ann", ID: "s"}
	if _, err := d.Claim(ctx, "acme", s, "turn", time.Minute); err != nil {
		t.Fatal(err)
	}
	read := make(chan []store.Event)
	go func() {
		defer close(read)
		for n := 0; n < 3; {
			_, evs, err := d.Follow(ctx, "acme", s, "turn", n)
			if err != nil {
				t.Error(err)
				return
			}
			n = evs[len(evs)-1].N
			read <- evs
		}
	}()
	publish := func(n int) {
		t.Helper()
		if err := d.Publish(ctx, "acme", s, "turn", store.Event{N: n, Kind: 't', Data: []byte("x")}); err != nil {
			t.Fatal(err)
		}
		if evs := <-read; len(evs) != 1 || evs[0].N != n {
			t.Fatalf("the follower gets %v", evs)
		}
	}
	publish(1)
	server.Command("SCRIPT", "FLUSH")
	publish(2)
	server.Command("CLIENT", "KILL", "TYPE", "normal")
	server.Command("CLIENT", "KILL", "TYPE", "pubsub")
	publish(3)
	becomes(t, "the store is well", func() bool { return d.Health() == nil })
}

// TestFull checks that a server whose memory is full refuses what would begin, and goes
// on with all else.
func TestFull(t *testing.T) {
	ctx := context.Background()
	server := redistest.Start(t)
	d := openAt(t, server.URL(), "chat:", nil)
	s, other := store.SessionKey{User: "ann", ID: "s"}, store.SessionKey{User: "ann", ID: "other"}
	takes := []store.Take{{Key: "k", Slots: 5, Windows: []store.Window{{Limit: 5, Length: time.Hour}}}}
	budgets := []store.Budget{{Key: "day", Want: 10, Until: time.Now().Add(time.Hour)}}
	message := func() *store.Message {
		return &store.Message{ID: "1", Role: "user", Content: "hello", Time: time.Now(), Status: store.StatusComplete}
	}
	begin := func(s store.SessionKey, id string) error {
		b := store.Beginning{Turn: id, Lease: time.Minute, Past: store.Range{Limit: 10}}
		_, err := d.Begin(ctx, "acme", s, b, message())
		return err
	}
	take := func() error { _, _, err := d.Take(ctx, "acme", takes); return err }
	reserve := func(id string) error { _, err := d.Reserve(ctx, "acme", id, time.Minute, budgets); return err }
	claim := func(id string) error { _, err := d.Claim(ctx, "acme", other, id, time.Minute); return err }
	put := func() error { return d.CachePut(ctx, "acme", "key", []byte("value"), time.Hour) }
	finish := func(s store.SessionKey, id string) error {
		return d.FinishTurn(ctx, "acme", s, id, time.Minute, store.Event{N: 2, Kind: 'd'})
	}
	if err := errors.Join(begin(s, "turn"), take(), reserve("one"), claim("turn"), finish(other, "turn"), put()); err != nil {
		t.Fatal(err)
	}
	server.Command("CONFIG", "SET", "maxmemory", "1")
	for what, err := range map[string]error{
		"beginning": begin(other, "new"), "claiming": claim("new"), "taking": take(), "reserving": reserve("two"), "caching": put(),
	} {
		if err == nil || !strings.Contains(err.Error(), "OOM") {
			t.Errorf("%s: %v", what, err)
		}
	}
	_, err := d.Settle(ctx, "acme", "one", budgets)
	_, _, history := d.History(ctx, "acme", s, store.Range{Limit: 10})
	for what, err := range map[string]error{
		"publishing": d.Publish(ctx, "acme", s, "turn", store.Event{N: 1, Kind: 't'}),
		"appending":  d.Append(ctx, "acme", s, store.AppendOptions{Turn: "turn"}, message()),
		"finishing":  finish(s, "turn"),
		"settling":   err,
		"reading":    history,
		"releasing":  d.Release(ctx, "acme", takes),
		"deleting":   d.Delete(ctx, "acme", s),
	} {
		if err != nil {
			t.Errorf("%s: %v", what, err)
		}
	}
	if n := d.Waiting(); n > 0 {
		t.Errorf("%d writes wait", n)
	}
}
