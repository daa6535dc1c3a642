package redis

import (
	"fmt"
	"os"
	"regexp"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/caddy-chat/caddy-chat/modules/store"
	"github.com/caddy-chat/caddy-chat/modules/store/redis/redistest"
	"github.com/caddy-chat/caddy-chat/modules/store/storetest"
)

// TestACL runs the suite of stores as the user of docs/store_redis.md, who may do no
// more than the store needs.
func TestACL(t *testing.T) {
	page, err := os.ReadFile("../../../docs/store_redis.md")
	if err != nil {
		t.Fatal(err)
	}
	rule := regexp.MustCompile(`(?s)ACL SETUSER (chat .*?)\n\x60`).FindSubmatch(page)
	if rule == nil {
		t.Fatal("the page has no ACL SETUSER")
	}
	text := strings.ReplaceAll(string(rule[1]), "\\\n", " ")
	server := redistest.Start(t)
	server.Command(append([]string{"ACL", "SETUSER"}, strings.Fields(strings.ReplaceAll(text, "'", ""))...)...)
	url := "redis://chat:secret@" + server.Addr
	var n atomic.Int64
	storetest.Run(t, func(t *testing.T, now func() time.Time) store.Store {
		return openAt(t, url, fmt.Sprintf("chat:%d:", n.Add(1)), now)
	})
}
