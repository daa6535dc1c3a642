package adapt

import (
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/caddy-chat/caddy-chat/integration/harness"
)

// warnings returns what caddy validate warns of in a Caddyfile, line by line, and
// everything that it prints.
func warnings(t testing.TB, config string, env ...string) (list []string, out string) {
	t.Helper()
	c := &harness.Caddy{T: t, Dir: t.TempDir(), Env: env}
	if err := os.WriteFile(filepath.Join(c.Dir, "Caddyfile"), []byte(config), 0o600); err != nil {
		t.Fatal(err)
	}
	b, _ := c.Command(t.Context(), "validate", "--config", "Caddyfile").CombinedOutput()
	for line := range strings.Lines(string(b)) {
		var entry struct{ Level, Logger, Msg string }
		if json.Unmarshal([]byte(line), &entry) == nil && entry.Level == "warn" && entry.Logger == "caddyfile" {
			list = append(list, entry.Msg)
		}
	}
	return list, string(b)
}

// TestAdvice checks what caddy validate warns of at a line of the Caddyfile.
func TestAdvice(t *testing.T) {
	const secret = "not-for-the-log-0123456789abcdef0123456789"
	const plain, empty = ": a secret in plain text: want a placeholder such as {env.NAME} or {file./path}, at Caddyfile:", " is empty: the environment variable NONE is not set here, at Caddyfile:"
	const unknown = ": no placeholder of this name is known: unless another handler sets it, all requests of a tenant are counted together, at Caddyfile:"
	site := func(s string) string { return "{\nauto_https off\n}\n:8080 {\n" + s + "\n}\n" }
	options := func(s string) string {
		return "{\nauto_https off\nchat {\n" + s + "\n}\n}\n:8080 {\ntenant_resolve\nai_gateway echo\n}\n"
	}
	for _, tt := range []struct {
		name, config string
		want         []string
	}{
		{"a_key_in_the_short_form", site("ai_gateway openai " + secret), []string{"api_key" + plain + "5"}},
		{"a_key_of_a_provider", site("ai_gateway {\nprovider claude anthropic {\napi_key " + secret + "\n}\n}"), []string{"api_key" + plain + "7"}},
		{"a_key_in_a_header", site("ai_gateway {\nprovider openai {\nheader x-team ops\nheader authorization \"Bearer " + secret + "\"\n}\n}"), []string{"header authorization" + plain + "8"}},
		{"keys_of_AWS", site("ai_gateway {\nprovider bedrock {\nregion us-east-1\naccess_key_id AKIA\nsecret_access_key " + secret + "\n}\n}"), []string{"secret_access_key" + plain + "9"}},
		{"a_key_of_a_tenant", options("tenant acme {\napi_key " + secret + "\n}"), []string{"tenant acme: api_key: a key in plain text: want its digest, sha256:<hex>, or a placeholder such as {env.NAME}, at Caddyfile:5"}},
		{"a_digest", options("tenant acme {\napi_key sha256:" + strings.Repeat("0", 64) + "\n}"), nil},
		{"a_credential", options("tenant acme {\ncredential echo " + secret + "\n}"), []string{"tenant acme: credential echo: a key in plain text: want a placeholder such as {env.NAME}, at Caddyfile:5"}},
		{"a_store's_key", options("store badger {\nencryption_key " + strings.Repeat("ab", 32) + "\n}"), []string{"encryption_key" + plain + "5"}},
		{"a_secret_of_tokens", site("tenant_resolve {\nfrom jwt {\nsecret " + secret + "\n}\n}"), []string{"secret" + plain + "7"}},
		{"placeholders", site("ai_gateway openai {env.KEY}"), nil},

		{"an_empty_key_in_the_short_form", site("ai_gateway openai {env.NONE}"), []string{"api_key: {env.NONE}" + empty + "5"}},
		{"an_empty_key_of_a_provider", site("ai_gateway {\nprovider openai {\napi_key {env.NONE}\n}\n}"), []string{"api_key: {env.NONE}" + empty + "7"}},
		{"an_empty_part", site("ai_gateway {\nprovider openai {\nheader X-Team {env.KEY}-{env.NONE}\n}\n}"), []string{"header X-Team: {env.NONE}" + empty + "7"}},
		{"an_empty_account", site("ai_gateway {\nprovider cf cloudflare {\naccount_id {env.NONE}\n}\n}"), []string{"account_id: {env.NONE}" + empty + "7"}},
		{"an_empty_URL", site("ai_gateway {\nprovider openai {\nbase_url {env.NONE}\n}\n}"), []string{"base_url: {env.NONE}" + empty + "7"}},
		{"an_empty_key_of_a_tenant", options("tenant acme {\nhost a.test\napi_key {env.KEY} {env.NONE}\n}"), []string{"tenant acme: api_key: {env.NONE}" + empty + "6"}},
		{"an_empty_credential", options("tenant acme {\ncredential echo {env.NONE}\n}"), []string{"tenant acme: credential echo: {env.NONE}" + empty + "5"}},
		{"an_empty_key_of_the_store", options("store badger {\nencryption_key {env.NONE}\n}"), []string{"encryption_key: {env.NONE}" + empty + "5"}},
		{"an_empty_secret", site("tenant_resolve {\nfrom jwt {\nsecret {env.NONE}\n}\n}"), []string{"secret: {env.NONE}" + empty + "7"}},
		{"a_wrong_key_of_the_store", options("store badger {\nencryption_key {env.KEY}\n}"), []string{"encryption_key: {env.KEY}: want 16, 24 or 32 bytes as hex or base64, such as the output of: openssl rand -hex 32, at Caddyfile:5"}},
		{"options_of_a_handler_twice", site("chat_session {\nretention 1d\nretention 2d\n}\nai_gateway {\nprovider echo\nrescue on\nrescue off\nmodel fast {\nto echo/echo\nprice 1 2\nprice 3 4\n}\n}"),
			[]string{"retention is given twice: the last one counts, at Caddyfile:7", "rescue is given twice: the last one counts, at Caddyfile:12", "price is given twice: the last one counts, at Caddyfile:16"}},
		{"a_password_as_the_name_of_a_user", options("store redis redis://" + secret + "@127.0.0.1"), []string{"url" + plain + "4"}},
		{"a_password_of_a_user", options("store redis redis://ann:" + secret + "@127.0.0.1"), []string{"url" + plain + "4"}},
		{"a_password_alone", options("store redis redis://:" + secret + "@127.0.0.1"), []string{"url" + plain + "4"}},
		{"a_limit_per_unknown_placeholder", site("chat_ratelimit 5 1m {\nburst 5 1m per {nope.x}\nrequests 5 1m per {header.X-Team}\nconcurrent 5 per {http.request.nope}\n}"), []string{
			"burst: per {nope.x}" + unknown + "6", "concurrent: per {http.request.nope}" + unknown + "8"}},
		{"a_limit_of_a_tenant_per_unknown_placeholder", options("tenant acme {\nrequests 5 1m per {chat.nope}\ntokens 5 1m per {header.X-Team}\n}"), []string{
			"tenant acme: requests: per {chat.nope}" + unknown + "5"}},
		{"limits_per_known_placeholders", site("chat_ratelimit {\nrequests 5 1m per {remote_host}\nrequests 5 2m per {chat.tenant.metadata.team}\nrequests 5 3m per {http.auth.user.id}\nrequests 5 4m per {vars.team}\nrequests 5 5m per {labels.1}\nrequests 5 6m per {tls_client_subject}\nrequests 5 7m per {query.team}\nrequests 5 8m per {chat.user.id}\nrequests 5 9m per {cookie.team}\nrequests 5 10m per {http.request.local.host}\nrequests 5 11m per {env.KEY}\nrequests 5 12m per {client_ip}\nrequests 5 13m per {method}\n}"), nil},
		{"an_option_of_a_tenant_twice", options("tenant acme {\nsystem a\nsystem b\n}"), []string{"system is given twice: the last one counts, at Caddyfile:6"}},
		{"a_wrong_URL", site("ai_gateway {\nprovider openai {\nbase_url https://x.test/{env.PATHS}\n}\n}"), []string{"base_url: https://x.test/{env.PATHS}: \"https://x.test/v1/chat/completions\": the provider adds /chat/completions: want https://x.test/v1, at Caddyfile:7"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			got, out := warnings(t, tt.config, "KEY="+secret, "PATHS=v1/chat/completions")
			if !slices.Equal(got, tt.want) {
				t.Errorf("got %q\nwant %q\n%s", got, tt.want, out)
			}
			if strings.Contains(out, secret) {
				t.Errorf("the secret is in the log:\n%s", out)
			}
		})
	}
	t.Run("thousands_of_tenants", func(t *testing.T) {
		var tenants strings.Builder
		for range 50 {
			tenants.WriteString("tenant " + harness.NewSession() + " {\ncredential echo {env.NONE}\n}\n")
		}
		if got, out := warnings(t, options(tenants.String())); len(got) != 20 {
			t.Errorf("%d warnings, want 20\n%s", len(got), out)
		}
	})
}

// TestExamplesNeedNoAdvice checks that the examples show how to do it.
func TestExamplesNeedNoAdvice(t *testing.T) {
	entries, err := os.ReadDir(harness.ExamplesDir)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		config, err := os.ReadFile(harness.CaddyfileOf(t, e.Name()))
		if err != nil {
			t.Fatal(err)
		}
		if got, _ := warnings(t, string(config), harness.ExampleEnv...); len(got) > 0 {
			t.Errorf("%s: %q", e.Name(), got)
		}
	}
}
