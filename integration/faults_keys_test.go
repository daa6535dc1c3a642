package integration

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
)

// Every key of the test has the one in it, and what the users say the other.
const (
	seededKey  = "Zq9Key"
	seededText = "Zq9Text"
)

// seeded is a key with a name, of the length and the look that keys have.
func seeded(name string) string { return seededKey + name + "7f3a9c1e5b8d2046" }

// overheard is a transport that remembers everything that came out.
type overheard struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (o *overheard) RoundTrip(req *http.Request) (*http.Response, error) {
	resp, err := transport.RoundTrip(req)
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

// productionLog is the log block of the example for production.
func productionLog(t testing.TB) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("..", "caddyfile-examples", "production", "Caddyfile"))
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

// keyedTypes are the types of providers that are called with a key, and what
// they need beside a base URL.
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

// leaks are answers that repeat the key that a call was made with, and others.
func leaks(c *targetCall) string {
	return fmt.Sprintf("%s in https://user:%[1]s@api.example.com/v1?key=%[1]s, %v", seeded("Told"), c.r.Header)
}

// leaking answers with a status and keys in all places.
func leaking(status int, code string) behaviour {
	return func(c *targetCall) {
		for _, name := range []string{"X-Secret", "Set-Cookie", "Location", "X-Ai-Provider", "X-Request-Id", "Www-Authenticate"} {
			c.w.Header().Set(name, "k="+seeded("Header"))
		}
		body := fmt.Sprintf(`{"error":{"message":%s,"type":%s,"param":%[2]s,"code":%[3]q}}`, quote(leaks(c)), quote(seeded("Type")), code)
		document(status, body)(c.w, c.r)
	}
}

// leakingFrame is an event with keys in it.
func leakingFrame(format string) behaviour {
	return func(c *targetCall) { c.send("data: " + fmt.Sprintf(format, quote(leaks(c))) + "\n\n") }
}

// TestKeysStayHere seeds keys everywhere and looks for them in everything
// that comes out: answers, logs at the level that tells the most, metrics.
func TestKeysStayHere(t *testing.T) {
	t.Parallel()
	up := newTarget(t, "up", says(7, 3, "Hello"))
	gone := newTarget(t, "gone", says(7, 3, "Hello"))
	gone.down()

	var providers strings.Builder
	var names []string
	for typ, options := range keyedTypes() {
		for _, f := range []*target{up, gone} {
			name := typ + "-" + f.name
			names = append(names, name)
			fmt.Fprintf(&providers, "provider %s %s {\nbase_url %s\n%s\nheader X-Extra %s\n}\n", name, typ, f.url, options, seeded("Extra"))
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
	c := startCaddy(t, tenants, productionLog(t)+fmt.Sprintf(`
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
	as := func(tenant, key string) *client {
		cl := newClient(c, tenant, "ann")
		cl.key, cl.http = key, &http.Client{Transport: heard}
		return cl
	}
	keyed, globex := as("", seeded("Tenant")), as("globex", "")

	// what is asked, of each provider and of the model with a fallback
	askAll := func(cl *client) {
		for _, model := range append([]string{"fast"}, namesWithModel(names)...) {
			for _, stream := range []bool{false, true} {
				q := question{Model: model, Messages: []said{{"user", seededText + " sk-" + seededText + "7f3a9c1e5b8d2046"}}, Stream: stream}
				readAll(t, cl.do(http.MethodPost, completions, q))
			}
		}
		for _, stream := range []bool{false, true} {
			readAll(t, cl.do(http.MethodPost, "/chat", ask{SessionID: newSession(), Message: seededText + " sk-" + seededText + "7f3a9c1e5b8d2046", Stream: &stream}))
		}
	}
	for _, do := range []behaviour{
		says(7, 3, "Hello"),
		leaking(400, "bad_value"), leaking(400, "context_length_exceeded"), leaking(400, "content_filter"),
		leaking(401, "invalid_api_key"), leaking(403, "x"), leaking(404, "model_not_found"), leaking(307, "x"),
		leaking(429, "rate_limit_exceeded"), leaking(500, "server_error"), leaking(200, "server_error"),
		func(c *targetCall) { document(503, leaks(c), "Content-Type", "text/html")(c.w, c.r) },
		func(c *targetCall) { document(200, leaks(c), "Content-Type", "text/html")(c.w, c.r) },
		func(c *targetCall) { document(200, `{"odd":`+quote(leaks(c))+`}`)(c.w, c.r) },
		steps(begins("Hel"), leakingFrame(`{"error":{"message":%s}}`)),
		steps(begins("Hel"), leakingFrame(`{"error":{"message":%s,"code":400}}`)),
		steps(begins("Hel"), leakingFrame(`{"no json": %s`), reset),
		steps(headerOnly, leakingFrame(`{"error":{"message":%s,"code":"invalid_api_key"}}`)),
		steps(begins(), func(c *targetCall) { c.send("event: error\ndata: " + leaks(c) + "\n\n") }),
		reset,
	} {
		up.plays(do)
		askAll(keyed)
		askAll(globex)
	}
	up.plays(says(7, 3, "Hello"))

	// keys that are nobody's, another tenant's, or where none belongs
	wrong := seeded("Wrong")
	for _, cl := range []*client{as("", wrong), as("keyed", wrong), as("keyed", seeded("Other")), as("globex", wrong), as("globex", seeded("Tenant")), as("", "")} {
		for _, path := range []string{"/v1/models", "/v1/health", "/chat", "/elsewhere"} {
			for _, header := range [][]string{nil, {"X-Api-Key", wrong}, {"X-Api-Key", seeded("Tenant")}, {"X-Api-Key", seeded("Other"), "X-Tenant-Id", "keyed"}, {"Cookie", "key=" + wrong}} {
				readAll(t, cl.do(http.MethodGet, path, nil, header...))
			}
		}
		readAll(t, cl.do(http.MethodPost, completions, newQuestion("fast"), "Proxy-Authorization", "Basic "+wrong))
	}
	for _, body := range []string{
		`{"model":"` + wrong + `","messages":[{"role":"user","content":"hi"}]}`,
		`{"model":"fast","messages":[{"role":"user","content":"hi"}],"stream":"` + wrong + `"}`,
		`{"model":"fast","` + wrong + `":1,"` + wrong + `":2}`, wrong, `{"message":["` + wrong + `"]}`, `{"sessionId":"` + wrong + `","message":"hi"}`,
	} {
		readAll(t, keyed.do(http.MethodPost, completions, body))
		readAll(t, keyed.do(http.MethodPost, "/chat", body))
	}
	readAll(t, globex.do(http.MethodGet, "/v1/models", nil, "X-Trace-Id", "trace-last"))
	c.accessLog("trace-last")

	metrics := readAll(t, globex.doAt(c.admin+"/metrics"))
	c.stop()
	log := c.log.String()
	if !strings.Contains(log, `"level":"debug"`) || !strings.Contains(log, "a model call failed") || !strings.Contains(log, "REDACTED") {
		t.Error("the log does not tell the most")
	}
	for _, name := range names {
		if !strings.Contains(metrics, fmt.Sprintf(`caddy_ai_attempts_total{model="passthrough",provider=%q,result="error"}`, name)) {
			t.Errorf("no call of %s has failed", name)
		}
	}
	if !strings.Contains(heard.String(), "Hello") {
		t.Error("no call went well")
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

// doAt gets another address than the site's.
func (c *client) doAt(url string) *http.Response {
	c.t.Helper()
	resp, err := http.Get(url)
	if err != nil {
		c.t.Fatal(err)
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

// wantKeys checks that the target got its own keys, or those that a tenant
// has for it, and no client's.
func wantKeys(t testing.TB, up *target) {
	t.Helper()
	seen := make(map[string]bool)
	for _, a := range up.requests() {
		headers := fmt.Sprint(a.header)
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

// TestShortKeyStaysHere has a key that looks like a word, as those of servers
// of one's own often do, and a provider that repeats it in its reason.
func TestShortKeyStaysHere(t *testing.T) {
	t.Parallel()
	up := newTarget(t, "up", answersWith(400, `{"error":{"message":"upstream-words from Zq9-word","code":"bad_value"}}`))
	c := startCaddy(t, "debug\n"+gatewayTenants, fmt.Sprintf(`
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
`, up.url))
	got := newClient(c, "globex", "ann").complete(newQuestion("fast"))
	got.wantRefused(t, http.StatusBadRequest, "invalid_request")
	wantReason(t, got.error, true)
	c.stop()
	for what, text := range map[string]string{"the answer": got.error, "the log": c.log.String()} {
		if strings.Contains(text, "Zq9-word") {
			t.Errorf("%s holds the key", what)
		}
	}
}
