package badger

import (
	"errors"
	"sync/atomic"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"
	"go.uber.org/zap"
	"go.uber.org/zap/zaptest"

	"github.com/caddy-chat/caddy-chat/modules/store"
	"github.com/caddy-chat/caddy-chat/modules/store/storetest"
)

const testKey = "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f"

func provisioned(t testing.TB, b Badger) *Badger {
	t.Helper()
	if err := b.Provision(caddy.Context{}); err != nil {
		t.Fatal(err)
	}
	return &b
}

// openAt opens a store with a clock; closing it twice is fine.
func openAt(t testing.TB, b Badger, now func() time.Time) *db {
	t.Helper()
	d, err := provisioned(t, b).open(quiet(t), now, lockWait)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { d.Close() })
	return d
}

// smallDisk is a disk of 1 GiB with as much room as a test says.
type smallDisk struct{ free atomic.Int64 }

func newSmallDisk() *smallDisk {
	d := new(smallDisk)
	d.has(512 << 20)
	return d
}

func (d *smallDisk) has(free int64) { d.free.Store(free) }

func (d *smallDisk) space(string) (free, total int64, ok bool) { return d.free.Load(), 1 << 30, true }

func wantFull(t testing.TB, err error) {
	t.Helper()
	if _, ok := errors.AsType[*roomError](err); !ok {
		t.Errorf("error is %v, want a full disk", err)
	}
}

func quiet(t testing.TB) *zap.Logger {
	return zaptest.NewLogger(t, zaptest.Level(zap.WarnLevel))
}

func TestStore(t *testing.T) {
	storetest.Run(t, func(t *testing.T, now func() time.Time) store.Store {
		return openAt(t, Badger{Path: t.TempDir()}, now)
	})
}

func TestEncryptedStore(t *testing.T) {
	if testing.Short() {
		t.Skip("the same suite once more")
	}
	storetest.Run(t, func(t *testing.T, now func() time.Time) store.Store {
		return openAt(t, Badger{Path: t.TempDir(), EncryptionKey: testKey}, now)
	})
}
