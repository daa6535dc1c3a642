package tenants

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/caddy-chat/caddy-chat/integration/harness"
)

// openings returns what a log says that anyone can use: the tenants, those of them
// without a budget, and the providers.
func openings(log string) string {
	var list []string
	for line := range strings.Lines(log) {
		var w struct {
			Level, Msg         string
			Tenants, Providers []string
			WithoutBudget      []string `json:"without_budget"`
		}
		if json.Unmarshal([]byte(line), &w) == nil && w.Level == "warn" && strings.HasPrefix(w.Msg, "anyone who can reach") {
			list = append(list, fmt.Sprintf("%v %v %v", w.Tenants, w.WithoutBudget, w.Providers))
		}
	}
	return strings.Join(list, ", ")
}

func TestOpenSites(t *testing.T) {
	const (
		openai = "tenant_resolve\nai_gateway openai {env.OPENAI_API_KEY}"
		mixed  = "chat {\ntenant acme {\napi_key acme-key\n}\ntenant globex {\nbudget 5 usd/day\n}\ntenant initech {\nhost initech.test\n}\n}"
	)
	for _, tt := range []struct{ name, options, site, want string }{
		{"no_tenants", "", openai, "[default] [default] [openai]"},
		{"tenants_without_keys", mixed, openai, "[globex initech] [initech] [openai]"},
		{"a_budget", "chat {\ntenant acme {\nbudget 5 usd/day\n}\n}", openai, "[acme] [] [openai]"},
		{"keys", keyTenants, openai, ""},
		{"only_keys_count", mixed, "tenant_resolve {\nfrom api_key\n}\nai_gateway openai {env.OPENAI_API_KEY}", ""},
		{"a_site_of_one_tenant_with_a_key", mixed, "tenant_resolve acme\nai_gateway openai {env.OPENAI_API_KEY}", ""},
		{"a_site_of_one_tenant_without", mixed, "tenant_resolve initech\nai_gateway openai {env.OPENAI_API_KEY}", "[initech] [initech] [openai]"},
		{"a_login", mixed, "tenant_resolve {\nfrom jwt {\nsecret " + strings.Repeat("s", 32) + "\n}\n}\nai_gateway openai {env.OPENAI_API_KEY}", ""},
		{"echo", "", "tenant_resolve\nai_gateway echo", ""},
		{"a_model_of_one's_own", "", "tenant_resolve\nai_gateway {\nprovider ollama\nprovider local openai {\nbase_url http://127.0.0.1:8000/v1\n}\ndefault_model ollama/llama\npassthrough\n}", ""},
		{"several_providers", "", "tenant_resolve\nai_gateway {\nprovider ollama\nprovider claude anthropic {\napi_key k\n}\nprovider own openai {\nbase_url https://a.test\nheader Authorization \"Bearer k\"\n}\nprovider bedrock {\nregion us-east-1\n}\npassthrough\ndefault_model claude/m\n}", "[default] [default] [bedrock claude own]"},
		{"without_tenant_resolve", "", "ai_gateway openai {env.OPENAI_API_KEY}", ""},
		{"without_tenant_resolve_and_tenant_none", "", "ai_gateway {\nprovider openai {\napi_key k\n}\ntenant none\n}", "[] [] [openai]"},
		{"without_tenant_resolve_and_a_tenant", keyTenants, "ai_gateway {\nprovider openai {\napi_key k\n}\ntenant acme\n}", "[] [] [openai]"},
		{"tenant_none_behind_tenant_resolve", keyTenants, "@api not path /health\ntenant_resolve @api\nai_gateway {\nprovider openai {\napi_key k\n}\nhealth_path /health\ntenant none\n}", ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			dir := t.TempDir()
			config := "{\nadmin off\nauto_https off\n" + tt.options + "\n}\nhttp://:8080 {\n" + tt.site + "\n}\n"
			if err := os.WriteFile(filepath.Join(dir, "Caddyfile"), []byte(config), 0o600); err != nil {
				t.Fatal(err)
			}
			out, err := harness.RunCaddy(t, dir, "validate", "--config", "Caddyfile")
			if err != nil {
				t.Fatalf("%v\n%s", err, out)
			}
			if got := openings(out); got != tt.want {
				t.Errorf("got %q, want %q\n%s", got, tt.want, out)
			}
		})
	}
	t.Run("at_the_start", func(t *testing.T) {
		c := harness.Start(t, "", openai, "OPENAI_API_KEY=k")
		harness.Eventually(t, "the log has the opening", func() bool {
			return openings(c.Log.String()) == "[default] [default] [openai]"
		})
	})
}
