package docs

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/caddy-chat/caddy-chat/integration/harness"
)

// exampleTests holds a test for each example. TestExamples fails for an example
// without one.
var exampleTests = map[string]func(*testing.T){
	"cluster":        tryCluster,
	"existing-site":  tryExistingSite,
	"fallbacks":      tryFallbacks,
	"ollama":         tryOllama,
	"openai-gateway": tryOpenAIGateway,
	"production":     tryProduction,
	"quickstart":     tryQuickstart,
}

func TestExamples(t *testing.T) {
	t.Parallel()
	entries, err := os.ReadDir(harness.ExamplesDir)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		t.Run(e.Name(), func(t *testing.T) {
			try, ok := exampleTests[e.Name()]
			if !ok {
				t.Fatalf("no test for %s", e.Name())
			}
			t.Run("is_formatted_and_adapts", func(t *testing.T) {
				file := harness.CaddyfileOf(t, e.Name())
				if out, err := harness.RunCaddy(t, t.TempDir(), "fmt", "--diff", file); err != nil {
					t.Errorf("caddy fmt: %v\n%s", err, out)
				}
				if out, err := harness.RunCaddy(t, t.TempDir(), "adapt", "--config", file); err != nil {
					t.Errorf("caddy adapt: %v\n%s", err, out)
				}
			})
			t.Run("serves", try)
		})
	}
	if len(entries) != len(exampleTests) {
		t.Errorf("%d examples, tests for %d", len(entries), len(exampleTests))
	}
}

// wantAnswer sends a message and expects the model server's answer.
func wantAnswer(t testing.TB, c *harness.Client) {
	t.Helper()
	session := harness.NewSession()
	if a := c.Say(session, "hi"); a.Text != "Hello from afar" || a.Done == nil || a.Done.FinishReason != "stop" {
		t.Fatalf("got %q, done %+v", a.Text, a.Done)
	}
	if n := len(c.History(session)); n != 2 {
		t.Errorf("%d messages stored, want 2", n)
	}
}

// demoCompletion is the part of an answer under /v1 that the tests look at.
type demoCompletion struct {
	Choices []struct {
		Message struct {
			Content string `json:"content"`
		} `json:"message"`
	} `json:"choices"`
}

// wantCompletion asks under /v1 and expects the model server's answer.
func wantCompletion(t testing.TB, c *harness.Client, model string) {
	t.Helper()
	var a demoCompletion
	body := map[string]any{"model": model, "messages": []map[string]string{{"role": "user", "content": "hi"}}}
	if status := c.Call(http.MethodPost, "/v1/chat/completions", body, &a); status != http.StatusOK {
		t.Fatalf("status %d", status)
	}
	if len(a.Choices) != 1 || a.Choices[0].Message.Content != "Hello from afar" {
		t.Errorf("got %+v", a)
	}
}

func tryQuickstart(t *testing.T) {
	c := harness.StartExample(t, "quickstart")
	acme := harness.NewClient(c, "acme", "")
	if a := acme.Say(harness.NewSession(), "one two three"); a.Text != "one two three" {
		t.Errorf("got %q", a.Text)
	}
	resp := harness.NewClient(c, "", "").Do(http.MethodGet, "/", nil)
	if page := harness.ReadAll(t, resp); !strings.Contains(page, `data-testid="composer"`) {
		t.Errorf("the page: %d %s", resp.StatusCode, page)
	}
	harness.WantFailure(t, harness.NewClient(c, "", "").Do(http.MethodGet, "/health", nil), http.StatusBadRequest, "tenant_required")
}

// newModelServer starts a server with OpenAI's API that always answers "Hello
// from afar".
func newModelServer(t testing.TB) *harness.Upstream {
	return harness.NewUpstream(t, harness.Says(5, 3, "Hello", " from", " afar"))
}

func tryExistingSite(t *testing.T) {
	site := harness.NewUpstream(t, func(c *harness.Call) {
		harness.Document(http.StatusOK, fmt.Sprintf("the site: %s %s %s", c.Method, c.Path, c.Body))(c)
	})
	model := newModelServer(t)
	c := harness.StartExample(t, "existing-site",
		"reverse_proxy 127.0.0.1:3000", "reverse_proxy "+site.Origin(),
		"ai_gateway @chat openai {env.OPENAI_API_KEY}",
		"ai_gateway @chat {\n provider openai {\n api_key {env.OPENAI_API_KEY}\n base_url "+model.URL+"\n }\n default_model gpt-4o-mini\n }")

	stranger := harness.NewClient(c, "", "")
	for _, path := range []string{"/", "/health", "/v1/health", "/v1/orders", "/chatter"} {
		resp := stranger.Do(http.MethodPost, path, `{"a":1}`)
		if got, want := harness.ReadAll(t, resp), "the site: POST "+path+` {"a":1}`; got != want || resp.StatusCode != http.StatusOK {
			t.Errorf("%s: %d %q, want %q", path, resp.StatusCode, got, want)
		}
		if trace := resp.Header.Get("X-Trace-Id"); trace != "" {
			t.Errorf("%s went through the chain, trace id %s", path, trace)
		}
	}
	harness.WantFailure(t, stranger.Do(http.MethodGet, "/chat", nil), http.StatusBadRequest, "tenant_required")

	wantAnswer(t, harness.NewClient(c, "acme", "ann"))
	if got := model.Only(); got.Header.Get("Authorization") != "Bearer sk-the-providers" || got.Path != "/v1/chat/completions" {
		t.Errorf("upstream got %+v", got)
	}
}

func tryOpenAIGateway(t *testing.T) {
	model := newModelServer(t)
	c := harness.StartExample(t, "openai-gateway",
		"provider openai {", "provider openai {\n base_url "+model.URL+"")
	acme, globex := harness.NewClient(c, "", ""), harness.NewClient(c, "", "")
	acme.Key, globex.Key = "acme-key", "globex-key"

	wantCompletion(t, acme, "smart")
	if got := model.Only(); got.Get("model").Str != "gpt-4.1" || got.Header.Get("Authorization") != "Bearer sk-the-providers" {
		t.Errorf("upstream got %+v", got)
	}
	body := `{"model":"smart","messages":[{"role":"user","content":"hi"}]}`
	harness.WantFailure(t, globex.Do(http.MethodPost, "/v1/chat/completions", body), http.StatusForbidden, "model_not_allowed")
	harness.WantFailure(t, harness.NewClient(c, "", "").Do(http.MethodPost, "/v1/chat/completions", body), http.StatusUnauthorized, "invalid_api_key")
}

func tryProduction(t *testing.T) {
	model := newModelServer(t)
	data := t.TempDir()
	httpsPort, metricsPort := harness.FreePort(t), harness.FreePort(t)
	c := harness.StartExample(t, "production",
		"tenants /etc/caddy/tenants/*.json", "tenants tenants/*.json",
		"/var/lib/caddy/chat", data,
		"provider openai {", "provider openai {\n base_url "+model.URL+"",
		"chat.example.com {", fmt.Sprintf("chat.example.com:%d {", httpsPort),
		":9180 {", fmt.Sprintf(":%d {", metricsPort))

	stranger := harness.NewClient(c, "", "ann")
	stranger.URL = "https://chat.example.com"
	stranger.HTTP = trusting(t, filepath.Join(c.Dir, "caddy"), httpsPort)
	acme := *stranger
	acme.Key = "acme-key"

	wantAnswer(t, &acme)
	harness.WantFailure(t, stranger.Do(http.MethodGet, "/chat", nil), http.StatusBadRequest, "tenant_required")
	harness.WantFailure(t, stranger.Do(http.MethodGet, "/v1/models", nil), http.StatusBadRequest, "tenant_required")
	var health struct {
		Data struct {
			Status string `json:"status"`
		} `json:"data"`
	}
	if status := stranger.Call(http.MethodGet, "/health", nil, &health); status != http.StatusOK || health.Data.Status != "ok" {
		t.Errorf("health: %d %+v", status, health)
	}

	metrics, err := http.Get(fmt.Sprintf("http://127.0.0.1:%d/metrics", metricsPort))
	if err != nil {
		t.Fatal(err)
	}
	if text := harness.ReadAll(t, metrics); !strings.Contains(text, `caddy_chat_requests_total{code="200",tenant="acme"}`) {
		t.Errorf("metrics without acme's requests:\n%s", text)
	}
	wantAccessLog(t, c)
	if entries, err := os.ReadDir(data); err != nil || len(entries) == 0 {
		t.Errorf("no store in the data directory: %v", err)
	}
}

// trusting returns an HTTP client that trusts the local certificate authority in
// Caddy's data directory and reaches every host at one port of the loopback interface.
func trusting(t testing.TB, data string, port int) *http.Client {
	t.Helper()
	roots := x509.NewCertPool()
	root := filepath.Join(data, "pki", "authorities", "local", "root.crt")
	harness.Eventually(t, "Caddy has created its root certificate", func() bool {
		pem, err := os.ReadFile(root)
		return err == nil && roots.AppendCertsFromPEM(pem)
	})
	transport := &http.Transport{
		TLSClientConfig: &tls.Config{RootCAs: roots},
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, "tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(port)))
		},
	}
	t.Cleanup(transport.CloseIdleConnections)
	client := &http.Client{Transport: transport}
	// the site's certificate is issued in the background too
	harness.Eventually(t, "Caddy has its certificate", func() bool {
		resp, err := client.Get("https://chat.example.com/health")
		if err != nil {
			return false
		}
		resp.Body.Close()
		return true
	})
	return client
}

// wantAccessLog looks for the log line of the one chat, in JSON.
func wantAccessLog(t testing.TB, c *harness.Caddy) {
	t.Helper()
	type line struct {
		Logger    string `json:"logger"`
		Tenant    string `json:"tenant"`
		Model     string `json:"model"`
		TokensOut int    `json:"tokens_out"`
	}
	want := line{Logger: "http.log.access", Tenant: "acme", Model: "fast", TokensOut: 3}
	harness.Eventually(t, fmt.Sprintf("the log has %+v", want), func() bool {
		for text := range strings.Lines(c.Log.String()) {
			var l line
			if json.Unmarshal([]byte(text), &l) == nil && l == want {
				return true
			}
		}
		return false
	})
}
