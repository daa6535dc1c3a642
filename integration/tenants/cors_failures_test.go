package tenants

import (
	"net/http"
	"os"
	"path/filepath"
	"testing"

	"github.com/caddy-chat/caddy-chat/integration/harness"
)

// TestCrossOriginFailures has failures that are answered by others than
// tenant_resolve.
func TestCrossOriginFailures(t *testing.T) {
	up := harness.NewUpstream(t, harness.Document(http.StatusInternalServerError, `{}`))
	c := harness.StartSites(t, `
		chat {
			store trouble
			tenant acme {
				api_key acme-key
				allow_origin https://acme.example
			}
		}`, `
		(resolve) {
			tenant_resolve {
				allow_origin https://site.example
			}
		}
		http://:{$PORT} {
			handle /dead/* {
				import resolve
				reverse_proxy 127.0.0.1:1
			}
			handle /twice/* {
				route {
					import resolve
					tenant_resolve acme {
						allow_origin https://second.example
					}
					respond hi
				}
			}
			handle {
				import resolve
				chat_session
				ai_gateway {
					provider openai {
						base_url {$UPSTREAM}/v1
					}
					default_model m
					retries 0
				}
			}
			handle_errors 401 {
				respond "the site's own"
			}
		}`, "UPSTREAM="+up.Origin())
	const acme = "https://acme.example"
	for _, tt := range []struct {
		name   string
		ask    ask
		status int
	}{
		{"a_server_that_is_away", ask{path: "/dead/x", origin: acme, key: "acme-key"}, http.StatusBadGateway},
		{"an_error_page_of_the_site", ask{path: "/twice/x", origin: "https://site.example", key: "another"}, http.StatusUnauthorized},
		{"the_tenant's_at_two", ask{path: "/twice/x", origin: acme, key: "acme-key"}, http.StatusOK},
		{"two_tenant_resolve", ask{path: "/twice/x", origin: "https://second.example", key: "acme-key"}, http.StatusOK},
		{"the_first_of_two", ask{path: "/twice/x", origin: "https://site.example", key: "acme-key"}, http.StatusOK},
	} {
		t.Run(tt.name, func(t *testing.T) {
			resp := tt.ask.do(c, http.MethodGet)
			resp.Body.Close()
			if resp.StatusCode != tt.status {
				t.Errorf("status %d, want %d", resp.StatusCode, tt.status)
			}
			wantOrigin(t, resp.Header, tt.ask.origin, true)
			wantExposed(t, resp.Header)
		})
	}
	client := harness.NewClient(c, "", "ann")
	client.Key = "acme-key"
	t.Run("the_provider_fails", func(t *testing.T) {
		resp := client.Do(http.MethodPost, "/v1/chat/completions", `{"messages":[{"role":"user","content":"hi"}],"stream":true}`, "Origin", acme)
		wantOrigin(t, resp.Header, acme, true)
		harness.WantFailure(t, resp, http.StatusBadGateway, "ai_error")
	})
	t.Run("the_store_fails", func(t *testing.T) {
		defer c.Trouble("append")()
		resp := client.Do(http.MethodPost, "/chat", harness.ChatRequest{SessionID: harness.NewSession(), Message: "hi"}, "Origin", acme)
		wantOrigin(t, resp.Header, acme, true)
		harness.WantFailure(t, resp, http.StatusServiceUnavailable, "storage_unavailable")
	})
}

// TestOriginsInFiles changes a tenant's origins while the server is running.
func TestOriginsInFiles(t *testing.T) {
	dir := t.TempDir()
	write := func(origins string) {
		doc := `{"id":"acme","hosts":["acme.test"],"allow_origins":` + origins + `}`
		if err := os.WriteFile(filepath.Join(dir, "acme.json"), []byte(doc), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write(`[]`)
	c := harness.StartSites(t, "chat {\ntenants "+dir+"/*.json\n}", "http://:{$PORT} {\ntenant_resolve\nrespond hi\n}\n")
	allowed := func() string {
		resp := ask{path: "/", host: "acme.test", origin: "https://acme.example"}.do(c, http.MethodGet)
		resp.Body.Close()
		return resp.Header.Get("Access-Control-Allow-Origin")
	}
	if got := allowed(); got != "" {
		t.Errorf("before: %q", got)
	}
	write(`["https://*.example"]`)
	harness.Eventually(t, "the origin is allowed", func() bool { return allowed() == "https://acme.example" })
	write(`["https://another.example"]`)
	harness.Eventually(t, "it is not allowed any more", func() bool { return allowed() == "" })
}
