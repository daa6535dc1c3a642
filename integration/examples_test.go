package integration

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
)

const ExamplesDir = "../caddyfile-examples"

// ExampleEnv is the environment that the examples ask for.
var ExampleEnv = []string{
	"OPENAI_API_KEY=sk-the-providers",
	"ANTHROPIC_API_KEY=sk-ant-the-providers",
	"GEMINI_API_KEY=gemini-the-providers",
	"CHAT_STORE_KEY=000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f",
	"ACME_KEY=acme-key",
	"GLOBEX_KEY=globex-key",
}

// exampleTests try out one example each. One without a test here fails
// TestExamples.
var exampleTests = map[string]func(*testing.T){
	"existing-site":  tryExistingSite,
	"fallbacks":      tryFallbacks,
	"ollama":         tryOllama,
	"openai-gateway": tryOpenAIGateway,
	"production":     tryProduction,
	"quickstart":     tryQuickstart,
}

func TestExamples(t *testing.T) {
	t.Parallel()
	entries, err := os.ReadDir(ExamplesDir)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		t.Run(e.Name(), func(t *testing.T) {
			try, ok := exampleTests[e.Name()]
			if !ok {
				t.Fatalf("nothing tries out %s", e.Name())
			}
			t.Run("is_formatted_and_adapts", func(t *testing.T) {
				file := CaddyfileOf(t, e.Name())
				if out, err := RunCaddy(t, t.TempDir(), "fmt", "--diff", file); err != nil {
					t.Errorf("caddy fmt: %v\n%s", err, out)
				}
				if out, err := RunCaddy(t, t.TempDir(), "adapt", "--config", file); err != nil {
					t.Errorf("caddy adapt: %v\n%s", err, out)
				}
			})
			t.Run("serves", try)
		})
	}
	if len(entries) != len(exampleTests) {
		t.Errorf("%d examples, and tests for %d", len(entries), len(exampleTests))
	}
}

func CaddyfileOf(t testing.TB, name string) string {
	t.Helper()
	file, err := filepath.Abs(filepath.Join(ExamplesDir, name, "Caddyfile"))
	if err != nil {
		t.Fatal(err)
	}
	return file
}

// StartExample runs an example in a copy of its folder, on free ports. edits
// are pairs of what stands in its Caddyfile and what the test's own world has
// instead.
func StartExample(t testing.TB, name string, edits ...string) *Caddy {
	t.Helper()
	c := &Caddy{T: t, Dir: t.TempDir(), Env: ExampleEnv}
	copyExample(t, c.Dir, filepath.Join(ExamplesDir, name))
	file := filepath.Join(c.Dir, "Caddyfile")
	config, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	edited := c.onFreePorts(string(config))
	for i := 0; i+1 < len(edits); i += 2 {
		if strings.Count(edited, edits[i]) != 1 {
			t.Fatalf("%s: want %q in it once", name, edits[i])
		}
		edited = strings.Replace(edited, edits[i], edits[i+1], 1)
	}
	if err := os.WriteFile(file, []byte(edited), 0o600); err != nil {
		t.Fatal(err)
	}
	out, err := c.Command(t.Context(), "validate", "--config", "Caddyfile").CombinedOutput()
	if err != nil {
		t.Fatalf("caddy validate: %v\n%s", err, out)
	}
	c.Run()
	return c
}

// copyExample copies an example without what somebody's own run of it left in
// its data folder, which may be running still.
func copyExample(t testing.TB, to, from string) {
	t.Helper()
	entries, err := os.ReadDir(from)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		source, target := filepath.Join(from, e.Name()), filepath.Join(to, e.Name())
		switch {
		case e.Name() == "data":
		case e.IsDir():
			err = os.CopyFS(target, os.DirFS(source))
		default:
			var b []byte
			if b, err = os.ReadFile(source); err == nil {
				err = os.WriteFile(target, b, 0o600)
			}
		}
		if err != nil {
			t.Fatal(err)
		}
	}
}

// onFreePorts moves an example's ports, Caddy's own and the site's on 8080 to
// ones that nobody uses, and lets no certificate authority be asked.
func (c *Caddy) onFreePorts(config string) string {
	c.T.Helper()
	site, admin := FreePort(c.T), FreePort(c.T)
	c.URL = fmt.Sprintf("http://127.0.0.1:%d", site)
	c.Admin = fmt.Sprintf("http://127.0.0.1:%d", admin)
	options := fmt.Sprintf("\tadmin 127.0.0.1:%d\n\thttp_port %d\n\thttps_port %d\n\tlocal_certs\n\tskip_install_trust\n",
		admin, FreePort(c.T), FreePort(c.T))
	config = strings.Replace(config, "\n:8080 {\n", fmt.Sprintf("\n:%d {\n", site), 1)
	if before, after, ok := strings.Cut(config, "\n{\n"); ok {
		return before + "\n{\n" + options + after
	}
	return "{\n" + options + "}\n" + config
}

// wantAnswer says something and expects the model server's answer.
func wantAnswer(t testing.TB, c *Client) {
	t.Helper()
	session := NewSession()
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
func wantCompletion(t testing.TB, c *Client, model string) {
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
	c := StartExample(t, "quickstart")
	acme := NewClient(c, "acme", "")
	if a := acme.Say(NewSession(), "one two three"); a.Text != "one two three" {
		t.Errorf("got %q", a.Text)
	}
	resp := NewClient(c, "", "").Do(http.MethodGet, "/", nil)
	if page := ReadAll(t, resp); !strings.Contains(page, `data-testid="composer"`) {
		t.Errorf("the page: %d %s", resp.StatusCode, page)
	}
	WantFailure(t, NewClient(c, "", "").Do(http.MethodGet, "/health", nil), http.StatusBadRequest, "tenant_required")
}

func tryExistingSite(t *testing.T) {
	site := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		fmt.Fprintf(w, "the site: %s %s %s", r.Method, r.URL.Path, body)
	}))
	t.Cleanup(site.Close)
	model := newModelServer(t)
	c := StartExample(t, "existing-site",
		"reverse_proxy 127.0.0.1:3000", "reverse_proxy "+site.Listener.Addr().String(),
		"ai_gateway @chat openai {env.OPENAI_API_KEY}",
		"ai_gateway @chat {\n provider openai {\n api_key {env.OPENAI_API_KEY}\n base_url "+model.URL+"/v1\n }\n default_model gpt-4o-mini\n }")

	nobody := NewClient(c, "", "")
	for _, path := range []string{"/", "/health", "/v1/health", "/v1/orders", "/chatter"} {
		resp := nobody.Do(http.MethodPost, path, `{"a":1}`)
		if got, want := ReadAll(t, resp), "the site: POST "+path+` {"a":1}`; got != want || resp.StatusCode != http.StatusOK {
			t.Errorf("%s: %d %q, want %q", path, resp.StatusCode, got, want)
		}
		if trace := resp.Header.Get("X-Trace-Id"); trace != "" {
			t.Errorf("%s went through the chain, trace id %s", path, trace)
		}
	}
	WantFailure(t, nobody.Do(http.MethodGet, "/chat", nil), http.StatusBadRequest, "tenant_required")

	wantAnswer(t, NewClient(c, "acme", "ann"))
	if got := model.only(t); got.authorization != "Bearer sk-the-providers" || got.path != "/v1/chat/completions" {
		t.Errorf("upstream got %+v", got)
	}
}

func tryOpenAIGateway(t *testing.T) {
	model := newModelServer(t)
	c := StartExample(t, "openai-gateway",
		"provider openai {", "provider openai {\n base_url "+model.URL+"/v1")
	acme, globex := NewClient(c, "", ""), NewClient(c, "", "")
	acme.Key, globex.Key = "acme-key", "globex-key"

	wantCompletion(t, acme, "smart")
	if got := model.only(t); got.Model != "gpt-4.1" || got.authorization != "Bearer sk-the-providers" {
		t.Errorf("upstream got %+v", got)
	}
	body := `{"model":"smart","messages":[{"role":"user","content":"hi"}]}`
	WantFailure(t, globex.Do(http.MethodPost, "/v1/chat/completions", body), http.StatusForbidden, "model_not_allowed")
	WantFailure(t, NewClient(c, "", "").Do(http.MethodPost, "/v1/chat/completions", body), http.StatusUnauthorized, "invalid_api_key")
}

func tryProduction(t *testing.T) {
	model := newModelServer(t)
	data := t.TempDir()
	httpsPort, metricsPort := FreePort(t), FreePort(t)
	c := StartExample(t, "production",
		"tenants /etc/caddy/tenants/*.json", "tenants tenants/*.json",
		"/var/lib/caddy/chat", data,
		"provider openai {", "provider openai {\n base_url "+model.URL+"/v1",
		"chat.example.com {", fmt.Sprintf("chat.example.com:%d {", httpsPort),
		":9180 {", fmt.Sprintf(":%d {", metricsPort))

	nobody := NewClient(c, "", "ann")
	nobody.URL = "https://chat.example.com"
	nobody.HTTP = trusting(t, c, httpsPort)
	acme := *nobody
	acme.Key = "acme-key"

	wantAnswer(t, &acme)
	WantFailure(t, nobody.Do(http.MethodGet, "/chat", nil), http.StatusBadRequest, "tenant_required")
	WantFailure(t, nobody.Do(http.MethodGet, "/v1/models", nil), http.StatusBadRequest, "tenant_required")
	var health struct {
		Data struct {
			Status string `json:"status"`
		} `json:"data"`
	}
	if status := nobody.Call(http.MethodGet, "/health", nil, &health); status != http.StatusOK || health.Data.Status != "ok" {
		t.Errorf("health: %d %+v", status, health)
	}

	metrics, err := http.Get(fmt.Sprintf("http://127.0.0.1:%d/metrics", metricsPort))
	if err != nil {
		t.Fatal(err)
	}
	if text := ReadAll(t, metrics); !strings.Contains(text, `caddy_chat_requests_total{code="200",tenant="acme"}`) {
		t.Errorf("metrics without acme's requests:\n%s", text)
	}
	wantAccessLog(t, c)
	if entries, err := os.ReadDir(data); err != nil || len(entries) == 0 {
		t.Errorf("no store in its directory: %v", err)
	}
}

// trusting returns an HTTP client that trusts the process's own certificate
// authority, and finds every host at one port of the loopback interface.
func trusting(t testing.TB, c *Caddy, port int) *http.Client {
	t.Helper()
	roots := x509.NewCertPool()
	root := filepath.Join(c.Dir, "caddy", "pki", "authorities", "local", "root.crt")
	Eventually(t, "Caddy has made its root certificate", func() bool {
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
	// the site's certificate is made in the background, too
	Eventually(t, "Caddy has its certificate", func() bool {
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
func wantAccessLog(t testing.TB, c *Caddy) {
	t.Helper()
	type line struct {
		Logger    string `json:"logger"`
		Tenant    string `json:"tenant"`
		Model     string `json:"model"`
		TokensOut int    `json:"tokens_out"`
	}
	want := line{Logger: "http.log.access.log0", Tenant: "acme", Model: "fast", TokensOut: 3}
	Eventually(t, fmt.Sprintf("the log has %+v", want), func() bool {
		for text := range strings.Lines(c.Log.String()) {
			var l line
			if json.Unmarshal([]byte(text), &l) == nil && l == want {
				return true
			}
		}
		return false
	})
}
