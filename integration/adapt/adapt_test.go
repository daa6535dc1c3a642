package adapt

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/caddyserver/caddy/v2/caddyconfig"
	_ "github.com/caddyserver/caddy/v2/modules/standard"

	_ "github.com/caddy-chat/caddy-chat"
	"github.com/caddy-chat/caddy-chat/integration/harness"
)

// TestAdapt adapts every .caddyfiletest file of this folder. Each holds a
// Caddyfile, a line of ten dashes, and either the JSON, which must also be
// valid, or lines "error: <words>", each of which the error must contain.
func TestAdapt(t *testing.T) {
	files, err := filepath.Glob("*.caddyfiletest")
	if err != nil || len(files) == 0 {
		t.Fatalf("no cases: %v", err)
	}
	for name, value := range map[string]string{
		"OPENAI_API_KEY": "sk-openai", "ACME_KEY": "acme-key", "ACME_OPENAI_KEY": "sk-acme",
		"CHAT_STORE_KEY": strings.Repeat("0f", 32), "JWT_SECRET": strings.Repeat("s", 64),
	} {
		t.Setenv(name, value)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".caddyfiletest"), func(t *testing.T) {
			text, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			config, want, ok := strings.Cut(string(text), "\n----------\n")
			if want = strings.TrimSpace(want); !ok || want == "" {
				t.Fatal("want a Caddyfile, a line of ten dashes, and JSON or errors")
			}
			if strings.HasPrefix(want, "error: ") {
				adaptFails(t, config, want)
			} else {
				adaptsTo(t, config+"\n", want)
			}
		})
	}
}

func adapt(t testing.TB, config string) (doc []byte, warnings []caddyconfig.Warning, err error) {
	t.Helper()
	return caddyconfig.GetAdapter("caddyfile").Adapt([]byte(config), map[string]any{"filename": "Caddyfile"})
}

func adaptFails(t testing.TB, config, want string) {
	t.Helper()
	_, _, err := adapt(t, config)
	if err == nil {
		t.Fatalf("adapted without an error, want %s", want)
	}
	for line := range strings.Lines(want) {
		words, ok := strings.CutPrefix(strings.TrimSpace(line), "error: ")
		if !ok || words == "" {
			t.Fatalf("want error: and some words, not %q", line)
		}
		if !strings.Contains(err.Error(), words) {
			t.Errorf("the error does not say %q: %v", words, err)
		}
	}
}

func adaptsTo(t testing.TB, config, want string) {
	t.Helper()
	got, warnings, err := adapt(t, config)
	if err != nil {
		t.Fatal(err)
	}
	for _, w := range warnings {
		t.Errorf("line %d: %s", w.Line, w.Message)
	}
	if got, want := indented(t, got), indented(t, []byte(want)); got != want {
		t.Errorf("got:\n%s\nwant:\n%s", got, want)
	}
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "Caddyfile"), []byte(config), 0o600); err != nil {
		t.Fatal(err)
	}
	if out, err := harness.RunCaddy(t, dir, "validate", "--config", "Caddyfile"); err != nil {
		t.Errorf("the configuration is not valid: %s", harness.Complaint(out))
	}
}

func indented(t testing.TB, doc []byte) string {
	t.Helper()
	var b bytes.Buffer
	if err := json.Indent(&b, doc, "", "\t"); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

// TestAdaptedOrder checks that the order of directives in the Caddyfile does
// not matter, so that route is not needed.
func TestAdaptedOrder(t *testing.T) {
	directives := map[string]string{
		"tenant_resolve": "tenant_resolve", "chat_ratelimit": "chat_ratelimit", "chat_session": "chat_session", "ai_gateway": "ai_gateway echo",
		"encode": "encode", "templates": "templates", "header": "header X-A b", "respond": "respond @x hi", "basic_auth": "basic_auth @x {\nann $2a$14$Zkx19XLiW6VYouLHR5NmfOFU0z2GTNmpkT/5qqR7hx4IjWJPDhjvG\n}",
		"reverse_proxy": "reverse_proxy @x 127.0.0.1:1", "file_server": "file_server", "handle": "handle @x {\nrespond hi\n}", "route": "route @x {\nrespond hi\n}", "request_header": "request_header X-A b",
	}
	orders := [][]string{
		{"ai_gateway", "chat_session", "chat_ratelimit", "tenant_resolve"},
		{"file_server", "ai_gateway", "reverse_proxy", "chat_session", "chat_ratelimit", "tenant_resolve"},
		{"handle", "route", "ai_gateway", "tenant_resolve", "chat_session", "chat_ratelimit", "file_server"},
		{"respond", "templates", "encode", "ai_gateway", "chat_ratelimit", "request_header", "header", "basic_auth", "tenant_resolve", "chat_session", "file_server", "reverse_proxy", "handle"},
	}
	for _, order := range orders {
		t.Run(strings.Join(order, " "), func(t *testing.T) {
			config := ":8080 {\n@x path /x\n"
			for _, name := range order {
				config += directives[name] + "\n"
			}
			doc, _, err := adapt(t, config+"}\n")
			if err != nil {
				t.Fatal(err)
			}
			got := handlersOf(t, doc)
			chain := []string{"tenant_resolve", "chat_ratelimit", "chat_session", "ai_gateway"}
			last := -1
			for _, name := range chain {
				i := slices.Index(got, name)
				if i <= last {
					t.Errorf("%s is at %d of %v", name, i, got)
				}
				last = i
			}
			for _, name := range []string{"static_response", "reverse_proxy", "file_server", "subroute"} {
				if i := slices.Index(got, name); i >= 0 && i < last {
					t.Errorf("%s comes before ai_gateway in %v", name, got)
				}
			}
			// basic_auth refuses before the chain runs, and answers are
			// encoded
			if i := slices.Index(got, "authentication"); i >= 0 && i > slices.Index(got, "tenant_resolve") {
				t.Errorf("authentication comes after tenant_resolve in %v", got)
			}
			if i := slices.Index(got, "encode"); i >= 0 && i > slices.Index(got, "chat_session") {
				t.Errorf("encode comes after chat_session in %v", got)
			}
		})
	}
}

// handlersOf lists the handlers of the only site in order.
func handlersOf(t testing.TB, doc []byte) []string {
	t.Helper()
	var config struct {
		Apps struct {
			HTTP struct {
				Servers map[string]struct {
					Routes []struct {
						Handle []struct {
							Handler string `json:"handler"`
						} `json:"handle"`
					} `json:"routes"`
				} `json:"servers"`
			} `json:"http"`
		} `json:"apps"`
	}
	if err := json.Unmarshal(doc, &config); err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, r := range config.Apps.HTTP.Servers["srv0"].Routes {
		for _, h := range r.Handle {
			names = append(names, h.Handler)
		}
	}
	return names
}

// TestValidateBesideAServer runs caddy validate beside a server that has the
// store open. It must change nothing.
func TestValidateBesideAServer(t *testing.T) {
	c := harness.Start(t, "chat {\nstore badger data\n}", harness.EchoChain)
	cl := harness.NewClient(c, "", "ann")
	session := harness.NewSession()
	cl.Say(session, "before")

	if out, err := c.Command(t.Context(), "validate", "--config", "Caddyfile").CombinedOutput(); err != nil {
		t.Errorf("validate: %v\n%s", err, out)
	}
	if out, err := c.Command(t.Context(), "adapt", "--validate", "--config", "Caddyfile").CombinedOutput(); err != nil {
		t.Errorf("adapt: %v\n%s", err, out)
	}
	cl.Say(session, "after")
	if msgs := cl.History(session); len(msgs) != 4 {
		t.Errorf("the history is %+v", msgs)
	}
}

func TestValidateMakesNoStore(t *testing.T) {
	for name, option := range map[string]string{"in the default folder": "", "in a folder": "store badger data", "in a nested folder": "store badger deep/data"} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			config := "{\nadmin off\nauto_https off\nchat {\n" + option + "\n}\n}\nhttp://127.0.0.1:1 {\ntenant_resolve\n}\n"
			if err := os.WriteFile(filepath.Join(dir, "Caddyfile"), []byte(config), 0o600); err != nil {
				t.Fatal(err)
			}
			if out, err := harness.RunCaddy(t, dir, "validate", "--config", "Caddyfile"); err != nil {
				t.Fatalf("validate: %v\n%s", err, out)
			}
			for _, name := range []string{"data", "deep", "chat", "caddy/chat"} {
				if _, err := os.Stat(filepath.Join(dir, name)); err == nil {
					t.Errorf("%s was created", name)
				}
			}
		})
	}
}
