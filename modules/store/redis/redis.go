// Package redis keeps the chat's data in Redis or Valkey, which several Caddy nodes
// can share. Every operation is one script on the server, by the server's clock; all
// keys of a tenant are in one hash slot, so that a cluster can carry it out.
package redis

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"

	"github.com/caddyserver/caddy/v2"
	"github.com/redis/rueidis"
	"go.uber.org/zap"

	"github.com/caddy-chat/caddy-chat/modules/store"
)

func init() {
	caddy.RegisterModule(Redis{})
}

// Redis is a store on a server of Redis 7 or later, or Valkey: a single one, a
// cluster, or one that sentinels watch.
type Redis struct {
	// Where the server is: redis://user:password@host:6379/0, rediss:// with TLS,
	// or unix:///path. A cluster's further nodes are added by ?addr=host:6379, once
	// each. Sentinels are named in place of the server, with ?master_set=name, and
	// with sentinel_user and sentinel_password if they want those. With TLS, ca,
	// cert and key are files, in PEM.
	// Placeholders such as {env.REDIS_URL} are replaced once, when the
	// configuration is loaded. Default: redis://127.0.0.1:6379.
	URL string `json:"url,omitempty"`

	// What the names of all keys begin with. Default: chat:.
	Prefix string `json:"prefix,omitempty"`

	place  place
	option rueidis.ClientOption
}

// CaddyModule returns the Caddy module information.
func (Redis) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{
		ID:  "chat.stores.redis",
		New: func() caddy.Module { return new(Redis) },
	}
}

// Provision sets the defaults, replaces placeholders and reads the URL. It connects
// to nothing.
func (r *Redis) Provision(caddy.Context) error {
	repl := caddy.NewReplacer()
	if r.URL == "" {
		r.URL = "redis://127.0.0.1:6379"
	}
	if r.Prefix == "" {
		r.Prefix = "chat:"
	}
	url, err := repl.ReplaceOrErr(r.URL, true, true)
	if err != nil {
		return fmt.Errorf("url: %w", err)
	}
	if r.Prefix, err = repl.ReplaceOrErr(r.Prefix, true, true); err != nil {
		return fmt.Errorf("prefix: %w", err)
	}
	if err := checkPrefix(r.Prefix); err != nil {
		return fmt.Errorf("prefix: %w", err)
	}
	if r.place, err = parseURL(url); err != nil {
		return fmt.Errorf("url: %w", err)
	}
	if r.option, err = r.place.option(); err != nil {
		return fmt.Errorf("url: %w", err)
	}
	return nil
}

func checkPrefix(prefix string) error {
	if prefix == "" {
		return errors.New("want a text that is not empty, such as 'chat:'")
	}
	if strings.ContainsAny(prefix, "{}") {
		return errors.New("want no braces: those in a key name its hash slot")
	}
	return nil
}

// Location names the server, the database and the prefix.
func (r *Redis) Location() (string, error) { return r.place.location() + " " + r.Prefix, nil }

// Fingerprint tells two configurations of one place apart. It holds nothing that
// reveals the password.
func (r *Redis) Fingerprint() string {
	h := sha256.New()
	fmt.Fprintf(h, "chat.stores.redis %#v", r.place)
	return hex.EncodeToString(h.Sum(nil)[:16])
}

// Open connects to the server.
func (r *Redis) Open(log *zap.Logger) (store.Store, error) {
	return r.open(log, nil)
}

// Interface guards
var (
	_ caddy.Module      = (*Redis)(nil)
	_ caddy.Provisioner = (*Redis)(nil)
)
