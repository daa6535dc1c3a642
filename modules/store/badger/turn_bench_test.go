package badger

import (
	"fmt"
	"strings"
	"testing"
	"time"

	kv "github.com/dgraph-io/badger/v4"
	"github.com/google/uuid"

	"github.com/caddy-chat/caddy-chat/modules/store"
)

// BenchmarkTurn is what the store does for one answer of POST /chat: the claim,
// the question, the history, 64 events in 8 batches, the answer and the end.
// The floor is two commits of Badger, see BenchmarkCommit.
func BenchmarkTurn(b *testing.B) {
	for _, tc := range []struct {
		name    string
		session func(n int) string
		opts    store.AppendOptions
	}{
		{"of a new session", func(int) string { return uuid.NewString() }, store.AppendOptions{Create: true, Title: "a title"}},
		{"of a long session", func(int) string { return "7b0d1e3c-2f3a-4c5d-8e9f-000000000001" },
			store.AppendOptions{Create: true, Title: "a title", Retention: 24 * time.Hour, MaxMessages: 200}},
		{"of a thousand sessions", func(n int) string { return fmt.Sprintf("7b0d1e3c-2f3a-4c5d-8e9f-%012d", n%1000) },
			store.AppendOptions{Create: true, Title: "a title", Retention: 24 * time.Hour}},
	} {
		b.Run(tc.name, func(b *testing.B) {
			d := openAt(b, Badger{Path: b.TempDir()}, time.Now)
			b.ReportAllocs()
			for n := 0; b.Loop(); n++ {
				playTurn(b, d, store.SessionKey{User: "anna", ID: tc.session(n)}, tc.opts)
			}
		})
	}
}

var benchText = strings.Repeat("These are some words of an answer. ", 10)

func playTurn(b *testing.B, d *db, s store.SessionKey, opts store.AppendOptions) {
	ctx, id := b.Context(), uuid.NewString()
	check := func(err error) {
		if err != nil {
			b.Fatal(err)
		}
	}
	_, err := d.Claim(ctx, "acme", s, id, time.Minute)
	check(err)
	check(d.Append(ctx, "acme", s, opts, benchMessage("user")))
	_, _, err = d.History(ctx, "acme", s, store.Range{Limit: 20})
	check(err)
	batch := make([]store.Event, 8)
	for i := range 8 {
		for j := range batch {
			batch[j] = store.Event{N: 8*i + j + 1, Kind: 'd', Data: []byte("some words")}
		}
		check(d.Publish(ctx, "acme", s, id, batch...))
	}
	opts.Create = false
	check(d.Append(ctx, "acme", s, opts, benchMessage("assistant")))
	check(d.FinishTurn(ctx, "acme", s, id, time.Minute, store.Event{N: 65, Kind: 'e', Data: []byte("done")}))
}

func benchMessage(role string) *store.Message {
	return &store.Message{
		ID: "01937f3e-7a5b-7c3d-8e9f-0123456789ab", Role: role, Content: benchText, Time: time.Now(),
		TokenCount: 90, ModelID: "fast", Status: store.StatusComplete,
	}
}

// BenchmarkCommit is the smallest transaction: one short entry.
func BenchmarkCommit(b *testing.B) {
	d := openAt(b, Badger{Path: b.TempDir()}, time.Now)
	value := make([]byte, 500)
	b.ReportAllocs()
	for n := uint64(1); b.Loop(); n++ {
		key := messageKey([]byte("bench"), n)
		if err := d.commit(func(txn *kv.Txn) error { return txn.Set(key, value) }); err != nil {
			b.Fatal(err)
		}
	}
}
