package harness

import (
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// StartSites is Start with whole site blocks, for tests of host names. The
// addresses are http://:{$PORT} or http://name:{$PORT}.
func StartSites(t testing.TB, options, sites string, env ...string) *Caddy {
	t.Helper()
	port, adminPort := FreePort(t), FreePort(t)
	c := &Caddy{
		T:     t,
		Dir:   t.TempDir(),
		URL:   fmt.Sprintf("http://127.0.0.1:%d", port),
		Admin: fmt.Sprintf("http://127.0.0.1:%d", adminPort),
		Env:   append(env, fmt.Sprintf("PORT=%d", port)),
	}
	config := fmt.Sprintf(globalOptions, fmt.Sprintf("127.0.0.1:%d", adminPort), "default_bind 127.0.0.1\n"+options) + sites
	if err := os.WriteFile(filepath.Join(c.Dir, "Caddyfile"), []byte(config), 0o600); err != nil {
		t.Fatal(err)
	}
	c.Run()
	return c
}

// Visit makes a request with a Host header and others. A header may occur twice.
func Visit(c *Caddy, method, path, host string, header ...string) *http.Response {
	c.T.Helper()
	req, err := http.NewRequestWithContext(c.T.Context(), method, c.URL+path, nil)
	if err != nil {
		c.T.Fatal(err)
	}
	req.Host = host
	for i := 0; i+1 < len(header); i += 2 {
		req.Header.Add(header[i], header[i+1])
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		c.T.Fatal(err)
	}
	return resp
}

// EchoChain is the whole chain with the echo provider.
const EchoChain = `
	tenant_resolve
	chat_ratelimit {
		requests 100000 1m
	}
	chat_session
	ai_gateway {
		provider echo {
			delay 0
		}
	}
`

// TwoTenants are one tenant with a host name and one with a key.
const TwoTenants = `
	chat {
		tenant acme {
			host acme.test
		}
		tenant globex {
			api_key globex-key
		}
	}
`

// PlainTenants are two tenants without keys.
const PlainTenants = `
	chat {
		tenant acme {
			metadata plan gold
		}
		tenant globex {
			metadata plan iron
		}
	}
`

// Trouble makes an operation of the process's store fail until end is called.
func (c *Caddy) Trouble(op string) (end func()) {
	c.T.Helper()
	name := filepath.Join(c.Dir, "trouble-"+op)
	if err := os.WriteFile(name, nil, 0o600); err != nil {
		c.T.Fatal(err)
	}
	return func() {
		if err := os.Remove(name); err != nil {
			c.T.Fatal(err)
		}
	}
}

// TroubledTenants is PlainTenants with a store that Trouble can make fail.
var TroubledTenants = strings.Replace(PlainTenants, "chat {", "chat {\n\t\tstore trouble", 1)
