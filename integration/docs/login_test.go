package docs

import (
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/caddy-chat/caddy-chat/integration/harness"
)

// TestLoginProxy runs the site of docs/login.md with a login proxy that knows users
// by their cookies, and lets a guest in without a name.
func TestLoginProxy(t *testing.T) {
	proxy := harness.NewUpstream(t, func(c *harness.Call) {
		name, ok := strings.CutPrefix(c.Header.Get("Cookie"), "user=")
		switch {
		case c.Path != "/api/authz/forward-auth" || !ok:
			harness.Document(http.StatusUnauthorized, "log in")(c)
		case name != "guest":
			harness.Heads("Remote-User", name)(c)
		}
	})
	c := serveDocs(t, t.TempDir(), siteWith(t, "login.md", "forward_auth",
		"chat.example.com {", ":8080 {",
		"127.0.0.1:9091", strings.TrimPrefix(proxy.Origin(), "http://"),
		"ai_gateway openai {env.OPENAI_API_KEY}", "ai_gateway echo"))
	client, session := harness.NewClient(c, "", ""), harness.NewSession()
	history := "/chat/" + session + "/history"

	resp := client.Do(http.MethodPost, "/chat", fmt.Sprintf(`{"sessionId":%q,"message":"ann's secret","stream":false}`, session),
		"Cookie", "user=ann", "X-User-Id", "bob")
	if body := harness.ReadAll(t, resp); resp.StatusCode != http.StatusOK || resp.Header.Get("X-Tenant-Id") != "acme" {
		t.Fatalf("%d %v %s", resp.StatusCode, resp.Header, body)
	}
	for _, tc := range []struct {
		name   string
		header []string
		status int
	}{
		{"her own", []string{"Cookie", "user=ann"}, http.StatusOK},
		{"another user who says to be her", []string{"Cookie", "user=bob", "X-User-Id", "ann"}, http.StatusNotFound},
		{"a guest who says to be her", []string{"Cookie", "user=guest", "X-User-Id", "ann"}, http.StatusNotFound},
		{"without a login", []string{"X-User-Id", "ann", "X-Tenant-Id", "acme"}, http.StatusUnauthorized},
		{"another tenant", []string{"Cookie", "user=ann", "X-Tenant-Id", "globex"}, http.StatusForbidden},
	} {
		t.Run(tc.name, func(t *testing.T) {
			resp := client.Do(http.MethodGet, history, nil, tc.header...)
			body := harness.ReadAll(t, resp)
			if resp.StatusCode != tc.status || strings.Contains(body, "secret") != (tc.status == http.StatusOK) {
				t.Errorf("%d %s", resp.StatusCode, body)
			}
		})
	}
	for _, path := range []string{"//chat/", "/%63hat", "/CHAT", "/./chat", "/x/../chat", "/v1//models"} {
		resp := client.Do(http.MethodGet, path, nil, "X-User-Id", "ann", "X-Tenant-Id", "acme")
		if body := harness.ReadAll(t, resp); resp.StatusCode == http.StatusOK && body != "" {
			t.Errorf("%s gets around the login: %s", path, body)
		}
	}
}

// siteWith returns the Caddyfile of a page that has a directive, with replacements.
func siteWith(t testing.TB, name, directive string, fromTo ...string) string {
	t.Helper()
	for _, b := range readPage(t, docsDir+"/"+name).with("caddyfile") {
		if !strings.Contains(b.text, directive) {
			continue
		}
		site := b.text
		for i := 0; i+1 < len(fromTo); i += 2 {
			if strings.Count(site, fromTo[i]) != 1 {
				t.Fatalf("%s: want %q once in\n%s", name, fromTo[i], site)
			}
			site = strings.Replace(site, fromTo[i], fromTo[i+1], 1)
		}
		return site
	}
	t.Fatalf("%s has no Caddyfile with %s", name, directive)
	return ""
}
