package chat

import (
	"slices"
	"strings"

	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"go.uber.org/zap"

	"github.com/caddy-chat/caddy-chat/modules/advice"
	"github.com/caddy-chat/caddy-chat/modules/tenant"
)

// maxKeyAdvice bounds the warnings about the keys of one Caddyfile: it may have
// thousands of tenants with the same mistake.
const maxKeyAdvice = 20

// hasPlainKeys reports whether a key is written in plain text.
func (c *TenantConfig) hasPlainKeys() bool {
	plain := func(key string) bool { return !strings.Contains(key, "{") && !tenant.IsDigest(key) }
	for _, key := range c.Credentials {
		if plain(key) {
			return true
		}
	}
	return slices.ContainsFunc(c.APIKeys, plain)
}

// warnOfPlainKeys names the first tenants whose files have keys in plain text.
func (a *App) warnOfPlainKeys(all []*tenant.Tenant) {
	var files []string
	n := 0
	for _, t := range all {
		if !t.PlainKeys {
			continue
		}
		if n++; n <= maxKeyAdvice {
			files = append(files, t.Origin)
		}
	}
	if n > 0 {
		a.log.Warn("tenant files have keys in plain text: want a placeholder such as {env.NAME}, for api_keys also sha256:<hex>",
			zap.Strings("files", files), zap.Int("count", n))
	}
}

// keyAdvice warns of keys of tenants that are empty, or written in plain text.
type keyAdvice struct{ given int }

// check looks at one line of a tenant's block.
func (k *keyAdvice) check(d *caddyfile.Dispenser, id, option string, args []string) {
	switch option {
	case "credential":
		k.give(d, "tenant "+id+": credential "+args[0], args[1], "a placeholder such as {env.NAME}")
	case "api_key":
		for _, key := range args {
			if !tenant.IsDigest(key) {
				k.give(d, "tenant "+id+": api_key", key, "its digest, sha256:<hex>, or a placeholder such as {env.NAME}")
			}
		}
	}
}

func (k *keyAdvice) give(d *caddyfile.Dispenser, option, key, want string) {
	if k.given == maxKeyAdvice {
		return
	}
	if !strings.Contains(key, "{") {
		advice.Warn(d, "%s: a key in plain text: want %s", option, want)
		k.given++
	} else if advice.Environment(d, option, key) {
		k.given++
	}
}
