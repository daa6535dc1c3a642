package gateway

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/tidwall/gjson"

	"github.com/caddy-chat/caddy-chat/integration/harness"
)

// modelIDs returns what GET /v1/models lists for a tenant.
func modelIDs(t *testing.T, c *harness.Caddy, tenant string) []string {
	t.Helper()
	cl := harness.NewClient(c, tenant, "ann")
	cl.T = t
	resp := cl.Do(http.MethodGet, "/v1/models", nil)
	text := harness.ReadAll(t, resp)
	if resp.StatusCode != http.StatusOK || gjson.Get(text, "object").Str != "list" {
		t.Fatalf("%d %s", resp.StatusCode, text)
	}
	ids := []string{}
	for _, m := range gjson.Get(text, "data").Array() {
		if m.Get("object").Str != "model" || m.Get("owned_by").Str == "" {
			t.Errorf("%s", m)
		}
		ids = append(ids, m.Get("id").Str)
	}
	return ids
}

// TestListedModels has providers that list their models.
func TestListedModels(t *testing.T) {
	t.Parallel()
	const openAI = `{"object":"list","data":[{"id":"up-1","object":"model"},{"id":"meta/llama","object":"model"},{"id":"up-1"},{"id":""},{"id":"a\u0000b"},{"id":7},{}]}`
	for _, tc := range []struct {
		typ, path, query, answer string
		key                      string // the header that has it
		want                     []string
	}{
		{"openai", "/v1/models", "", openAI, "Authorization", []string{"up-1", "meta/llama"}},
		{"anthropic", "/v1/models", "limit=1000", `{"data":[{"type":"model","id":"claude-x","display_name":"X"}],"has_more":false}`, "X-Api-Key", []string{"claude-x"}},
		{"gemini", "/v1beta/models", "pageSize=1000", `{"models":[{"name":"models/gemini-x"},{"name":"models/embed-x"}]}`, "X-Goog-Api-Key", []string{"gemini-2.5-flash", "gemini-x", "embed-x"}},
		{"ollama", "/api/tags", "", `{"models":[{"name":"llama3.3:latest","model":"llama3.3:latest"}]}`, "Authorization", []string{"llama3.3:latest"}},
	} {
		t.Run(tc.typ, func(t *testing.T) {
			up := harness.NewUpstream(t, harness.Serves(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if r.Method != http.MethodGet || r.URL.Path != tc.path || r.URL.RawQuery != tc.query || !strings.HasSuffix(r.Header.Get(tc.key), "-key") {
					w.WriteHeader(http.StatusNotFound)
					return
				}
				fmt.Fprint(w, tc.answer)
			})))
			base := up.Origin() + strings.TrimSuffix(tc.path, "/models")
			if tc.typ == "anthropic" || tc.typ == "ollama" {
				base = up.Origin()
			}
			c := harness.Start(t, harness.GatewayTenants, fmt.Sprintf("tenant_resolve\nai_gateway {\nprovider %s {\nbase_url %s\napi_key own-key\n}\n}\n", tc.typ, base))
			if got := modelIDs(t, c, "globex"); !slices.Equal(got, tc.want) {
				t.Errorf("listed %q, want %q", got, tc.want)
			}
			if got := modelIDs(t, c, "globex"); !slices.Equal(got, tc.want) || up.Count() != 1 {
				t.Errorf("then %q, the provider was asked %d times", got, up.Count())
			}
			cl := harness.NewClient(c, "globex", "ann")
			for id, want := range map[string]int{tc.want[0]: http.StatusOK, "no-such-model": http.StatusNotFound} {
				if resp := cl.Do(http.MethodGet, "/v1/models/"+id, nil); resp.StatusCode != want {
					t.Errorf("%s: %d, want %d", id, resp.StatusCode, want)
				}
			}
		})
	}

	t.Run("passthrough, allow lists and credentials", func(t *testing.T) {
		up := harness.NewUpstream(t, harness.Serves(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			id := "up-1"
			if r.Header.Get("Authorization") == "Bearer acme-upstream-key" {
				id = "up-9"
			}
			fmt.Fprintf(w, `{"data":[{"id":%q},{"id":"up-both"}]}`, id)
		})))
		c := harness.Start(t, harness.GatewayTenants, harness.GatewaySite(up, "passthrough openai"))
		if got, want := modelIDs(t, c, "globex"), []string{"fast", "smart", "hidden", "openai/up-1", "openai/up-both"}; !slices.Equal(got, want) {
			t.Errorf("listed %q, want %q", got, want)
		}
		if got, want := modelIDs(t, c, "acme"), []string{"fast", "smart", "openai/up-9"}; !slices.Equal(got, want) {
			t.Errorf("the tenant with a list has %q, want %q", got, want)
		}
		resp := harness.NewClient(c, "acme", "ann").Do(http.MethodGet, "/v1/models/openai/up-both", nil)
		harness.WantFailure(t, resp, http.StatusNotFound, "model_unknown")
	})

	t.Run("Anthropic's shape", func(t *testing.T) {
		up := harness.NewUpstream(t, harness.Refuses(http.StatusNotFound, "none"))
		c := harness.Start(t, harness.GatewayTenants, harness.GatewaySite(up))
		cl := harness.NewClient(c, "acme", "ann")
		list := gjson.Parse(harness.ReadAll(t, cl.Do(http.MethodGet, "/v1/models", nil, "Anthropic-Version", "2023-06-01")))
		if list.Get("data.#").Int() != 2 || list.Get("data.0.type").Str != "model" || list.Get("data.0.id").Str != "fast" || list.Get("data.0.display_name").Str != "fast" ||
			list.Get("data.0.created_at").Time().IsZero() || list.Get("has_more").Type != gjson.False || list.Get("first_id").Str != "fast" || list.Get("last_id").Str != "smart" {
			t.Errorf("got %s", list)
		}
		one := gjson.Parse(harness.ReadAll(t, cl.Do(http.MethodGet, "/v1/models/smart", nil, "Anthropic-Version", "2023-06-01")))
		if one.Get("type").Str != "model" || one.Get("id").Str != "smart" {
			t.Errorf("got %s", one)
		}
		resp := cl.Do(http.MethodGet, "/v1/models/hidden", nil, "Anthropic-Version", "2023-06-01")
		if e := gjson.Parse(harness.ReadAll(t, resp)); resp.StatusCode != http.StatusNotFound || e.Get("type").Str != "error" || e.Get("error.type").Str != "not_found_error" {
			t.Errorf("%d %s", resp.StatusCode, e)
		}
	})

	t.Run("Anthropic's pages", func(t *testing.T) {
		up := harness.NewUpstream(t, harness.Refuses(http.StatusNotFound, "none"))
		c := harness.Start(t, harness.GatewayTenants, harness.GatewaySite(up))
		cl := harness.NewClient(c, "globex", "ann") // which has fast, smart and hidden
		for query, want := range map[string]string{
			"":                                `["fast","smart","hidden"] false "fast" "hidden"`,
			"?limit=1000":                     `["fast","smart","hidden"] false "fast" "hidden"`,
			"?limit=2":                        `["fast","smart"] true "fast" "smart"`,
			"?limit=2&after_id=smart":         `["hidden"] false "hidden" "hidden"`,
			"?limit=1&after_id=fast":          `["smart"] true "smart" "smart"`,
			"?after_id=hidden":                `[] false null null`,
			"?limit=1&before_id=hidden":       `["smart"] true "smart" "smart"`,
			"?limit=2&before_id=hidden":       `["fast","smart"] false "fast" "smart"`,
			"?before_id=fast":                 `[] false null null`,
			"?limit=0":                        `limit`,
			"?limit=1001":                     `limit`,
			"?limit=x":                        `limit`,
			"?after_id=unknown":               `after_id`,
			"?before_id=unknown":              `before_id`,
			"?before_id=hidden&after_id=fast": `before_id`,
		} {
			resp := cl.Do(http.MethodGet, "/v1/models"+query, nil, "Anthropic-Version", "2023-06-01")
			list := gjson.Parse(harness.ReadAll(t, resp))
			got := fmt.Sprint(list.Get("data.#.id"), " ", list.Get("has_more").Raw, " ", list.Get("first_id").Raw, " ", list.Get("last_id").Raw)
			if resp.StatusCode == http.StatusBadRequest && list.Get("error.type").Str == "invalid_request_error" {
				got, _, _ = strings.Cut(list.Get("error.message").Str, ":")
			}
			if got != want {
				t.Errorf("%q: %s, want %s", query, got, want)
			}
		}
		if resp := cl.Do(http.MethodGet, "/v1/models?limit=1", nil); gjson.Get(harness.ReadAll(t, resp), "data.#").Int() != 3 {
			t.Error("OpenAI's API has no pages")
		}
	})

	for name, script := range map[string]harness.Script{
		"refuses":                       harness.Document(http.StatusUnauthorized, `{"error":{"message":"bad key own-upstream-key"}}`),
		"lists a page in place of JSON": harness.Document(http.StatusOK, "<html>", "Content-Type", "text/html"),
		"has no list":                   harness.Document(http.StatusOK, `{"data":"none"}`),
		"is torn off":                   harness.TornOff,
	} {
		t.Run("a provider that "+name, func(t *testing.T) {
			up := harness.NewUpstream(t, script)
			c := harness.Start(t, harness.GatewayTenants, harness.GatewaySite(up, "passthrough openai"))
			if got, want := modelIDs(t, c, "globex"), []string{"fast", "smart", "hidden"}; !slices.Equal(got, want) {
				t.Errorf("listed %q, want %q", got, want)
			}
		})
	}
}
