package tenants

import (
	"encoding/json"
	"maps"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/caddy-chat/caddy-chat/integration/harness"
)

// tenantConfig writes a Caddyfile with these chat options, and tenant files by
// name, into a new folder.
func tenantConfig(t testing.TB, options string, files map[string]string) (dir string) {
	t.Helper()
	dir = t.TempDir()
	config := "{\nadmin off\nauto_https off\nchat {\n" + options + "\n}\n}\nhttp://127.0.0.1:1 {\ntenant_resolve\n}\n"
	writeFile(t, filepath.Join(dir, "Caddyfile"), config)
	for name, text := range files {
		writeFile(t, filepath.Join(dir, name), text)
	}
	return dir
}

func writeFile(t testing.TB, name, text string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(name), 0o700); err != nil {
		t.Fatal(err)
	}
	// rename, so that Caddy never reads half a file
	if err := os.WriteFile(name+".new", []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(name+".new", name); err != nil {
		t.Fatal(err)
	}
}

// wholeTenant has every field, one per line.
const wholeTenant = `{
	"id": "acme",
	"hosts": ["acme.example.com", "*.acme.example.com"],
	"api_keys": ["sha256:5e884898da28047151d0e56f8dc6292773603d0d6aabbdd62a11ef721d1542d8", "{env.HOME}"],
	"model": "fast",
	"models": ["fast", "smart"],
	"requests": ["60 1m", "1000 1m per tenant"],
	"burst": ["20 10s"],
	"tokens": ["100000 1m per tenant"],
	"concurrent": ["10"],
	"budgets": ["50000 tokens/day", "25 usd/month"],
	"retention": "30d",
	"max_messages": 1000,
	"system": "You are Acme's assistant.",
	"credentials": {"openai": "{env.HOME}"},
	"metadata": {"plan": "gold"}
}
`

// TestTenantMistakes checks that caddy validate names the place of each mistake
// in the tenants, or both places of a conflict.
func TestTenantMistakes(t *testing.T) {
	t.Parallel()
	replaced := func(line, by string) map[string]string {
		text := strings.Replace(wholeTenant, line, by, 1)
		if text == wholeTenant {
			t.Fatalf("%q is not in the file", line)
		}
		return map[string]string{"acme.json": text}
	}
	one := func(name, text string) map[string]string { return map[string]string{name: text} }
	keys := func(a, b string) string {
		return "tenant acme {\napi_key " + a + "\n}\ntenant globex {\napi_key " + b + "\n}"
	}
	for _, tt := range []struct {
		name    string
		options string // tenants *.json by default
		files   map[string]string
		want    []string // words of the error; none if valid
	}{
		{"every field", "", one("acme.json", wholeTenant), nil},
		{"an id is enough", "", one("acme.json", `{"id":"acme"}`), nil},

		{"unknown member", "", replaced(`"model": "fast"`, `"modell": "fast"`), []string{"acme.json:5:", "modell"}},
		{"the Caddyfile's name", "", replaced(`"hosts": [`, `"host": [`), []string{"acme.json:3:", "host"}},
		{"a string for a list", "", replaced(`["20 10s"]`, `"20 10s"`), []string{"acme.json:8:", "burst", "string"}},
		{"a number in a list", "", replaced(`"10"`, `10`), []string{"acme.json:10:", "concurrent", "number"}},
		{"a string for a number", "", replaced(`1000,`, `"1000",`), []string{"acme.json:13:", "max_messages", "string"}},
		{"a number for a string", "", replaced(`"gold"`, `1`), []string{"acme.json:16:", "metadata.plan", "number"}},
		{"a duplicate member", "", replaced(`"model": "fast"`, `"id": "acme"`), []string{"acme.json:5:", "id"}},
		{"a duplicate in a member", "", replaced(`"plan": "gold"`, `"plan": "gold", "plan": "tin"`), []string{"acme.json:16:", "plan"}},
		{"half a document", "", one("acme.json", "{\n\"id\": \"acme\",\n"), []string{"acme.json:"}},
		{"a second document", "", one("acme.json", wholeTenant+"{}"), []string{"acme.json:18:"}},
		{"nothing", "", one("acme.json", ""), []string{"acme.json:1:"}},
		{"a list", "", one("acme.json", "[]"), []string{"acme.json:1:"}},

		{"no id", "", one("acme.json", "{\n\"model\": \"fast\"\n}"), []string{"acme.json:1:", "id"}},
		{"a bad id", "", replaced(`"acme"`, `"Acme"`), []string{"acme.json:2:", `"Acme"`, "a-z"}},
		{"a bad host", "", replaced(`"acme.example.com"`, `"https://acme.example.com"`), []string{"acme.json:3:", "hosts", "https://acme.example.com", "without scheme"}},
		{"a bad origin", "", replaced(`"hosts": [`, `"allow_origins": ["https://app.example.com/"], "hosts": [`), []string{"acme.json:3:", "allow_origins", "https://app.example.com/", "without a path"}},
		{"a bad wildcard", "", replaced(`"*.acme`, `"a*.acme`), []string{"acme.json:3:", "hosts", "a*.acme"}},
		{"a bad digest", "", replaced(`sha256:5e`, `sha256:zz`), []string{"acme.json:4:", "api_keys", "64 hex digits"}},
		{"a key without a value", "", replaced(`{env.HOME}"],`, `{env.NO_SUCH_KEY}"],`), []string{"acme.json:4:", "api_keys", "{env.NO_SUCH_KEY}"}},
		{"a bad window", "", replaced(`"60 1m"`, `"60 1x"`), []string{"acme.json:7:", "requests", `window "1x"`, "30s or 1m"}},
		{"a bad limit", "", replaced(`"20 10s"`, `"many 10s"`), []string{"acme.json:8:", "burst", `limit "many"`, "whole number"}},
		{"a bad scope", "", replaced(`"100000 1m per tenant"`, `"100000 1m per planet"`), []string{"acme.json:9:", "tokens", "user, ip, tenant"}},
		{"a window for concurrent", "", replaced(`"10"`, `"10 1m"`), []string{"acme.json:10:", "concurrent", `"1m"`}},
		{"a bad budget", "", replaced(`tokens/day`, `tokens/week`), []string{"acme.json:11:", "budgets", "tokens/week", "tokens/day"}},
		{"a bad amount", "", replaced(`"25 usd`, `"free usd`), []string{"acme.json:11:", "budgets", `"free"`, "US dollars"}},
		{"a bad duration", "", replaced(`"30d"`, `"a month"`), []string{"acme.json:12:", "retention"}},
		{"a negative duration", "", replaced(`"30d"`, `"-1h"`), []string{"acme.json:12:", "retention", "positive"}},
		{"a negative number", "", replaced(`1000,`, `-1,`), []string{"acme.json:13:", "max_messages", "positive"}},
		{"a credential without a value", "", replaced(`"{env.HOME}"}`, `"{env.NO_SUCH_KEY}"}`), []string{"acme.json:15:", "credentials", "openai", "{env.NO_SUCH_KEY}"}},

		{"no file, and no tenant", "tenants *.json", nil, []string{"tenants", "no file matches"}},
		{"no file beside a tenant", "tenants *.json\ntenant acme", nil, nil},
		{"no such file", "tenants acme.json\ntenant globex", nil, []string{"acme.json", "no such file"}},
		{"a bad pattern", "tenants [", nil, []string{"tenants", `"["`}},
		{"a file that two patterns match", "tenants *.json a*.json acme.json", one("acme.json", `{"id":"acme"}`), nil},
		{"files in folders", "tenants */*.json", one("eu/acme.json", `{"id":"acme"}`), nil},

		{"one id, two blocks", "tenant acme {\nmodel a\n}\ntenant acme", nil, []string{"Caddyfile:5", "Caddyfile:8", "acme"}},
		{"one host, two blocks", "tenant acme {\nhost a.test\n}\ntenant globex {\nhost A.test\n}", nil, []string{"Caddyfile:6", "Caddyfile:9", "a.test", "acme"}},
		{"one wildcard, two blocks", "tenant acme {\nhost *.a.test\n}\ntenant globex {\nhost *.a.test\n}", nil, []string{"Caddyfile:6", "Caddyfile:9", "*.a.test", "acme"}},
		{"a wildcard and a name that it matches", "tenant acme {\nhost *.a.test\n}\ntenant globex {\nhost b.a.test\n}", nil, nil},
		{"one key, two blocks", keys(sha256Of("k"), sha256Of("k")), nil, []string{"Caddyfile:6", "Caddyfile:9", "sha256:" + sha256Of("k")[7:15], "acme"}},
		{"one key, in plain text and as a digest", keys("secret-key", sha256Of("secret-key")), nil, []string{"Caddyfile:6", "Caddyfile:9", "acme"}},
		{"one placeholder, two blocks", keys("{env.K}", "{env.K}"), nil, []string{"Caddyfile:6", "Caddyfile:9", "{env.K}", "acme"}},
		{"one key behind two placeholders", keys("{env.HOME}", "{env.XDG_DATA_HOME}"), nil, []string{"tenant block acme", "tenant block globex", "api key sha256:"}},
		{"a block without a key's value", "tenant acme {\napi_key {env.NO_SUCH_KEY}\n}", nil, []string{"acme", "api_keys", "{env.NO_SUCH_KEY}"}},

		{"one id, block and file", "tenant acme\ntenants *.json", one("a.json", "{\n\"id\": \"acme\"}"), []string{"tenant block acme", "a.json:2"}},
		{"one host, block and file", "tenant globex {\nhost a.test\n}\ntenants *.json", one("a.json", `{"id":"acme","hosts":["A.test."]}`), []string{"tenant block globex", "a.json:1", "a.test"}},
		{"one key, block and file", "tenant globex {\napi_key secret-key\n}\ntenants *.json", one("a.json", `{"id":"acme","api_keys":["`+sha256Of("secret-key")+`"]}`), []string{"tenant block globex", "a.json:1"}},
		{"one id, two files", "", map[string]string{"a.json": `{"id":"acme"}`, "b.json": "\n{\"id\":\"acme\"}"}, []string{"a.json:1", "b.json:2"}},
		{"one host, two files", "", map[string]string{"a.json": `{"id":"acme","hosts":["a.test"]}`, "b.json": `{"id":"globex","hosts":["a.test"]}`}, []string{"a.json:1", "b.json:1", "a.test"}},
		{"one key, two files", "", map[string]string{"a.json": `{"id":"acme","api_keys":["secret-key"]}`, "b.json": `{"id":"globex","api_keys":["` + sha256Of("secret-key") + `"]}`}, []string{"a.json:1", "b.json:1"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			options := tt.options
			if options == "" {
				options = "tenants *.json"
			}
			dir := tenantConfig(t, options, tt.files)
			out, err := harness.RunCaddy(t, dir, "validate", "--config", "Caddyfile")
			if (err == nil) != (len(tt.want) == 0) {
				t.Fatalf("validate: %v\n%s", err, out)
			}
			said := harness.Complaint(out)
			for _, want := range tt.want {
				if !strings.Contains(said, want) {
					t.Errorf("the error does not say %q: %s", want, said)
				}
			}
			if strings.Contains(out, "secret-key") {
				t.Errorf("a key is shown: %s", out)
			}
			if strings.Contains(said, "Go ") || strings.Contains(said, "chat.TenantConfig") {
				t.Errorf("the error shows Go's terms: %s", said)
			}
		})
	}
}

// tenantsNow returns which of these tenants a running Caddy knows.
func tenantsNow(c *harness.Caddy, ids ...string) map[string]bool {
	found := make(map[string]bool)
	for _, id := range ids {
		resp := harness.Visit(c, "GET", "/", "any.test", "X-Tenant-Id", id)
		resp.Body.Close()
		if resp.StatusCode == http.StatusOK {
			found[id] = true
		}
	}
	return found
}

func TestTenantFilesAreWatched(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	file := func(name string) string { return filepath.Join(dir, name+".json") }
	write := func(id string, more map[string]any) {
		doc := map[string]any{"id": id}
		maps.Copy(doc, more)
		text, err := json.Marshal(doc)
		if err != nil {
			t.Fatal(err)
		}
		writeFile(t, file(id), string(text))
	}
	write("acme", nil)
	c := harness.StartSites(t, "chat {\ntenants "+filepath.Join(dir, "*.json")+"\n}", `
		http://:{$PORT} {
			tenant_resolve
			respond "{chat.tenant.id} {chat.tenant.metadata.plan}"
		}
	`)
	want := func(what string, ids ...string) {
		t.Helper()
		set := make(map[string]bool)
		for _, id := range ids {
			set[id] = true
		}
		harness.Eventually(t, what, func() bool { return maps.Equal(tenantsNow(c, "acme", "globex", "initech"), set) })
	}
	// said counts the log entries about broken changes
	said := func() int { return strings.Count(c.Log.String(), "its tenant stays as it was") }
	broken := func(what string, change func(), words ...string) {
		t.Helper()
		before := said()
		change()
		harness.Eventually(t, what+" is logged", func() bool { return said() > before })
		for _, w := range words {
			if !strings.Contains(c.Log.String(), w) {
				t.Errorf("the log does not say %q", w)
			}
		}
	}

	want("the first file is loaded", "acme")
	write("globex", nil)
	want("a new file is loaded", "acme", "globex")

	write("globex", map[string]any{"api_keys": []string{"globex-key"}})
	want("a new key is required", "acme")
	resp := harness.Visit(c, "GET", "/", "any.test", "X-Api-Key", "globex-key")
	if text := harness.ReadAll(t, resp); text != "globex " {
		t.Errorf("with the key: %q", text)
	}

	write("acme", map[string]any{"metadata": map[string]string{"plan": "gold"}})
	harness.Eventually(t, "a changed file is loaded", func() bool {
		return harness.ReadAll(t, harness.Visit(c, "GET", "/", "any.test", "X-Tenant-Id", "acme")) == "acme gold"
	})

	write("globex", nil)
	want("a removed key is no longer required", "acme", "globex")

	broken("an unknown member", func() {
		writeFile(t, file("acme"), "{\n\"id\": \"acme\",\n\"colour\": 1\n}")
	}, "acme.json:3", "colour")
	want("a broken file changes no tenants", "acme", "globex")

	broken("a duplicate id", func() { writeFile(t, file("acme"), `{"id":"globex"}`) }, "globex.json:1")
	want("a duplicate id changes no tenants", "acme", "globex")

	// one more tenant while another file is broken
	write("initech", nil)
	want("the others count", "acme", "globex", "initech")
	write("acme", nil)
	want("a fixed file is loaded", "acme", "globex", "initech")

	for _, id := range []string{"globex", "initech", "acme"} {
		if err := os.Remove(file(id)); err != nil {
			t.Fatal(err)
		}
		harness.Eventually(t, id+" is removed", func() bool { return len(tenantsNow(c, id)) == 0 })
	}
	resp = harness.Visit(c, "GET", "/", "any.test")
	harness.WantFailure(t, resp, http.StatusBadRequest, "tenant_required")
	resp = harness.Visit(c, "GET", "/", "any.test", "X-Tenant-Id", "default")
	harness.WantFailure(t, resp, http.StatusNotFound, "tenant_unknown")
}
