package tenants

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/caddy-chat/caddy-chat/integration/harness"
)

// unknownNames returns the models and providers that a log says no gateway has, with
// their tenants.
func unknownNames(log string) []string {
	var list []string
	for line := range strings.Lines(log) {
		var w struct{ Level, Msg, Tenant, Model, Provider string }
		if json.Unmarshal([]byte(line), &w) == nil && w.Level == "warn" && strings.HasSuffix(w.Msg, "that no ai_gateway has") && w.Tenant != "" {
			list = append(list, w.Tenant+" "+w.Model+w.Provider)
		}
	}
	slices.Sort(list)
	return list
}

func TestNamesThatNoGatewayHas(t *testing.T) {
	const (
		fast  = "ai_gateway @fast {\nprovider echo\nmodel fast {\nto echo/a\n}\n}"
		smart = "ai_gateway {\nprovider two echo\nmodel smart {\nto two/a\n}\npassthrough two\n}"
		both  = "@fast path /fast\n" + fast + "\n" + smart
	)
	for _, tt := range []struct {
		name, tenants, site string
		want                []string
	}{
		{"a_model", "tenant acme {\nmodel fats\n}\ntenant globex {\nmodel smart\n}", smart, []string{"acme fats"}},
		{"models", "tenant acme {\nmodels smart fats slow\nmodel smart\n}", smart, []string{"acme fats", "acme slow"}},
		{"the_same_twice", "tenant acme {\nmodel fats\nmodels fats\n}", smart, []string{"acme fats"}},
		{"another_gateway's", "tenant acme {\nmodels fast smart\n}", both, nil},
		{"no_gateway's", "tenant acme {\nmodels fast smart slow\n}", both, []string{"acme slow"}},
		{"passthrough", "tenant acme {\nmodels two/x echo/x\n}", both, []string{"acme echo/x"}},
		{"a_single_provider's", "tenant acme {\nmodel anything\n}", "ai_gateway echo", nil},
		{"a_credential", "tenant acme {\ncredential two {env.HOME}\ncredential openai {env.HOME}\n}", both, []string{"acme openai"}},
		{"without_a_gateway", "tenant acme {\nmodel fast\n}", "chat_session\nreverse_proxy 127.0.0.1:1", nil},
		{"in_files", "tenants tenants/*.json", smart, []string{"initech fats"}},
		{"many", strings.Repeat("tenant %d {\nmodel fats\n}\n", 50), smart, nil},
	} {
		t.Run(tt.name, func(t *testing.T) {
			dir := t.TempDir()
			if err := os.Mkdir(filepath.Join(dir, "tenants"), 0o700); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(filepath.Join(dir, "tenants", "initech.json"), []byte(`{"id":"initech","model":"fats"}`), 0o600); err != nil {
				t.Fatal(err)
			}
			tenants := tt.tenants
			for i := range strings.Count(tenants, "%d") {
				tenants = strings.Replace(tenants, "%d", fmt.Sprint(100+i), 1)
			}
			config := "{\nadmin off\nauto_https off\nchat {\n" + tenants + "\n}\n}\nhttp://:8080 {\ntenant_resolve\n" + tt.site + "\n}\n"
			if err := os.WriteFile(filepath.Join(dir, "Caddyfile"), []byte(config), 0o600); err != nil {
				t.Fatal(err)
			}
			out, err := harness.RunCaddy(t, dir, "validate", "--config", "Caddyfile")
			if err != nil {
				t.Fatalf("%v\n%s", err, out)
			}
			got := unknownNames(out)
			if tt.name == "many" {
				if len(got) != 20 || !strings.Contains(out, `"more":30`) {
					t.Errorf("%d warnings, want 20 and that there are 30 more\n%s", len(got), out)
				}
				return
			}
			if !slices.Equal(got, tt.want) {
				t.Errorf("got %q, want %q\n%s", got, tt.want, out)
			}
		})
	}
	t.Run("at_the_start", func(t *testing.T) {
		c := harness.Start(t, "chat {\ntenant acme {\nmodel fats\n}\n}", "tenant_resolve\n"+smart)
		harness.Eventually(t, "the log has the name", func() bool {
			return slices.Equal(unknownNames(c.Log.String()), []string{"acme fats"})
		})
		c.Stop()
		if n := strings.Count(c.Log.String(), "a tenant names a model"); n != 1 {
			t.Errorf("%d warnings, want one", n)
		}
	})
}
