package redis

import (
	"fmt"
	"sync/atomic"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"
	"go.uber.org/zap"
	"go.uber.org/zap/zaptest"

	"github.com/caddy-chat/caddy-chat/modules/store"
	"github.com/caddy-chat/caddy-chat/modules/store/redis/redistest"
	"github.com/caddy-chat/caddy-chat/modules/store/storetest"
)

func quiet(t testing.TB) *zap.Logger { return zaptest.NewLogger(t, zaptest.Level(zap.ErrorLevel)) }

func openAt(t testing.TB, url, prefix string, now func() time.Time) *db {
	t.Helper()
	r := &Redis{URL: url, Prefix: prefix}
	if err := r.Provision(caddy.Context{}); err != nil {
		t.Fatal(err)
	}
	d, err := r.open(quiet(t), now)
	if err != nil {
		t.Fatal(err)
	}
	d.limit = time.Minute // no test depends on how fast the machine is
	t.Cleanup(func() { d.Close() })
	<-d.hears // which renews the leases of its turns
	return d
}

// TestStore runs the suite of stores against one server, and against a cluster.
func TestStore(t *testing.T) {
	for name, start := range map[string]func(testing.TB) string{
		"standalone": func(t testing.TB) string { return redistest.Start(t).URL() },
		"cluster":    func(t testing.TB) string { return redistest.StartCluster(t).URL() },
	} {
		t.Run(name, func(t *testing.T) {
			url := start(t)
			var n atomic.Int64
			storetest.Run(t, func(t *testing.T, now func() time.Time) store.Store {
				return openAt(t, url, fmt.Sprintf("test%d:", n.Add(1)), now)
			})
		})
	}
}
