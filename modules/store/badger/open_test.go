package badger

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	kv "github.com/dgraph-io/badger/v4"

	"github.com/caddy-chat/caddy-chat/modules/store"
)

func TestReopen(t *testing.T) {
	ctx := context.Background()
	dir := t.TempDir()
	s := store.SessionKey{User: "anna", ID: "one"}
	takes := []store.Take{{Key: "user\x00\xff", Windows: []store.Window{{Limit: 3, Length: time.Hour}}, Slots: 1}}
	day := []store.Budget{{Key: "day", Limit: 100, Want: 60}}

	d := openAt(t, Badger{Path: dir}, time.Now)
	must(t, d.Append(ctx, "acme", s, store.AppendOptions{Create: true}, message("hello")))
	must(t, d.CachePut(ctx, "acme", "k", []byte("v"), time.Hour))
	for range 2 {
		if _, granted, err := d.Take(ctx, "acme", takes); !granted || err != nil {
			t.Fatalf("take: %v, %v", granted, err)
		}
		must(t, d.Release(ctx, "acme", takes))
	}
	if _, granted, _ := d.Take(ctx, "acme", takes); !granted { // a slot in use at the end
		t.Fatal("third take was refused")
	}
	_, err := d.Settle(ctx, "acme", "a", []store.Budget{{Key: "day", Want: 30}})
	must(t, err)
	_, err = d.Reserve(ctx, "acme", "b", time.Hour, day)
	must(t, err)
	if _, err := d.Claim(ctx, "acme", s, "t", time.Hour); err != nil {
		t.Fatal(err)
	}
	must(t, d.Close())

	d = openAt(t, Badger{Path: dir}, time.Now)
	msgs, _, err := d.History(ctx, "acme", s, store.Range{Limit: 10})
	if err != nil || len(msgs) != 1 || msgs[0].Content != "hello" {
		t.Errorf("history: %v, %v", msgs, err)
	}
	if v, err := d.CacheGet(ctx, "acme", "k"); err != nil || string(v) != "v" {
		t.Errorf("cache: %q, %v", v, err)
	}
	got, granted, err := d.Take(ctx, "acme", takes)
	if granted || err != nil {
		t.Errorf("the windows did not survive: %+v, %v", got, err)
	}
	if !got[0].SlotFree {
		t.Error("a slot outlived its process")
	}
	balances, err := d.Balances(ctx, "acme", day)
	if err != nil || balances[0] != (store.Balance{Used: 30}) {
		t.Errorf("balance: %+v, %v", balances, err)
	}
	if _, err := d.Claim(ctx, "acme", s, "t2", time.Hour); err != nil {
		t.Errorf("a claim outlived its process: %v", err)
	}
	if n := count(t, d, []byte{spaceLimits}); n != 0 {
		t.Errorf("%d saved limits are left after opening", n)
	}
}

func TestOpenEndsDeletions(t *testing.T) {
	ctx := context.Background()
	dir := t.TempDir()
	d := openAt(t, Badger{Path: dir}, time.Now)
	s := store.SessionKey{User: "anna", ID: "one"}
	must(t, d.Append(ctx, "acme", s, store.AppendOptions{Create: true}, message("1"), message("2")))
	if _, err := d.unlink("acme", s); err != nil { // and then a crash
		t.Fatal(err)
	}
	if n := count(t, d, concern("acme", letterMessage)); n != 2 {
		t.Fatalf("%d messages, want 2", n)
	}
	must(t, d.Close())

	d = openAt(t, Badger{Path: dir}, time.Now)
	if n := count(t, d, nil); n != 0 {
		t.Errorf("%d keys are left", n)
	}
}

func TestDeletionLeavesNothing(t *testing.T) {
	ctx := context.Background()
	d := openAt(t, Badger{Path: t.TempDir()}, time.Now)
	s := store.SessionKey{User: "anna", ID: "one"}
	var msgs []*store.Message
	for range 9000 { // more than one batch of keys
		msgs = append(msgs, message("x"))
	}
	must(t, d.Append(ctx, "acme", s, store.AppendOptions{Create: true}, msgs...))
	must(t, d.Append(ctx, "acme", s, store.AppendOptions{MaxMessages: 5000}, message("x")))
	if n := count(t, d, concern("acme", letterMessage)); n != 5000 {
		t.Errorf("%d messages on disk after pruning, want 5000", n)
	}
	must(t, d.Delete(ctx, "acme", s))
	if n := count(t, d, nil); n != 0 {
		t.Errorf("%d keys are left", n)
	}
}

func TestOpenWhileLocked(t *testing.T) {
	dir := t.TempDir()
	first := openAt(t, Badger{Path: dir}, time.Now)
	b := provisioned(t, Badger{Path: dir})

	_, err := b.open(quiet(t), time.Now, 0)
	location, _ := b.Location()
	want := "opening the store: another process holds " + location
	if err == nil || err.Error() != want {
		t.Fatalf("error is %v, want %s", err, want)
	}

	opened := make(chan error)
	go func() {
		d, err := b.open(quiet(t), time.Now, time.Minute)
		if err == nil {
			err = d.Close()
		}
		opened <- err
	}()
	must(t, first.Close())
	must(t, <-opened)
}

// TestOpenAfterKillAtRemoval has files that Badger was about to remove when
// its process was killed: it empties a file before it removes it.
func TestOpenAfterKillAtRemoval(t *testing.T) {
	for _, b := range []Badger{{}, {EncryptionKey: testKey}} {
		b.Path = t.TempDir()
		s := store.SessionKey{User: "anna", ID: "one"}
		d := openAt(t, b, time.Now)
		must(t, d.Append(context.Background(), "acme", s, store.AppendOptions{Create: true}, message("hello")))
		must(t, d.Close())
		for _, name := range []string{"00000.mem", "00007.mem", "00008.mem", "000000.vlog"} {
			must(t, os.Truncate(createdAt(t, b.Path, name), 0))
		}
		d = openAt(t, b, time.Now)
		msgs, _, err := d.History(context.Background(), "acme", s, store.Range{Limit: 10})
		if err != nil || len(msgs) != 1 || msgs[0].Content != "hello" {
			t.Errorf("history: %v, %v", msgs, err)
		}
		must(t, d.Append(context.Background(), "acme", s, store.AppendOptions{}, message("and on")))
		must(t, d.Close())
	}
}

// createdAt makes sure that there is such a file.
func createdAt(t *testing.T, dir, name string) string {
	t.Helper()
	path := filepath.Join(dir, name)
	f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o600)
	must(t, err)
	must(t, f.Close())
	return path
}

func TestEncryption(t *testing.T) {
	const secret = "a text that must not be on the disk"
	other := strings.Repeat("ff", 32)
	for _, tc := range []struct {
		name, made, opened, want string
	}{
		{"the_same_key", testKey, testKey, ""},
		{"another_key", testKey, other, "encryption_key does not fit the store in "},
		{"no_key", testKey, "", "is encrypted: encryption_key is missing"},
		{"a_key_for_a_store_without_one", "", testKey, "encryption_key does not fit the store in "},
	} {
		t.Run(tc.name, func(t *testing.T) {
			dir := t.TempDir()
			d := openAt(t, Badger{Path: dir, EncryptionKey: tc.made}, time.Now)
			s := store.SessionKey{User: "anna", ID: "one"}
			must(t, d.Append(context.Background(), "acme", s, store.AppendOptions{Create: true},
				message(secret), message(strings.Repeat(secret, 2000))))
			must(t, d.Close())
			if tc.made != "" && onDisk(t, dir, secret) {
				t.Error("the text is readable on disk")
			}

			d, err := provisioned(t, Badger{Path: dir, EncryptionKey: tc.opened}).open(quiet(t), time.Now, 0)
			if tc.want == "" {
				must(t, err)
				must(t, d.Close())
				return
			}
			if err == nil || !strings.Contains(err.Error(), tc.want) {
				t.Fatalf("error is %v, want %s", err, tc.want)
			}
			if strings.Contains(err.Error(), tc.opened) && tc.opened != "" {
				t.Error("the error holds the key")
			}
		})
	}
}

func onDisk(t *testing.T, dir, text string) bool {
	t.Helper()
	files, err := os.ReadDir(dir)
	must(t, err)
	for _, f := range files {
		data, err := os.ReadFile(filepath.Join(dir, f.Name()))
		must(t, err)
		if bytes.Contains(data, []byte(text)) {
			return true
		}
	}
	return false
}

func TestLargeValues(t *testing.T) {
	ctx := context.Background()
	d := openAt(t, Badger{Path: t.TempDir()}, time.Now)
	s := store.SessionKey{User: "anna", ID: "one"}
	for _, size := range []int{1 << 20, 8 << 20, maxValue - 1024} {
		must(t, d.Append(ctx, "acme", s, store.AppendOptions{Create: true}, message(strings.Repeat("x", size))))
		msgs, _, err := d.History(ctx, "acme", s, store.Range{Limit: 1})
		if err != nil || len(msgs[0].Content) != size {
			t.Fatalf("%d bytes: %v", size, err)
		}
	}
	err := d.Append(ctx, "acme", s, store.AppendOptions{Create: true}, message(strings.Repeat("x", maxValue)))
	if err == nil || len(err.Error()) > 200 {
		t.Fatalf("too large a message: %v", err)
	}
}

func TestFullDisk(t *testing.T) {
	ctx := context.Background()
	small := newSmallDisk()
	b := Badger{Path: t.TempDir(), space: small.space}
	d := openAt(t, b, time.Now)
	s := store.SessionKey{User: "anna", ID: "one"}
	other := store.SessionKey{User: "anna", ID: "two"}
	must(t, d.Append(ctx, "acme", s, store.AppendOptions{Create: true}, message("1")))
	must(t, d.Append(ctx, "acme", other, store.AppendOptions{Create: true}, message("1")))
	counter := []store.Budget{{Key: "tokens/day", Limit: 100, Want: 10}}
	_, err := d.Reserve(ctx, "acme", "begun", time.Minute, counter)
	must(t, err)

	small.has(maxReserve - 1)
	wantFull(t, d.Append(ctx, "acme", s, store.AppendOptions{Create: true}, message("2")))
	wantFull(t, d.CachePut(ctx, "acme", "k", nil, time.Hour))
	_, err = d.Reserve(ctx, "acme", "new", time.Minute, counter)
	wantFull(t, err)
	counter[0].Want = 20 // what has begun goes on
	_, err = d.Reserve(ctx, "acme", "begun", time.Minute, counter)
	must(t, err)
	must(t, d.Delete(ctx, "acme", s)) // makes room
	if d.Health() == nil {
		t.Error("the store is healthy on a full disk")
	}

	small.has(0)
	for range 3 {
		wantFull(t, d.Delete(ctx, "acme", other))
		wantFull(t, d.Retract(ctx, "acme", other, 1, 1))
		wantFull(t, d.EraseTenant(ctx, "acme"))
	}

	small.has(512 << 20)
	must(t, d.Append(ctx, "acme", other, store.AppendOptions{}, message("2")))
	if err := d.Health(); err != nil {
		t.Errorf("with room: %v", err)
	}

	small.has(0)
	wantFull(t, d.Close())
	small.has(openRoom - 1)
	_, err = provisioned(t, b).open(quiet(t), time.Now, 0)
	wantFull(t, err)
}

func TestSize(t *testing.T) {
	d := openAt(t, Badger{Path: t.TempDir()}, time.Now)
	before := d.Size()
	// A new value log is 128 MiB long and takes next to nothing.
	if before <= 0 || before > 8<<20 {
		t.Errorf("an empty store takes %d bytes", before)
	}
	must(t, d.Append(context.Background(), "acme", store.SessionKey{User: "anna", ID: "one"},
		store.AppendOptions{Create: true}, message(strings.Repeat("x", 10<<20))))
	if d.Size() != before {
		t.Error("the size is not kept for some seconds")
	}
	d.sync()
	if after := usedBytes(d.room.dir); after < before+10<<20 {
		t.Errorf("%d bytes after writing 10 MiB to %d", after, before)
	}
}

func TestFinishedTurnsAreBounded(t *testing.T) {
	ctx := context.Background()
	d := openAt(t, Badger{Path: t.TempDir()}, time.Now)
	key := func(i int) store.SessionKey { return store.SessionKey{User: "anna", ID: string(rune('a' + i))} }
	for i := range 10 {
		_, err := d.Claim(ctx, "acme", key(i), "t", time.Minute)
		must(t, err)
		must(t, d.Publish(ctx, "acme", key(i), "t", store.Event{N: 1, Data: make([]byte, 10<<20)}))
		must(t, d.FinishTurn(ctx, "acme", key(i), "t", time.Hour))
	}
	for i := range 10 {
		_, _, err := d.Follow(ctx, "acme", key(i), "t", 0)
		if old := i < 4; old != errors.Is(err, store.ErrNotFound) {
			t.Errorf("turn %d: %v", i, err)
		}
	}
	if d.turns.bytes > maxFinished || d.turns.bytes < 6*10<<20 {
		t.Errorf("%d bytes counted", d.turns.bytes)
	}
	must(t, d.EraseTenant(ctx, "acme"))
	if d.turns.bytes != 0 || len(d.turns.newest) != 0 || d.turns.finished.Len() != 0 {
		t.Errorf("left: %d bytes, %d turns, %d finished", d.turns.bytes, len(d.turns.newest), d.turns.finished.Len())
	}
}

// Badger's own expiry only frees space; it must never come before ours.
func TestReclaim(t *testing.T) {
	past := time.Date(2001, 1, 1, 0, 0, 0, 0, time.UTC) // a clock far from the system's
	d := openAt(t, Badger{Path: t.TempDir()}, func() time.Time { return past })
	for _, left := range []time.Duration{-time.Hour, 0, time.Millisecond, time.Hour, 100 * 365 * 24 * time.Hour} {
		e := d.reclaim(kv.NewEntry(nil, nil), past.Add(left).UnixMilli())
		if got := time.Until(time.Unix(int64(e.ExpiresAt), 0)); got <= left {
			t.Errorf("with %v left, Badger drops it after %v", left, got)
		}
	}
	if e := d.reclaim(kv.NewEntry(nil, nil), never); e.ExpiresAt != 0 {
		t.Errorf("kept for good, and dropped at %d", e.ExpiresAt)
	}
}

func count(t *testing.T, d *db, prefix []byte) (n int) {
	t.Helper()
	must(t, d.view(func(txn *kv.Txn) error {
		it := txn.NewIterator(keysOnly(prefix))
		defer it.Close()
		for it.Rewind(); it.Valid(); it.Next() {
			n++
		}
		return nil
	}))
	return n
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
