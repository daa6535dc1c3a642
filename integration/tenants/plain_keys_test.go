package tenants

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"

	"github.com/caddy-chat/caddy-chat/integration/harness"
)

// TestPlainKeysInFiles checks that tenant files with keys in plain text are named, and
// the keys are not.
func TestPlainKeysInFiles(t *testing.T) {
	const secret = "not-for-the-log"
	dir := tenantConfig(t, "tenants tenants/*.json", map[string]string{
		"tenants/a.json": `{"id":"a","api_keys":["` + secret + `"]}`,
		"tenants/b.json": `{"id":"b","api_keys":["{env.HOME}","sha256:` + strings.Repeat("0", 64) + `"]}`,
		"tenants/c.json": "{\n\"id\":\"c\",\"credentials\":{\"openai\":\"" + secret + "\"}}",
		"tenants/d.json": `{"id":"d","credentials":{"openai":"{env.HOME}"}}`,
		"tenants/e.json": `{"id":"e"}`,
	})
	out, err := harness.RunCaddy(t, dir, "validate", "--config", "Caddyfile")
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	var got []string
	for line := range strings.Lines(out) {
		var w struct {
			Msg   string
			Files []string
		}
		if json.Unmarshal([]byte(line), &w) == nil && strings.HasPrefix(w.Msg, "tenant files have keys in plain text") {
			got = append(got, w.Files...)
		}
	}
	slices.Sort(got)
	if len(got) != 2 || !strings.HasSuffix(got[0], "tenants/a.json:1") || !strings.HasSuffix(got[1], "tenants/c.json:2") {
		t.Errorf("got %q\n%s", got, out)
	}
	if strings.Contains(out, secret) {
		t.Errorf("the key is in the log:\n%s", out)
	}
}
