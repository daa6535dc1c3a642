package passthrough

import (
	"bytes"
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/caddy-chat/caddy-chat/integration/harness"
)

// TestImagesWithoutModel: the default model is one for chats. A request for images that names
// none goes without one to the provider that it can only mean, which has one for them.
func TestImagesWithoutModel(t *testing.T) {
	t.Parallel()
	up := harness.NewUpstream(t, harness.Document(200, `{"data":[{"b64_json":"A"}]}`))
	site := func(providers string) string {
		return "tenant_resolve\nai_gateway {\nretries 0\n" + strings.ReplaceAll(providers, "UP", up.Origin()) + "\n}\n"
	}
	const (
		claude = "provider claude anthropic {\nbase_url UP\napi_key k\n}\nmodel fast {\nto claude/up-fast\n}\n"
		openai = "provider openai {\nbase_url UP/v1\napi_key k\n}\n"
		local  = "provider local openai {\nbase_url UP/v1\n}\n"
		azure  = "provider azure openai {\nbase_url UP\nazure 2024-10-21\napi_key k\n}\n"
		fast   = "model fast {\nto openai/up-fast\n}\n"
	)
	for name, tc := range map[string]struct {
		site, tenant string
		status       int
		code         string
	}{
		"the only one":               {openai + fast, "globex", 200, ""},
		"behind the default model":   {openai + local + fast, "globex", 200, ""},
		"beside a chat model":        {openai + claude, "globex", 200, ""},
		"two behind the default":     {openai + local + "model fast {\nto openai/a\nto local/b\n}\n", "globex", 400, "invalid_request"},
		"two beside a chat model":    {openai + local + claude, "globex", 400, "invalid_request"},
		"none":                       {claude, "globex", 400, "invalid_request"},
		"one that wants deployments": {azure + "model fast {\nto azure/a\n}\n", "globex", 400, "invalid_request"},
		"a list of models":           {openai + fast, "acme", 403, "model_not_allowed"},
		"a budget that is too small": {openai + fast, "poor", 429, "budget_exceeded"},
	} {
		t.Run(name, func(t *testing.T) {
			c, before := harness.Start(t, tenants, site(tc.site)), up.Count()
			cl := harness.NewClient(c, tc.tenant, "ann")
			asks := func(path, body string, header ...string) {
				resp := cl.Do(http.MethodPost, path, body, header...)
				if tc.status != http.StatusOK {
					if f := harness.WantFailure(t, resp, tc.status, tc.code); tc.status == 400 && (f.Error.Param == nil || *f.Error.Param != "model") {
						t.Errorf("%s: it does not name the model: %+v", path, f.Error)
					}
					return
				}
				if text := harness.ReadAll(t, resp); resp.StatusCode != http.StatusOK {
					t.Fatalf("%s: %d %s", path, resp.StatusCode, text)
				}
				harness.WantHeader(t, resp.Header, map[string]string{"X-Model-Id": "openai/(default)", "X-Ai-Provider": "openai"})
			}
			long := strings.Repeat("a", 100)
			for _, model := range []string{"", `,"model":null`} {
				const path = "/v1/images/generations"
				body := `{ "prompt":"` + long + `"` + model + `,"x":1.50}`
				asks(path, body)
				if tc.status != http.StatusOK {
					continue
				}
				if got := up.Last(); got.Path != path || got.Body != body {
					t.Errorf("%s was sent %s", got.Path, got.Body)
				}
			}
			for _, path := range []string{"/v1/images/edits", "/v1/images/variations"} {
				contentType, body := aForm("prompt", long)
				asks(path, string(body), "Content-Type", contentType)
				if tc.status == http.StatusOK {
					if fields, file := readForm(t, up.Last()); fmt.Sprint(fields) != fmt.Sprint([]string{"prompt", long}) || !bytes.Contains(body, []byte(file)) {
						t.Errorf("%s was sent %q", path, fields)
					}
				}
			}
			if tc.status != http.StatusOK {
				if up.Count() != before {
					t.Error("a provider was asked")
				}
				return
			}
			c.WantMetrics(map[string]float64{
				`caddy_ai_unpriced_requests_total{model="passthrough",provider="openai",tenant="globex"}`: 2 + 2,
			})
		})
	}
}
