package badger

import (
	"bytes"
	"context"
	"encoding/json"
	"testing"
	"time"

	kv "github.com/dgraph-io/badger/v4"

	"github.com/caddy-chat/caddy-chat/modules/store"
)

// TestEarlierRecords reads a session and a message as earlier versions wrote
// them: as JSON, and the first one without raw and with what HTML has a meaning
// for escaped.
func TestEarlierRecords(t *testing.T) {
	const record = `{"id":"0198f1a2-0000-7000-8000-000000000001","role":"assistant","content":"a \u003cb\u003e","time":"2026-01-02T03:04:05.678Z","tokens":2,"model":"fast","status":"partial"}`
	ctx := context.Background()
	d := openAt(t, Badger{Path: t.TempDir()}, time.Now)
	s := store.SessionKey{User: "anna", ID: "one"}
	must(t, d.Append(ctx, "acme", s, store.AppendOptions{Create: true, Title: "a title"}, message("to be replaced")))
	must(t, d.disk.Update(func(txn *kv.Txn) error {
		m, err := loadMeta(txn, sessionKey("acme", s))
		if err != nil {
			return err
		}
		text, err := json.Marshal(m)
		if err != nil {
			return err
		}
		if err := txn.Set(sessionKey("acme", s), text); err != nil {
			return err
		}
		return txn.Set(messageKey(messagePrefix("acme", m.Incarnation), 1), stamped(never, []byte(record)))
	}))

	must(t, d.Append(ctx, "acme", s, store.AppendOptions{}, message("a new one")))
	msgs, _, err := d.History(ctx, "acme", s, store.Range{Limit: 9})
	must(t, err)
	got := msgs[0]
	if got.Content != "a <b>" || got.Raw != nil || got.Role != "assistant" || got.TokenCount != 2 || got.ModelID != "fast" ||
		got.Status != store.StatusPartial || !got.Time.Equal(time.Date(2026, 1, 2, 3, 4, 5, 678e6, time.UTC)) {
		t.Errorf("got %+v", got)
	}
	if len(msgs) != 2 || msgs[1].Content != "a new one" {
		t.Errorf("got %+v", msgs)
	}
	list, _, err := d.Sessions(ctx, "acme", "anna", nil, 9)
	must(t, err)
	if len(list) != 1 || list[0].Title != "a title" || list[0].Messages != 2 {
		t.Errorf("got %+v", list)
	}
}

// FuzzMessage writes and reads messages, and reads what never was one.
func FuzzMessage(f *testing.F) {
	f.Add("id", "user", "content", "", []byte(nil), int64(0), int64(0), 0)
	f.Add("", "tool", "\xff\x00", "fast", []byte(`{"a":1}`), int64(-1<<40), int64(999_999_999), -1)
	f.Fuzz(func(t *testing.T, id, role, content, model string, raw []byte, sec, nsec int64, tokens int) {
		in := store.Message{
			ID: id, Role: role, Content: content, ModelID: model, Status: store.StatusPartial, TokenCount: tokens,
			Time: time.Unix(sec, nsec), Raw: bytes.Clone(raw),
		}
		value := encodeMessage(&in)
		got, err := decodeMessage(value)
		if err != nil || got.ID != id || got.Role != role || got.Content != content || got.ModelID != model ||
			got.Status != in.Status || got.TokenCount != tokens || !got.Time.Equal(in.Time) || !bytes.Equal(got.Raw, raw) {
			t.Fatalf("%+v became %+v, %v", in, got, err)
		}
		for n := range value[:len(value)-len(raw)] {
			if _, err := decodeMessage(value[:n]); err == nil {
				t.Fatalf("the first %d bytes are taken for a message", n)
			}
		}
		_, _ = decodeMessage(raw)
		_, _ = decodeMeta(raw)
	})
}

func TestMeta(t *testing.T) {
	for _, in := range []meta{
		{},
		{Incarnation: []byte("0123456789abcdef"), Title: "a title", Created: -5, Updated: 7, First: 3, Next: 1 << 40, Soonest: never, Latest: never},
		{Incarnation: []byte{0}, Mixed: true, Soonest: 1, Latest: 2},
	} {
		value := encodeMeta(&in)
		got, err := decodeMeta(value)
		must(t, err)
		if !bytes.Equal(encodeMeta(got), value) || string(got.Incarnation) != string(in.Incarnation) || got.Mixed != in.Mixed || got.Next != in.Next {
			t.Errorf("%+v became %+v", in, got)
		}
		for n := range len(value) - 1 {
			if _, err := decodeMeta(value[:n]); err == nil {
				t.Errorf("the first %d bytes are taken for a session", n)
			}
		}
	}
}
