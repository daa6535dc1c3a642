package gateway

import (
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/caddy-chat/caddy-chat/integration/harness"
)

// TestHandleErrors checks that a site's handle_errors may replace the body of a
// failure, and that ours is sent if it does not answer.
func TestHandleErrors(t *testing.T) {
	up := newFailingUpstream(t)
	c := harness.StartSites(t, errorOptions, `
		(chain) {
			`+errorSite+`
		}
		http://own.test:{$PORT} {
			import chain
			header X-Site own
			handle_errors {
				header X-Own yes
				respond "own {http.error.status_code} {chat.error.code} {chat.trace_id} {http.error.message}"
			}
		}
		http://some.test:{$PORT} {
			import chain
			header X-Site some
			handle_errors 404 5xx {
				respond "some {chat.error.code}"
			}
		}
		http://path.test:{$PORT} {
			import chain
			handle_errors {
				@gone path /gone/*
				respond @gone "gone"
			}
		}
		http://file.test:{$PORT} {
			import chain
			handle_errors {
				rewrite * /page.txt
				file_server
			}
		}
		http://empty.test:{$PORT} {
			import chain
			handle_errors {
				redir https://status.test/ 302
			}
		}
		http://none.test:{$PORT} {
			import chain
		}
		http://broken.test:{$PORT} {
			import chain
			handle_errors {
				error 500
			}
		}
	`, "UPSTREAM="+up.URL, "UPSTREAM_KEY="+harness.UpstreamKey)

	get := func(t *testing.T, host, path, tenant string) (*http.Response, string) {
		t.Helper()
		resp := harness.Visit(c, "GET", path, host, "X-Tenant-Id", tenant, "X-Trace-Id", "trace-1")
		return resp, harness.ReadAll(t, resp)
	}
	if err := os.WriteFile(filepath.Join(c.Dir, "page.txt"), []byte("a page"), 0o600); err != nil {
		t.Fatal(err)
	}
	missing := "/chat/" + harness.SomeSession + "/history"

	t.Run("replaces the body", func(t *testing.T) {
		resp, text := get(t, "own.test", missing, "acme")
		want := "own 404 session_not_found trace-1 There is no such session"
		if resp.StatusCode != http.StatusNotFound || text != want {
			t.Errorf("got %d %q, want %q", resp.StatusCode, text, want)
		}
		if ct := resp.Header.Get("Content-Type"); strings.Contains(ct, "json") {
			t.Errorf("Content-Type %q", ct)
		}
	})
	t.Run("keeps the headers", func(t *testing.T) {
		resp, text := get(t, "own.test", "/v1/models", "globex")
		if resp.StatusCode != http.StatusUnauthorized || !strings.HasPrefix(text, "own 401 invalid_api_key ") {
			t.Errorf("got %d %q", resp.StatusCode, text)
		}
		for name, want := range map[string]string{"WWW-Authenticate": "Bearer", "X-Trace-Id": "trace-1", "X-Own": "yes", "X-Site": "own"} {
			if got := resp.Header.Get(name); got != want {
				t.Errorf("%s is %q, want %q", name, got, want)
			}
		}
		resp = harness.Visit(c, "PUT", "/chat", "own.test", "X-Tenant-Id", "acme")
		if text := harness.ReadAll(t, resp); resp.Header.Get("Allow") != "GET, HEAD, POST" || resp.Header.Get("X-RateLimit-Limit") == "" {
			t.Errorf("headers %v of %q", resp.Header, text)
		}
	})
	t.Run("does not reveal the cause", func(t *testing.T) {
		cl := harness.NewClient(c, "acme", "ann")
		for _, model := range []string{"up/broken", "up/unauthorized", "up/limited"} {
			req := cl.Request("POST", "/v1/chat/completions", harness.CompletionRequestFor(model))
			req.Host = "own.test"
			resp, err := cl.HTTP.Do(req)
			if err != nil {
				t.Fatal(err)
			}
			text := harness.ReadAll(t, resp)
			if !strings.HasPrefix(text, "own ") {
				t.Errorf("got %q", text)
			}
			harness.CheckDiscretion(t, c, resp, text)
		}
	})
	t.Run("may handle only some statuses", func(t *testing.T) {
		if resp, text := get(t, "some.test", missing, "acme"); resp.StatusCode != http.StatusNotFound || text != "some session_not_found" {
			t.Errorf("got %d %q", resp.StatusCode, text)
		}
	})
	t.Run("serves a file", func(t *testing.T) {
		if resp, text := get(t, "file.test", missing, "acme"); resp.StatusCode != http.StatusNotFound || text != "a page" {
			t.Errorf("got %d %q", resp.StatusCode, text)
		}
	})
	t.Run("redirects", func(t *testing.T) {
		req, _ := http.NewRequestWithContext(t.Context(), http.MethodGet, c.URL+missing, nil)
		req.Host = "empty.test"
		resp, err := http.DefaultTransport.RoundTrip(req)
		if err != nil {
			t.Fatal(err)
		}
		if text := harness.ReadAll(t, resp); resp.StatusCode != http.StatusFound || resp.Header.Get("Location") != "https://status.test/" || text != "" {
			t.Errorf("got %d %q %v", resp.StatusCode, text, resp.Header)
		}
	})
	for _, r := range []struct{ name, host, header string }{
		{"for another status keeps ours", "some.test", "some"},
		{"for another path keeps ours", "path.test", ""},
		{"on another site keeps ours", "none.test", ""},
		{"that fails keeps ours", "broken.test", ""},
	} {
		t.Run(r.name, func(t *testing.T) {
			head := map[string]string{"X-Site": r.header, "X-Own": "", "X-Trace-Id": "trace-1"}
			resp := harness.Visit(c, "GET", "/chat?limit=0", r.host, "X-Tenant-Id", "acme", "X-Trace-Id", "trace-1")
			harness.Refusal{Path: "/chat", Status: 400, Code: "invalid_request", Names: "limit", Head: head}.CheckAnswer(t, c, resp)
			resp = harness.Visit(c, "GET", "/v1/models", r.host, "X-Trace-Id", "trace-1")
			harness.Refusal{Path: "/v1/models", Status: 400, Code: "tenant_required", Head: head}.CheckAnswer(t, c, resp)
		})
	}
}
