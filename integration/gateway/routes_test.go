package gateway

import (
	"maps"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/caddy-chat/caddy-chat/integration/harness"
)

func TestHealth(t *testing.T) {
	up := harness.NewUpstream(t, harness.Stalls)
	c := harness.Start(t, harness.GatewayTenants, harness.GatewaySite(up, "health_path /health"))
	for _, tc := range []struct{ tenant, model string }{{"acme", "smart"}, {"globex", "fast"}} {
		for _, path := range []string{"/v1/health", "/health"} {
			t.Run(tc.tenant+path, func(t *testing.T) {
				cl := harness.NewClient(c, tc.tenant, "ann")
				var h struct {
					OK   bool `json:"ok"`
					Data struct {
						Status          string  `json:"status"`
						TenantID        string  `json:"tenantId"`
						ModelID         string  `json:"modelId"`
						FallbackModelID *string `json:"fallbackModelId"`
						Providers       map[string]struct {
							Circuit string `json:"circuit"`
						} `json:"providers"`
					} `json:"data"`
					TraceID string `json:"traceId"`
				}
				status := cl.Call(http.MethodGet, path, nil, &h, "X-Trace-Id", "trace-1")
				if status != http.StatusOK || !h.OK || h.TraceID != "trace-1" || h.Data.Status != "ok" ||
					h.Data.TenantID != tc.tenant || h.Data.ModelID != tc.model || h.Data.FallbackModelID != nil {
					t.Errorf("%d, %+v", status, h)
				}
				if names := slices.Sorted(maps.Keys(h.Data.Providers)); !slices.Equal(names, []string{"local", "openai"}) || h.Data.Providers["openai"].Circuit != "closed" {
					t.Errorf("providers %+v", h.Data.Providers)
				}

				head := cl.Do(http.MethodHead, path, nil)
				if text := harness.ReadAll(t, head); head.StatusCode != http.StatusOK || text != "" || head.Header.Get("X-Trace-Id") == "" {
					t.Errorf("HEAD: %d, %q, %v", head.StatusCode, text, head.Header)
				}
				resp := cl.Do(http.MethodPost, path, struct{}{})
				if allow := resp.Header.Get("Allow"); allow != "GET, HEAD" {
					t.Errorf("POST: Allow %q", allow)
				}
				harness.WantFailure(t, resp, http.StatusMethodNotAllowed, "method_not_allowed")
			})
		}
	}
	if up.Count() > 0 {
		t.Error("the provider was asked")
	}
}

// TestPassesOn has a site behind the handlers, with paths that resemble their
// routes.
func TestPassesOn(t *testing.T) {
	up := harness.NewUpstream(t, harness.Stalls)
	dir := t.TempDir()
	files := []string{
		"index.txt", "health", "chatter", "chat.txt", "v1/other", "v1/models.txt", "v1/chat/completions.txt", "v2/models",
	}
	for _, name := range files {
		full := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(full), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(full, []byte("file "+name), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	fileSite := harness.Start(t, harness.GatewayTenants, harness.GatewaySite(up)+"\n\troot "+dir+"\n\tfile_server\n")
	respondSite := harness.Start(t, harness.GatewayTenants, harness.GatewaySite(up)+"\n\trespond \"file {path}\" 200\n")
	for _, name := range files {
		t.Run(name, func(t *testing.T) {
			for c, want := range map[*harness.Caddy]string{fileSite: "file " + name, respondSite: "file /" + name} {
				resp := harness.NewClient(c, "globex", "ann").Do(http.MethodGet, "/"+name, nil)
				if got := harness.ReadAll(t, resp); resp.StatusCode != http.StatusOK || got != want {
					t.Errorf("%d, %q; want %q", resp.StatusCode, got, want)
				}
			}
		})
	}
	t.Run("any method", func(t *testing.T) {
		resp := harness.NewClient(respondSite, "globex", "ann").Do(http.MethodPut, "/v1/other", "body")
		if got := harness.ReadAll(t, resp); got != "file /v1/other" {
			t.Errorf("%d, %q", resp.StatusCode, got)
		}
	})
	t.Run("the gateway's own routes are not passed on", func(t *testing.T) {
		resp := harness.NewClient(respondSite, "globex", "ann").Do(http.MethodGet, "/v1/chat/completions", nil)
		harness.WantFailure(t, resp, http.StatusMethodNotAllowed, "method_not_allowed")
	})
}
