package integration

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"testing"
	"time"

	caddyv2 "github.com/caddyserver/caddy/v2"
	"go.uber.org/zap"

	"github.com/caddy-chat/caddy-chat/modules/store"
	"github.com/caddy-chat/caddy-chat/modules/store/badger"
)

func init() {
	caddyv2.RegisterModule(refusingModule{})
}

// refusingModule is a Badger store some of whose operations fail while a
// file refuse-<operation> lies in the working directory.
type refusingModule struct {
	badger.Badger
}

func (refusingModule) CaddyModule() caddyv2.ModuleInfo {
	return caddyv2.ModuleInfo{
		ID:  "chat.stores.refusing",
		New: func() caddyv2.Module { return new(refusingModule) },
	}
}

func (m *refusingModule) Open(log *zap.Logger) (store.Store, error) {
	s, err := m.Badger.Open(log)
	return refusingStore{s}, err
}

type refusingStore struct {
	store.Store
}

// errRefused holds what no client may see.
var errRefused = errors.New("goroutine 1 [running]: /var/lib/secret: refused by the test")

func refuses(op string) error {
	if _, err := os.Stat("refuse-" + op); err == nil {
		return errRefused
	}
	return nil
}

func (s refusingStore) Claim(ctx context.Context, tenant string, k store.SessionKey, turn string, lease time.Duration) (<-chan struct{}, error) {
	if err := refuses("claim"); err != nil {
		return nil, err
	}
	return s.Store.Claim(ctx, tenant, k, turn, lease)
}

func (s refusingStore) Append(ctx context.Context, tenant string, k store.SessionKey, opts store.AppendOptions, msgs ...*store.Message) error {
	if err := refuses("append"); err != nil {
		return err
	}
	return s.Store.Append(ctx, tenant, k, opts, msgs...)
}

func (s refusingStore) History(ctx context.Context, tenant string, k store.SessionKey, r store.Range) ([]store.Message, bool, error) {
	if err := refuses("history"); err != nil {
		return nil, false, err
	}
	return s.Store.History(ctx, tenant, k, r)
}

func (s refusingStore) Sessions(ctx context.Context, tenant, user string, after *store.Cursor, limit int) ([]store.Session, bool, error) {
	if err := refuses("sessions"); err != nil {
		return nil, false, err
	}
	return s.Store.Sessions(ctx, tenant, user, after, limit)
}

func (s refusingStore) Take(ctx context.Context, tenant string, takes []store.Take) ([]store.Taken, bool, error) {
	if err := refuses("take"); err != nil {
		return nil, false, err
	}
	return s.Store.Take(ctx, tenant, takes)
}

// refuse makes an operation of a process's refusing store fail until the
// test ends.
func refuse(t testing.TB, c *caddyProcess, op string) {
	t.Helper()
	name := filepath.Join(c.dir, "refuse-"+op)
	if err := os.WriteFile(name, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := os.Remove(name); err != nil {
			t.Error(err)
		}
	})
}
