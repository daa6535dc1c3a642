package gateway

import (
	"net/http"
	"testing"

	"github.com/caddy-chat/caddy-chat/integration/harness"
)

// TestSessionWithoutStore names a session where nothing keeps one: the answer says so.
func TestSessionWithoutStore(t *testing.T) {
	up := harness.NewUpstream(t, harness.Echoes)
	c := harness.Start(t, harness.GatewayTenants, "tenant_resolve\n"+up.Gateway())
	cl := harness.NewClient(c, "globex", "ann")
	const messages = `{"model":"fast","max_tokens":10,"messages":[{"role":"user","content":"hi"}]}`
	for path, body := range map[string]string{
		"/v1/chat/completions":      messages,
		"/v1/messages":              messages,
		"/v1/messages/count_tokens": messages,
		"/v1/responses":             `{"model":"fast","input":"hi","store":false}`,
	} {
		for _, test := range []struct {
			header []string
			want   string
		}{{nil, ""}, {[]string{"X-Session-Id", harness.NewSession()}, "X-Session-Id"}} {
			resp := cl.Do(http.MethodPost, path, body, test.header...)
			if text := harness.ReadAll(t, resp); resp.StatusCode != http.StatusOK {
				t.Errorf("%s: %d %s", path, resp.StatusCode, text)
			}
			if got := resp.Header.Get("X-Ai-Dropped"); got != test.want {
				t.Errorf("%s %v: X-Ai-Dropped is %q", path, test.header, got)
			}
		}
	}
}
