package docs

import (
	"fmt"
	"net/http"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/caddy-chat/caddy-chat/integration/harness"
	"github.com/caddy-chat/caddy-chat/modules/store/redis/redistest"
)

// TestSitesAround checks what the examples do to the rest of their sites, and to
// the logs.
func TestSitesAround(t *testing.T) {
	t.Parallel()
	for name := range exampleTests {
		t.Run(name, func(t *testing.T) {
			c := startAround(t, name)
			leavesPagesAlone(t, c)
			resp := harness.NewClient(c, "", "").Do(http.MethodGet, "/v1/models", nil, "X-Api-Key", "acme-key", "Host", "acme.example.com")
			resp.Body.Close()
			c.AccessLog(resp.Header.Get("X-Trace-Id"))
			c.Stop()
			if log := c.Log.String(); strings.Contains(log, "acme-key") || strings.Contains(log, "the access log shows") {
				t.Error("the log shows a key, or warns of it")
			}
		})
	}
}

// startAround runs an example at the URL of the result, whatever its host name.
func startAround(t testing.TB, name string) *harness.Caddy {
	t.Helper()
	switch name {
	case "cluster":
		return harness.StartExample(t, name, "store redis {env.REDIS_URL}", "store redis "+redistest.Start(t).URL())
	case "production":
	default:
		return harness.StartExample(t, name)
	}
	port := harness.FreePort(t)
	c := harness.StartExample(t, name,
		"tenants /etc/caddy/tenants/*.json", "tenants tenants/*.json",
		"/var/lib/caddy/chat", "data",
		"chat.example.com {", fmt.Sprintf("http://127.0.0.1:%d {", port),
		":9180 {", fmt.Sprintf(":%d {", harness.FreePort(t)))
	c.URL = fmt.Sprintf("http://127.0.0.1:%d", port)
	return c
}

// leavesPagesAlone asks for more pages than any limit lets through.
func leavesPagesAlone(t testing.TB, c *harness.Caddy) {
	t.Helper()
	stranger := harness.NewClient(c, "", "")
	for range 40 {
		for _, path := range []string{"/index.html", "/style.css"} {
			resp := stranger.Do(http.MethodGet, path, nil)
			resp.Body.Close()
			if slices.Contains([]int{http.StatusBadRequest, http.StatusUnauthorized, http.StatusForbidden, http.StatusTooManyRequests}, resp.StatusCode) {
				t.Fatalf("%s: %d", path, resp.StatusCode)
			}
			harness.WantHeader(t, resp.Header, map[string]string{"X-Ratelimit-Limit": "", "X-Trace-Id": ""})
		}
	}
}

// TestReadmeSite runs the README's first site, which has a key and a budget.
func TestReadmeSite(t *testing.T) {
	text, err := os.ReadFile("../../README.md")
	if err != nil {
		t.Fatal(err)
	}
	model := newModelServer(t)
	site := ""
	for _, block := range codeBlock.FindAllStringSubmatch(string(text), -1) {
		if block[1] == "caddyfile" {
			site = block[2]
			break
		}
	}
	for from, to := range map[string]string{
		"chat.example.com {":                     ":8080 {",
		"ai_gateway openai {env.OPENAI_API_KEY}": "ai_gateway {\nprovider openai {\napi_key {env.OPENAI_API_KEY}\nbase_url " + model.URL + "\n}\ndefault_model gpt-4o-mini\n}",
	} {
		if strings.Count(site, from) != 1 {
			t.Fatalf("want %q once in\n%s", from, site)
		}
		site = strings.Replace(site, from, to, 1)
	}
	c := serveDocs(t, t.TempDir(), site, harness.ExampleEnv...)
	leavesPagesAlone(t, c)
	stranger, acme := harness.NewClient(c, "acme", ""), harness.NewClient(c, "", "ann")
	acme.Key = "acme-key"
	harness.WantFailure(t, stranger.Do(http.MethodGet, "/chat", nil), http.StatusUnauthorized, "invalid_api_key")
	wantAnswer(t, acme)
	if used, ok := c.Metrics()[`caddy_ai_budget_used_ratio{period="month",tenant="acme"}`]; !ok || used <= 0 {
		t.Errorf("the used ratio of the budget is %v (%v)", used, ok)
	}
	if strings.Contains(c.Log.String(), "anyone who can reach") {
		t.Error("the site is open")
	}
}
