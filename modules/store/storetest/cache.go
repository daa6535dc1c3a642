package storetest

import (
	"bytes"
	"strings"
	"time"

	"github.com/caddy-chat/caddy-chat/modules/store"
)

var cacheTests = []test{
	{"a_value_comes_back", cacheRoundTrip},
	{"a_value_expires", cacheExpires},
	{"a_later_value_replaces_an_earlier_one", cacheReplaces},
}

func cacheRoundTrip(x *subject) {
	_, err := x.CacheGet(x.ctx, tenantA, "k")
	x.wantErr(err, store.ErrNotFound)
	for _, k := range []string{"k", "", "\x00", strings.Repeat("long", 50_000)} {
		for _, v := range [][]byte{[]byte("v"), {}, {0, 0xFF}, bytes.Repeat([]byte("large"), 300_000)} {
			x.ok(x.CachePut(x.ctx, tenantA, k, v, time.Hour))
			got, err := x.CacheGet(x.ctx, tenantA, k)
			x.ok(err)
			if !bytes.Equal(got, v) {
				x.Fatalf("%d bytes came back, want %d", len(got), len(v))
			}
			x.ok(x.CacheKeep(x.ctx, tenantA, key(1), k, append(v, 1), time.Hour))
			if got, err = x.CacheGet(x.ctx, tenantA, k); err != nil || !bytes.Equal(got, append(v, 1)) {
				x.Fatalf("%d bytes were kept, want %d: %v", len(got), len(v)+1, err)
			}
		}
	}
}

func cacheExpires(x *subject) {
	x.ok(x.CachePut(x.ctx, tenantA, "k", []byte("v"), time.Minute))
	x.clock.advance(time.Minute - time.Millisecond)
	_, err := x.CacheGet(x.ctx, tenantA, "k")
	x.ok(err)
	x.clock.advance(time.Millisecond)
	_, err = x.CacheGet(x.ctx, tenantA, "k")
	x.wantErr(err, store.ErrNotFound)
}

func cacheReplaces(x *subject) {
	x.ok(x.CachePut(x.ctx, tenantA, "k", []byte("long-lived"), time.Hour))
	x.ok(x.CachePut(x.ctx, tenantA, "k", []byte("short-lived"), time.Minute))
	got, err := x.CacheGet(x.ctx, tenantA, "k")
	x.ok(err)
	if string(got) != "short-lived" {
		x.Errorf("got %q", got)
	}
	x.clock.advance(time.Minute)
	_, err = x.CacheGet(x.ctx, tenantA, "k")
	x.wantErr(err, store.ErrNotFound)
}
