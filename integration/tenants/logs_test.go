package tenants

import (
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/caddy-chat/caddy-chat/integration/harness"
)

// logWarning is a warning that an access log shows keys.
type logWarning struct {
	Level  string   `json:"level"`
	Msg    string   `json:"msg"`
	Logger string   `json:"logger"`
	To     string   `json:"to"`
	Lines  []string `json:"lines"`
}

// logWarnings returns the warnings in a log, in short: the logger's and the headers'
// names.
func logWarnings(t testing.TB, log string) (list []string) {
	t.Helper()
	for line := range strings.Lines(log) {
		var w logWarning
		if json.Unmarshal([]byte(lastLogger(line)), &w) != nil || !strings.HasPrefix(w.Msg, "the access log shows") {
			continue
		}
		if last := len(w.Lines) - 1; w.Level != "warn" || last < 2 || w.Lines[0] != "format filter {" || w.Lines[last] != "}" {
			t.Errorf("got %s", line)
			continue
		}
		for _, add := range w.Lines[1 : len(w.Lines)-1] {
			header, _ := strings.CutPrefix(strings.TrimSuffix(add, " delete"), "\trequest>headers>")
			list = append(list, w.Logger+" "+header)
		}
	}
	return list
}

// lastLogger drops the name of the module's own logger from a line of the log.
func lastLogger(line string) string {
	return strings.Replace(line, `"logger":"http.handlers.tenant_resolve",`, "", 1)
}

const keyTenants = `
	chat {
		tenant acme {
			api_key acme-key
		}
	}
`

// resolving is a site on a port of its own, or with a host name.
func resolving(address, directives string) string {
	return fmt.Sprintf("http://%s:{$PORT} {\n%s\n}\n", address, directives)
}

const filtered = "log {\nformat filter {\nrequest>headers>X-Api-Key delete\n}\n}\n"

func TestKeysInLogs(t *testing.T) {
	const access, log0, resolve = "http.log.access", "http.log.access.log0", "tenant_resolve\n"
	filter := func(field, what string) string {
		return "log {\nformat filter {\n" + field + " " + what + "\n}\n}\n"
	}
	for _, tt := range []struct {
		name    string
		options string
		sites   string
		want    []string
	}{
		{"no_log", keyTenants, resolving("", resolve), nil},
		{"the_default_log", keyTenants, resolving("", resolve+"log"), []string{access + " X-Api-Key"}},
		{"the_default_log_with_the_lines", keyTenants + filtered, resolving("", resolve+"log"), nil},
		{"a_log", keyTenants, resolving("", resolve+"log {\noutput stdout\n}"), []string{log0 + " X-Api-Key"}},
		{"a_log_with_a_format", keyTenants, resolving("", resolve+"log {\nformat json\n}"), []string{log0 + " X-Api-Key"}},
		{"a_log_with_the_lines", keyTenants, resolving("", resolve+filtered), nil},
		{"the_lines_of_the_default_log_only", keyTenants + filtered, resolving("", resolve+"log {\noutput stdout\n}"), []string{log0 + " X-Api-Key"}},
		{"replace", keyTenants, resolving("", resolve+filter("request>headers>X-Api-Key", "replace REDACTED")), nil},
		{"hash", keyTenants, resolving("", resolve+filter("request>headers>X-Api-Key", "hash")), nil},
		{"all_headers", keyTenants, resolving("", resolve+filter("request>headers", "delete")), nil},
		{"the_request", keyTenants, resolving("", resolve+filter("request", "delete")), nil},
		{"another_header", keyTenants, resolving("", resolve+filter("request>headers>X-Other", "delete")), []string{log0 + " X-Api-Key"}},
		{"a_name_in_lower_case", keyTenants, resolving("", resolve+filter("request>headers>x-api-key", "delete")), []string{log0 + " X-Api-Key"}},
		{"around_another_format", keyTenants, resolving("", resolve+filter("wrap", "console\nrequest>headers>X-Api-Key delete")), nil},
		{"headers_of_one's_own", keyTenants, resolving("", "log {\noutput stdout\n}\ntenant_resolve {\nfrom api_key x-key Authorization X-Other\n}"), []string{log0 + " X-Key", log0 + " X-Other"}},
		{"Authorization", keyTenants, resolving("", "log\ntenant_resolve {\nfrom api_key Authorization\n}"), nil},
		{"Authorization_that_is_logged", keyTenants + "servers {\nlog_credentials\n}\n", resolving("", "log\ntenant_resolve {\nfrom api_key Authorization\n}"), []string{access + " Authorization"}},
		{"keys_where_they_are_no_source", keyTenants, resolving("", "log\ntenant_resolve {\nfrom header\n}"), []string{access + " X-Api-Key"}},
		{"tokens", "", resolving("", "log\ntenant_resolve {\nfrom jwt X-Token {\nsecret "+strings.Repeat("s", 32)+"\n}\n}"), []string{access + " X-Token"}},
		{"no_keys", harness.PlainTenants, resolving("", resolve+"log"), nil},
		{"no_tenants", "", resolving("", resolve+"log"), nil},
		{"keys_in_files", "chat {\ntenant acme\ntenants *.json\n}\n", resolving("", resolve+"log"), []string{access + " X-Api-Key"}},
		{"several_times", keyTenants, resolving("", "log\nhandle /a {\n"+resolve+"}\nhandle /b {\n"+resolve+"}"), []string{access + " X-Api-Key"}},
		{"another_site's_log", keyTenants, resolving("a.test", resolve+filtered) + resolving("b.test", "log {\noutput stdout\n}\nrespond hi"), nil},
		{"only_another_site's_log", keyTenants, "http://a.test {\n" + resolve + "}\nhttp://b.test {\nlog\nrespond hi\n}", nil},
		{"the_log_of_one_of_two_sites", keyTenants, resolving("a.test", "log {\noutput stdout\n}\n"+resolve) + resolving("b.test", filtered+resolve), []string{log0 + " X-Api-Key"}},
		{"a_wildcard's_log", keyTenants, resolving("*.a.test", "log {\noutput stdout\n}\n"+resolve) + resolving("b.test", "respond hi"), []string{log0 + " X-Api-Key"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			dir := t.TempDir()
			config := "{\nadmin off\nauto_https off\n" + tt.options + "\n}\n" + strings.ReplaceAll(tt.sites, "{$PORT}", "8080")
			if err := os.WriteFile(filepath.Join(dir, "Caddyfile"), []byte(config), 0o600); err != nil {
				t.Fatal(err)
			}
			out, err := harness.RunCaddy(t, dir, "validate", "--config", "Caddyfile")
			if err != nil {
				t.Fatalf("%v\n%s", err, out)
			}
			if got := logWarnings(t, out); !slices.Equal(got, tt.want) {
				t.Errorf("got %q, want %q\n%s", got, tt.want, out)
			}
		})
	}
}

// TestLogsWithoutKeys makes requests that are logged in every way.
func TestLogsWithoutKeys(t *testing.T) {
	sites := resolving("", "tenant_resolve\nrespond /hi hi\nreverse_proxy 127.0.0.1:1\nlog")
	ask := func(c *harness.Caddy) {
		for path, status := range map[string]int{"/hi": http.StatusOK, "/away": http.StatusBadGateway} {
			resp := harness.Visit(c, http.MethodGet, path, "a.test", "X-Api-Key", "acme-key")
			resp.Body.Close()
			if resp.StatusCode != status {
				t.Errorf("%s: %d", path, resp.StatusCode)
			}
			c.AccessLog(resp.Header.Get("X-Trace-Id"))
		}
		resp := harness.Visit(c, http.MethodGet, "/hi", "a.test", "X-Api-Key", "acme-key-that-is-wrong")
		resp.Body.Close()
		c.AccessLog(resp.Header.Get("X-Trace-Id"))
	}
	t.Run("the_start_warns", func(t *testing.T) {
		c := harness.StartSites(t, keyTenants, sites)
		ask(c) // waits for its entries in the log, which come later
		if got := logWarnings(t, c.Log.String()); !slices.Equal(got, []string{"http.log.access X-Api-Key"}) {
			t.Errorf("got %q", got)
		}
		if !strings.Contains(c.Log.String(), `"X-Api-Key":["acme-key"]`) {
			t.Error("the log does not show the key, and the warning is wrong")
		}
	})
	t.Run("the_lines_keep_them_out", func(t *testing.T) {
		c := harness.StartSites(t, keyTenants+filtered, sites)
		ask(c)
		c.Stop()
		log := c.Log.String()
		if strings.Contains(log, "acme-key") || logWarnings(t, log) != nil {
			t.Error("the log shows the key, or warns")
		}
		for _, logger := range []string{"http.log.access", "http.log.error"} {
			if !strings.Contains(log, `"logger":"`+logger) {
				t.Errorf("no entry of %s", logger)
			}
		}
	})
}
