package badger

import (
	"context"
	"encoding/hex"
	"strings"
	"testing"
	"time"

	kv "github.com/dgraph-io/badger/v4"

	"github.com/caddy-chat/caddy-chat/modules/store"
)

// TestKeyRotation changes the key as Badger's own tool does, which
// docs/operations.md tells to run.
func TestKeyRotation(t *testing.T) {
	ctx, other := context.Background(), strings.Repeat("ff", 32)
	dir, s := t.TempDir(), store.SessionKey{User: "anna", ID: "one"}
	d := openAt(t, Badger{Path: dir, EncryptionKey: testKey}, time.Now)
	must(t, d.Append(ctx, "acme", s, store.AppendOptions{Create: true}, message("before")))
	must(t, d.Close())

	from, err := hex.DecodeString(testKey)
	must(t, err)
	to, err := hex.DecodeString(other)
	must(t, err)
	keys, err := kv.OpenKeyRegistry(kv.KeyRegistryOptions{Dir: dir, ReadOnly: true, EncryptionKey: from, EncryptionKeyRotationDuration: 240 * time.Hour})
	must(t, err)
	must(t, kv.WriteKeyRegistry(keys, kv.KeyRegistryOptions{Dir: dir, EncryptionKey: to}))

	_, err = provisioned(t, Badger{Path: dir, EncryptionKey: testKey}).open(quiet(t), time.Now, 0)
	if err == nil || !strings.Contains(err.Error(), "encryption_key does not fit the store in ") {
		t.Errorf("with the old key: %v", err)
	}
	d = openAt(t, Badger{Path: dir, EncryptionKey: other}, time.Now)
	must(t, d.Append(ctx, "acme", s, store.AppendOptions{}, message("after")))
	must(t, d.Close())
	d = openAt(t, Badger{Path: dir, EncryptionKey: other}, time.Now)
	msgs, _, err := d.History(ctx, "acme", s, store.Range{Limit: 10})
	must(t, err)
	if len(msgs) != 2 {
		t.Errorf("the session has %+v", msgs)
	}
}
