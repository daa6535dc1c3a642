package gateway

import (
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/tidwall/gjson"

	"github.com/caddy-chat/caddy-chat/integration/harness"
)

// TestCountTokens counts by the provider's own count, and by estimate.
func TestCountTokens(t *testing.T) {
	up := harness.NewUpstream(t)
	c := harness.Start(t, harness.GatewayTenants, fmt.Sprintf(`
		tenant_resolve
		ai_gateway {
			provider openai {
				base_url %[1]s/v1
			}
			provider claude anthropic {
				base_url %[1]s
				api_key upstream-key
			}
			model fast {
				to openai/up
			}
			model smart {
				to claude/claude-up
				to openai/up
			}
			model hidden {
				to claude/claude-up
			}
		}`, up.Origin()))
	ask := func(tenant, model, more string) (*http.Response, gjson.Result) {
		body := `{"model": "` + model + `", "messages":[{"role":"user","content":"one two three four"}]` + more + `}`
		resp := harness.NewClient(c, tenant, "ann").Do(http.MethodPost, "/v1/messages/count_tokens", body, "Anthropic-Version", "2023-06-01", "Anthropic-Beta", "some-beta")
		return resp, gjson.Parse(harness.ReadAll(t, resp))
	}
	estimated := func(t *testing.T, resp *http.Response, got gjson.Result) {
		t.Helper()
		if n := got.Get("input_tokens").Int(); resp.StatusCode != http.StatusOK || n < 5 || n > 50 || resp.Header.Get("X-Ai-Estimated") != "true" {
			t.Errorf("%d %s, %v", resp.StatusCode, got.Raw, resp.Header)
		}
	}

	t.Run("the provider's own", func(t *testing.T) {
		up.Plays(harness.Document(http.StatusOK, `{"input_tokens":2095}`))
		resp, got := ask("globex", "smart", `, "context_management":{"edits":[]}, "Model":"claude-other"`)
		if got.Get("input_tokens").Int() != 2095 {
			t.Errorf("the answer is %s", got.Raw)
		}
		harness.WantHeader(t, resp.Header, map[string]string{"X-Ai-Estimated": "", "X-Model-Id": "smart", "Request-Id": "*"})
		call := up.Last()
		harness.WantHeader(t, call.Header, map[string]string{"X-Api-Key": "upstream-key", "Anthropic-Version": "2023-06-01", "Anthropic-Beta": "some-beta"})
		if call.Path != "/v1/messages/count_tokens" || call.Get("model").Str != "claude-up" || !call.Get("context_management.edits").IsArray() || strings.Contains(call.Body, "other") {
			t.Errorf("%s got %s", call.Path, call.Body)
		}
	})
	t.Run("a provider without one", func(t *testing.T) {
		before := up.Count()
		resp, got := ask("globex", "fast", "")
		estimated(t, resp, got)
		if up.Count() != before {
			t.Error("a provider was called")
		}
	})
	for name, script := range map[string]harness.Script{
		"a server without the route": harness.Refuses(http.StatusNotFound, "none"),
		"a failure":                  harness.Refuses(http.StatusInternalServerError, "x"),
		"no count":                   harness.Document(http.StatusOK, `{"input_tokens":"many"}`),
	} {
		t.Run(name, func(t *testing.T) {
			up.Plays(script)
			resp, got := ask("globex", "smart", "")
			estimated(t, resp, got)
		})
	}
	t.Run("a bad request", func(t *testing.T) {
		up.Plays(harness.Document(http.StatusBadRequest, `{"type":"error","error":{"type":"invalid_request_error","message":"tools: upstream-key is too long"}}`))
		resp, got := ask("globex", "smart", "")
		if m := got.Get("error.message").Str; resp.StatusCode != http.StatusBadRequest || !strings.Contains(m, "too long") || strings.Contains(m, "upstream-key") {
			t.Errorf("%d %s", resp.StatusCode, got.Raw)
		}
		for _, bad := range []string{`{"model":"fast"}`, `{"model":"fast","messages":[{"role":"user","content":7}]}`} {
			resp := harness.NewClient(c, "globex", "ann").Do(http.MethodPost, "/v1/messages/count_tokens", bad)
			if got := gjson.Parse(harness.ReadAll(t, resp)); resp.StatusCode != http.StatusBadRequest || got.Get("error.type").Str != "invalid_request_error" {
				t.Errorf("%s: %d %s", bad, resp.StatusCode, got.Raw)
			}
		}
	})
	t.Run("a model that the tenant may not use", func(t *testing.T) {
		if resp, got := ask("acme", "hidden", ""); resp.StatusCode != http.StatusForbidden || got.Get("error.type").Str != "permission_error" {
			t.Errorf("%d %s", resp.StatusCode, got.Raw)
		}
	})
}
