package integration

import (
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"testing"
)

// startSites is startCaddy with whole site blocks, for tests that care for
// host names. Their addresses are http://:{$PORT} or http://name:{$PORT}.
func startSites(t testing.TB, options, sites string, env ...string) *caddyProcess {
	t.Helper()
	port, adminPort := freePort(t), freePort(t)
	c := &caddyProcess{
		t:     t,
		dir:   t.TempDir(),
		url:   fmt.Sprintf("http://127.0.0.1:%d", port),
		admin: fmt.Sprintf("http://127.0.0.1:%d", adminPort),
		env:   append(env, fmt.Sprintf("PORT=%d", port)),
	}
	config := fmt.Sprintf(globalOptions, fmt.Sprintf("127.0.0.1:%d", adminPort), "default_bind 127.0.0.1\n"+options) + sites
	if err := os.WriteFile(filepath.Join(c.dir, "Caddyfile"), []byte(config), 0o600); err != nil {
		t.Fatal(err)
	}
	c.run()
	return c
}

// visit makes a request with a Host header and others; a header may stand
// twice.
func visit(c *caddyProcess, method, path, host string, header ...string) *http.Response {
	c.t.Helper()
	req, err := http.NewRequestWithContext(c.t.Context(), method, c.url+path, nil)
	if err != nil {
		c.t.Fatal(err)
	}
	req.Host = host
	for i := 0; i+1 < len(header); i += 2 {
		req.Header.Add(header[i], header[i+1])
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		c.t.Fatal(err)
	}
	return resp
}
