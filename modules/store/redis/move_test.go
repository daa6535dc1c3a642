package redis

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/caddy-chat/caddy-chat/modules/store"
	"github.com/caddy-chat/caddy-chat/modules/store/redis/redistest"
)

// TestMovingSlot has a cluster move a tenant's keys to another server. Until that is done
// the tenant is refused: no server has all of the keys.
func TestMovingSlot(t *testing.T) {
	t.Parallel()
	c := redistest.StartCluster(t)
	for _, s := range c.Servers {
		s.Command(rules(t)[0]...)
	}
	for user, url := range map[string]string{
		"default": c.URL(),
		"chat":    strings.Replace(c.URL(), "redis://", "redis://chat:secret@", 1),
	} {
		t.Run(user, func(t *testing.T) {
			d := openAt(t, url, "chat:", nil)
			d.limit = callTimeout
			if err := d.CachePut(t.Context(), user, "k", []byte("v"), time.Hour); err != nil {
				t.Fatal(err)
			}
			move := c.BeginMove(d.keys.tenant(user))
			if v, err := d.CacheGet(t.Context(), user, "k"); err == nil || errors.Is(err, store.ErrNotFound) {
				t.Errorf("reading answers %q, %v", v, err)
			}
			if err := d.CachePut(t.Context(), user, "k", []byte("w"), time.Hour); !refusedForNow(err) {
				t.Errorf("writing answers %v", err)
			}
			if d.Health() == nil {
				t.Error("it is well")
			}
			move.Finish()
			becomes(t, "the store is well", func() bool { return d.Health() == nil })
			if v, err := d.CacheGet(t.Context(), user, "k"); err != nil || string(v) != "v" {
				t.Errorf("reading answers %q, %v", v, err)
			}
		})
	}
}
