package chat

import (
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"

	"github.com/caddy-chat/caddy-chat/modules/store"
)

// storeAt is an app with the store in a directory, and with options of it.
func storeAt(t testing.TB, dir, options string) *App {
	t.Helper()
	path, err := json.Marshal(dir)
	must(t, err)
	config := `{"store":{"module":"badger","path":` + string(path) + options + `}}`
	ctx, err := caddy.ProvisionContext(&caddy.Config{AppsRaw: caddy.ModuleMap{"chat": json.RawMessage(config)}})
	must(t, err)
	a, err := FromContext(ctx)
	must(t, err)
	return a
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func mustLease(t testing.TB, a *App) (s store.Store, release func()) {
	t.Helper()
	s, release, err := a.Lease()
	must(t, err)
	return s, release
}

// write says whether a store is open.
func write(t testing.TB, s store.Store) error {
	return s.CachePut(t.Context(), "acme", "key", []byte("value"), time.Hour)
}

func wantOpen(t testing.TB, s store.Store) {
	t.Helper()
	if err := write(t, s); err != nil {
		t.Errorf("the store is not open: %v", err)
	}
}

func wantClosed(t testing.TB, s store.Store) {
	t.Helper()
	if err := write(t, s); !errors.Is(err, store.ErrClosed) {
		t.Errorf("the store is not closed: %v", err)
	}
}

func TestLease(t *testing.T) {
	t.Run("outlives its configuration", func(t *testing.T) {
		a := storeAt(t, t.TempDir(), "")
		must(t, a.Start())
		s, first := mustLease(t, a)
		_, second := mustLease(t, a)
		must(t, a.Cleanup())
		first()
		wantOpen(t, s)
		second()
		wantClosed(t, s)
	})
	t.Run("ends before its configuration", func(t *testing.T) {
		a := storeAt(t, t.TempDir(), "")
		must(t, a.Start())
		s, release := mustLease(t, a)
		release()
		wantOpen(t, s)
		must(t, a.Cleanup())
		wantClosed(t, s)
	})
	t.Run("of a configuration that has not started yet", func(t *testing.T) {
		a := storeAt(t, t.TempDir(), "")
		s, release := mustLease(t, a)
		must(t, a.Start())
		release()
		wantOpen(t, s)
		must(t, a.Cleanup())
		wantClosed(t, s)
	})
	t.Run("of a configuration that is gone", func(t *testing.T) {
		a := storeAt(t, t.TempDir(), "")
		must(t, a.Start())
		must(t, a.Cleanup())
		s, release := mustLease(t, a)
		wantOpen(t, s)
		release()
		wantClosed(t, s)
	})
	t.Run("is of one store for all configurations of a location", func(t *testing.T) {
		dir := t.TempDir()
		link := filepath.Join(t.TempDir(), "link")
		must(t, os.Symlink(dir, link))
		a, b := storeAt(t, dir, ""), storeAt(t, link, "")
		must(t, a.Start())
		must(t, b.Start())
		s, release := mustLease(t, a)
		other, otherRelease := mustLease(t, b)
		if s != other {
			t.Error("two stores are open in one directory")
		}
		must(t, a.Cleanup())
		release()
		otherRelease()
		wantOpen(t, s)
		must(t, b.Cleanup())
		wantClosed(t, s)
	})
	t.Run("stays at the location where the store was opened", func(t *testing.T) {
		dir, other := t.TempDir(), t.TempDir()
		link := filepath.Join(t.TempDir(), "link")
		must(t, os.Symlink(dir, link))
		a := storeAt(t, link, "")
		must(t, a.Start())
		s, release := mustLease(t, a)
		must(t, os.Remove(link))
		must(t, os.Symlink(other, link))
		must(t, a.Cleanup())
		late, lateRelease := mustLease(t, a)
		if s != late {
			t.Error("the lease is of another store")
		}
		release()
		lateRelease()
		wantClosed(t, s)
	})
	t.Run("refuses other options of an open store", func(t *testing.T) {
		dir := t.TempDir()
		a, b := storeAt(t, dir, ""), storeAt(t, dir, `,"sync_writes":true`)
		must(t, a.Start())
		s, release := mustLease(t, a)
		for _, when := range []string{"beside the configuration", "beside a lease of it"} {
			if err := b.Start(); err == nil || !strings.Contains(err.Error(), "restart needed") {
				t.Errorf("%s: %v", when, err)
			}
			if _, _, err := b.Lease(); err == nil || !strings.Contains(err.Error(), "restart needed") {
				t.Errorf("%s: %v", when, err)
			}
			must(t, a.Cleanup())
		}
		release()
		wantClosed(t, s)
		must(t, b.Start())
		must(t, b.Cleanup())
	})
}

// TestLeasesBesideCleanup lets go of a configuration while requests come:
// whoever has a lease has an open store, and the last one closes it.
func TestLeasesBesideCleanup(t *testing.T) {
	for range 3 {
		a := storeAt(t, t.TempDir(), "")
		must(t, a.Start())
		s, release := mustLease(t, a)
		var wg, started sync.WaitGroup
		started.Add(8)
		for range 8 {
			wg.Go(func() {
				for i := range 20 {
					s, release, err := a.Lease()
					if err != nil {
						t.Error(err)
						return
					}
					wantOpen(t, s)
					release()
					if i == 0 {
						started.Done()
					}
				}
			})
		}
		started.Wait()
		must(t, a.Cleanup())
		release()
		wg.Wait()
		wantClosed(t, s)
	}
}

func BenchmarkLease(b *testing.B) {
	a := storeAt(b, b.TempDir(), "")
	must(b, a.Start())
	defer a.Cleanup()
	b.ReportAllocs()
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			_, release, err := a.Lease()
			if err != nil {
				b.Error(err)
				return
			}
			release()
		}
	})
}
