package redis

import (
	"fmt"
	"os"
	"regexp"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/caddy-chat/caddy-chat/modules/store"
	"github.com/caddy-chat/caddy-chat/modules/store/redis/redistest"
	"github.com/caddy-chat/caddy-chat/modules/store/storetest"
)

// rules returns what the ACL SETUSER lines of docs/store_redis.md say of the user chat: on
// the server, and on sentinels.
func rules(t *testing.T) [][]string {
	t.Helper()
	page, err := os.ReadFile("../../../docs/store_redis.md")
	if err != nil {
		t.Fatal(err)
	}
	var list [][]string
	for _, rule := range regexp.MustCompile(`(?s)ACL SETUSER (chat .*?)\n\x60`).FindAllSubmatch(page, -1) {
		text := strings.ReplaceAll(string(rule[1]), "\\\n", " ")
		list = append(list, append([]string{"ACL", "SETUSER"}, strings.Fields(strings.ReplaceAll(text, "'", ""))...))
	}
	if len(list) != 2 {
		t.Fatalf("the page has %d ACL SETUSER, want 2", len(list))
	}
	return list
}

// TestACL runs the suite of stores as the user of docs/store_redis.md, who may do no
// more than the store needs.
func TestACL(t *testing.T) {
	server, cluster := redistest.Start(t), redistest.StartCluster(t)
	rule := rules(t)[0]
	server.Command(append(slices.Clone(rule), "+select")...)
	for _, s := range cluster.Servers {
		s.Command(rule...)
	}
	for name, url := range map[string]string{"database": server.URL() + "/1", "cluster": cluster.URL()} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			url = strings.Replace(url, "redis://", "redis://chat:secret@", 1)
			var n atomic.Int64
			storetest.Run(t, func(t *testing.T, now func() time.Time) store.Store {
				return openAt(t, url, fmt.Sprintf("chat:%d:", n.Add(1)), now)
			})
		})
	}
}

// TestACLOfSentinels has these users behind sentinels, before and after a failover.
func TestACLOfSentinels(t *testing.T) {
	t.Parallel()
	s, list := redistest.StartSentinels(t, nil), rules(t)
	for _, server := range []*redistest.Server{s.Master, s.Replica} {
		server.Command(list[0]...)
	}
	for _, sentinel := range s.Sentinels {
		sentinel.Command(list[1]...)
	}
	url := strings.NewReplacer("default:server-secret@", "chat:secret@", "sentinel_user=default", "sentinel_user=chat", "sentinel-secret", "secret").Replace(s.URL())
	goesOnWithReplica(t, openAt(t, url, "chat:", nil), s)
}
