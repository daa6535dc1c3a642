package badger

import (
	"context"
	"testing"
	"time"

	kv "github.com/dgraph-io/badger/v4"

	"github.com/caddy-chat/caddy-chat/modules/store"
)

// TestEarlierRecords reads a message as the first version wrote it: without
// raw, and with what HTML has a meaning for escaped.
func TestEarlierRecords(t *testing.T) {
	const record = `{"id":"0198f1a2-0000-7000-8000-000000000001","role":"assistant","content":"a \u003cb\u003e","time":"2026-01-02T03:04:05.678Z","tokens":2,"model":"fast","status":"partial"}`
	ctx := context.Background()
	d := openAt(t, Badger{Path: t.TempDir()}, time.Now)
	s := store.SessionKey{User: "anna", ID: "one"}
	must(t, d.Append(ctx, "acme", s, store.AppendOptions{Create: true}, message("to be replaced")))
	must(t, d.disk.Update(func(txn *kv.Txn) error {
		m, err := loadMeta(txn, sessionKey("acme", s))
		if err != nil {
			return err
		}
		return txn.Set(messageKey(messagePrefix("acme", m.Incarnation), 1), stamped(never, []byte(record)))
	}))

	msgs, _, err := d.History(ctx, "acme", s, store.Range{Limit: 1})
	must(t, err)
	got := msgs[0]
	if got.Content != "a <b>" || got.Raw != nil || got.Role != "assistant" || got.TokenCount != 2 || got.ModelID != "fast" ||
		got.Status != store.StatusPartial || !got.Time.Equal(time.Date(2026, 1, 2, 3, 4, 5, 678e6, time.UTC)) {
		t.Errorf("got %+v", got)
	}
}
