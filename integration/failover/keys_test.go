package failover

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	caddyv2 "github.com/caddyserver/caddy/v2"

	_ "github.com/caddy-chat/caddy-chat"
	"github.com/caddy-chat/caddy-chat/integration/harness"
)

// Every key of the tests contains seededKey, and every user message seededText.
const (
	seededKey  = "Zq9Key"
	seededText = "Zq9Text"
)

// seeded returns a key that contains a name and looks like a real one.
func seeded(name string) string { return seededKey + name + "7f3a9c1e5b8d2046" }

// overheard is a transport that records all answers.
type overheard struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (o *overheard) RoundTrip(req *http.Request) (*http.Response, error) {
	resp, err := harness.Transport.RoundTrip(req)
	if err != nil {
		return nil, err
	}
	fmt.Fprintf(o, "%s %s: %s %v\n", req.Method, req.URL, resp.Status, resp.Header)
	resp.Body = struct {
		io.Reader
		io.Closer
	}{io.TeeReader(resp.Body, o), resp.Body}
	return resp, nil
}

func (o *overheard) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.buf.Write(p)
}

func (o *overheard) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.buf.String()
}

// productionLog returns the log block of the production example.
func productionLog(t testing.TB) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(harness.ExamplesDir, "production", "Caddyfile"))
	if err != nil {
		t.Fatal(err)
	}
	_, rest, ok := strings.Cut(string(text), "\n\tlog {")
	block, _, ok2 := strings.Cut(rest, "\n\t}\n")
	if !ok || !ok2 || !strings.Contains(block, "filter") {
		t.Fatal("the example has no log with a filter")
	}
	return "log {" + block + "\n}\n"
}

// keyedTypes returns the options, besides base_url, of each provider type that
// takes a key.
func keyedTypes() map[string]string {
	types := make(map[string]string)
	for _, m := range caddyv2.GetModules("chat.providers") {
		switch name := m.ID.Name(); name {
		case "echo":
		case "bedrock":
			types[name] = fmt.Sprintf("region us-east-1\naccess_key_id %s\nsecret_access_key %s\nsession_token %s", seeded("Id"), seeded("Secret"), seeded("Token"))
		case "cloudflare":
			types[name] = "account_id acct\napi_key " + seeded("Provider")
		default:
			types[name] = "api_key " + seeded("Provider")
		}
	}
	return types
}

// leaks returns a text that repeats the headers of a call, keys included, and
// another key.
func leaks(c *harness.Call) string {
	return fmt.Sprintf("%s in https://user:%[1]s@api.example.com/v1?key=%[1]s, %v", seeded("Told"), c.R.Header)
}

// leaking answers with a status, and with keys in headers and body.
func leaking(status int, code string) harness.Script {
	return func(c *harness.Call) {
		for _, name := range []string{"X-Secret", "Set-Cookie", "Location", "X-Ai-Provider", "X-Request-Id", "Www-Authenticate"} {
			c.W.Header().Set(name, "k="+seeded("Header"))
		}
		body := fmt.Sprintf(`{"error":{"message":%s,"type":%s,"param":%[2]s,"code":%[3]q}}`, harness.Quote(leaks(c)), harness.Quote(seeded("Type")), code)
		harness.Document(status, body)(c)
	}
}

// leakingFrame is an event with keys in it.
func leakingFrame(format string) harness.Script {
	return func(c *harness.Call) { c.Send("data: " + fmt.Sprintf(format, harness.Quote(leaks(c))) + "\n\n") }
}

// TestKeysStayHere seeds keys everywhere and looks for them in all output:
// answers, debug logs and metrics.
func TestKeysStayHere(t *testing.T) {
	t.Parallel()
	up := harness.NewTarget(t, "up", harness.Says(7, 3, "Hello"))
	gone := harness.NewTarget(t, "gone", harness.Says(7, 3, "Hello"))
	gone.Down()

	var providers strings.Builder
	var names []string
	for typ, options := range keyedTypes() {
		for _, f := range []*harness.Upstream{up, gone} {
			name := typ + "-" + f.Name
			names = append(names, name)
			fmt.Fprintf(&providers, "provider %s %s {\nbase_url %s\n%s\nheader X-Extra %s\n}\n", name, typ, f.URL, options, seeded("Extra"))
		}
	}
	if len(names) < 2 {
		t.Fatalf("providers are %v", names)
	}
	tenants := fmt.Sprintf(`debug
	chat {
		tenant keyed {
			api_key %s
			credential openai-up %s
			system "%s"
		}
		tenant other {
			api_key %s
		}
		tenant globex {
		}
	}
`, seeded("Tenant"), seeded("Credential"), seededText, seeded("Other"))
	c := harness.Start(t, tenants, productionLog(t)+fmt.Sprintf(`
	tenant_resolve
	chat_ratelimit {
		requests 100000 1m
	}
	chat_session
	ai_gateway {
		%s
		model fast {
			to openai-up/up-1
			to openai-gone/up-2
		}
		passthrough
		retries 0
		circuit_breaker 100000 1s
		response_timeout 1m
	}
`, providers.String()))

	heard := new(overheard)
	as := func(tenant, key string) *harness.Client {
		cl := harness.NewClient(c, tenant, "ann")
		cl.Key, cl.HTTP = key, &http.Client{Transport: heard}
		return cl
	}
	keyed, globex := as("", seeded("Tenant")), as("globex", "")

	// askAll asks each provider, and the model with a fallback
	askAll := func(cl *harness.Client) {
		for _, model := range append([]string{"fast"}, namesWithModel(names)...) {
			for _, stream := range []bool{false, true} {
				q := harness.Question{Model: model, Messages: []harness.Message{{Role: "user", Content: seededText + " sk-" + seededText + "7f3a9c1e5b8d2046"}}, Stream: stream}
				harness.ReadAll(t, cl.Do(http.MethodPost, harness.CompletionsPath, q))
			}
		}
		for _, stream := range []bool{false, true} {
			harness.ReadAll(t, cl.Do(http.MethodPost, "/chat", harness.ChatRequest{SessionID: harness.NewSession(), Message: seededText + " sk-" + seededText + "7f3a9c1e5b8d2046", Stream: &stream}))
		}
	}
	for _, do := range []harness.Script{
		harness.Says(7, 3, "Hello"),
		leaking(400, "bad_value"), leaking(400, "context_length_exceeded"), leaking(400, "content_filter"),
		leaking(401, "invalid_api_key"), leaking(403, "x"), leaking(404, "model_not_found"), leaking(307, "x"),
		leaking(429, "rate_limit_exceeded"), leaking(500, "server_error"), leaking(200, "server_error"),
		func(c *harness.Call) { harness.Document(503, leaks(c), "Content-Type", "text/html")(c) },
		func(c *harness.Call) { harness.Document(200, leaks(c), "Content-Type", "text/html")(c) },
		func(c *harness.Call) { harness.Document(200, `{"odd":`+harness.Quote(leaks(c))+`}`)(c) },
		harness.Steps(harness.Begins("Hel"), leakingFrame(`{"error":{"message":%s}}`)),
		harness.Steps(harness.Begins("Hel"), leakingFrame(`{"error":{"message":%s,"code":400}}`)),
		harness.Steps(harness.Begins("Hel"), leakingFrame(`{"no json": %s`), harness.Reset),
		harness.Steps(harness.HeaderOnly, leakingFrame(`{"error":{"message":%s,"code":"invalid_api_key"}}`)),
		harness.Steps(harness.Begins(), func(c *harness.Call) { c.Send("event: error\ndata: " + leaks(c) + "\n\n") }),
		harness.Reset,
	} {
		up.Plays(do)
		askAll(keyed)
		askAll(globex)
	}
	up.Plays(harness.Says(7, 3, "Hello"))

	// unknown keys, another tenant's keys, and keys in places where none belong
	wrong := seeded("Wrong")
	for _, cl := range []*harness.Client{as("", wrong), as("keyed", wrong), as("keyed", seeded("Other")), as("globex", wrong), as("globex", seeded("Tenant")), as("", "")} {
		for _, path := range []string{"/v1/models", "/v1/health", "/chat", "/elsewhere"} {
			for _, header := range [][]string{nil, {"X-Api-Key", wrong}, {"X-Api-Key", seeded("Tenant")}, {"X-Api-Key", seeded("Other"), "X-Tenant-Id", "keyed"}, {"Cookie", "key=" + wrong}} {
				harness.ReadAll(t, cl.Do(http.MethodGet, path, nil, header...))
			}
		}
		harness.ReadAll(t, cl.Do(http.MethodPost, harness.CompletionsPath, harness.NewQuestion("fast"), "Proxy-Authorization", "Basic "+wrong))
	}
	for _, body := range []string{
		`{"model":"` + wrong + `","messages":[{"role":"user","content":"hi"}]}`,
		`{"model":"fast","messages":[{"role":"user","content":"hi"}],"stream":"` + wrong + `"}`,
		`{"model":"fast","` + wrong + `":1,"` + wrong + `":2}`, wrong, `{"message":["` + wrong + `"]}`, `{"sessionId":"` + wrong + `","message":"hi"}`,
	} {
		harness.ReadAll(t, keyed.Do(http.MethodPost, harness.CompletionsPath, body))
		harness.ReadAll(t, keyed.Do(http.MethodPost, "/chat", body))
	}
	harness.ReadAll(t, globex.Do(http.MethodGet, "/v1/models", nil, "X-Trace-Id", "trace-last"))
	c.AccessLog("trace-last")

	metrics := harness.ReadAll(t, doAt(globex, c.Admin+"/metrics"))
	c.Stop()
	log := c.Log.String()
	if !strings.Contains(log, `"level":"debug"`) || !strings.Contains(log, "a model call failed") || !strings.Contains(log, "REDACTED") {
		t.Error("the log lacks debug entries, failures or redactions")
	}
	for _, name := range names {
		if !strings.Contains(metrics, fmt.Sprintf(`caddy_ai_attempts_total{model="passthrough",provider=%q,result="error"}`, name)) {
			t.Errorf("no call of %s failed", name)
		}
	}
	if !strings.Contains(heard.String(), "Hello") {
		t.Error("no call succeeded")
	}
	for what, text := range map[string]string{"an answer": heard.String(), "the log": log, "/metrics": metrics} {
		for line := range strings.Lines(text) {
			if at := strings.Index(line, seededKey); at >= 0 {
				t.Errorf("%s holds a key: ...%.300s", what, line[max(0, at-150):])
			}
			if what != "an answer" && strings.Contains(line, seededText) {
				t.Errorf("%s holds what a user said: %.500s", what, line)
			}
		}
	}
	wantKeys(t, up)
}

// doAt gets a URL outside the site.
func doAt(c *harness.Client, url string) *http.Response {
	c.T.Helper()
	resp, err := http.Get(url)
	if err != nil {
		c.T.Fatal(err)
	}
	return resp
}

func namesWithModel(providers []string) []string {
	var list []string
	for _, p := range providers {
		list = append(list, p+"/up-9")
	}
	return list
}

// wantKeys checks that the target got its provider's and tenants' keys, and no
// client's.
func wantKeys(t testing.TB, up *harness.Upstream) {
	t.Helper()
	seen := make(map[string]bool)
	for _, a := range up.Requests() {
		headers := fmt.Sprint(a.Header)
		for _, key := range []string{"Tenant", "Other", "Wrong"} {
			if strings.Contains(headers, seeded(key)) {
				t.Fatalf("a client's key went upstream: %s", headers)
			}
		}
		for _, key := range []string{"Credential", "Provider", "Extra"} {
			seen[key] = seen[key] || strings.Contains(headers, seeded(key))
		}
	}
	if !seen["Credential"] || !seen["Provider"] || !seen["Extra"] {
		t.Errorf("the target saw the keys %v", seen)
	}
}

// TestShortKeyStaysHere has a key that looks like a word, as keys of self-hosted
// servers often do, and a provider that repeats it in its error message.
func TestShortKeyStaysHere(t *testing.T) {
	t.Parallel()
	up := harness.NewTarget(t, "up", harness.Document(400, `{"error":{"message":"upstream-words from Zq9-word","code":"bad_value","param":"Zq9-word"}}`))
	c := harness.Start(t, "debug\n"+harness.GatewayTenants, fmt.Sprintf(`
	tenant_resolve
	ai_gateway {
		provider openai {
			base_url %s
			api_key Zq9-word
		}
		model fast {
			to openai/up-1
		}
	}
`, up.URL))
	got := harness.NewClient(c, "globex", "ann").Complete(harness.NewQuestion("fast"))
	got.WantRefused(t, http.StatusBadRequest, "bad_value")
	harness.WantReason(t, got.Error, true)
	c.Stop()
	for what, text := range map[string]string{"the answer": got.Error + strings.Join(got.Frames, ""), "the log": c.Log.String()} {
		if strings.Contains(text, "Zq9-word") {
			t.Errorf("%s holds the key", what)
		}
	}
}
