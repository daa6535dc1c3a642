package tenants

import (
	"fmt"
	"net/http"
	"testing"

	"github.com/tidwall/gjson"

	"github.com/caddy-chat/caddy-chat/integration/harness"
)

// TestChains makes a few requests to each supported chain of handlers.
func TestChains(t *testing.T) {
	t.Parallel()
	up := harness.NewUpstream(t, func(c *harness.Call) {
		if c.Streams() || c.Header.Get("X-Fake") == "stream" {
			c.Send(harness.Role, harness.Content("Hel"), harness.Content("lo"), harness.Finished, harness.Counted, harness.EndMark)
			return
		}
		harness.Document(http.StatusOK, harness.WholeAnswer)(c)
	})
	gateway := fmt.Sprintf("\n\tai_gateway {\n\t\tprovider openai {\n\t\t\tbase_url %s\n\t\t}\n\t\tmodel fast {\n\t\t\tto openai/up-fast\n\t\t}\n", up.URL)
	proxy := "\n\treverse_proxy " + up.Origin()

	t.Run("chat with history", func(t *testing.T) {
		c := harness.Start(t, harness.GatewayTenants, "\ttenant_resolve\n\tchat_ratelimit\n\tchat_session"+gateway+"\t}")
		globex := harness.NewClient(c, "globex", "ann")
		resp := globex.Do(http.MethodPost, "/chat", harness.ChatRequest{SessionID: harness.NewSession(), Message: "hi"})
		harness.WantHeader(t, resp.Header, map[string]string{"X-Tenant-Id": "globex", "X-RateLimit-Remaining": "#", "X-Model-Id": "fast"})
		if a := harness.ReadEvents(t, resp).Rest(); a.Text != "Hello" || a.Done == nil {
			t.Errorf("%+v", a)
		}
	})
	t.Run("gateway without history", func(t *testing.T) {
		c := harness.Start(t, harness.GatewayTenants, "\ttenant_resolve\n\tchat_ratelimit"+gateway+"\t}\n\trespond 418")
		globex := harness.NewClient(c, "globex", "ann")
		a := globex.Complete(harness.NewQuestion("fast").Streamed())
		a.WantWhole(t, "Hello")
		harness.WantHeader(t, a.Header, map[string]string{"X-Tenant-Id": "globex", "X-RateLimit-Remaining": "#"})
		resp := globex.Do(http.MethodPost, "/chat", harness.ChatRequest{SessionID: harness.NewSession(), Message: "hi"})
		harness.ReadAll(t, resp)
		if resp.StatusCode != http.StatusTeapot {
			t.Errorf("/chat is answered without chat_session: %d", resp.StatusCode)
		}
	})
	t.Run("plain gateway", func(t *testing.T) {
		c := harness.Start(t, "", gateway+"\t\ttenant none\n\t}")
		cl := harness.NewClient(c, "", "")
		a := cl.Complete(harness.NewQuestion("fast"))
		if a.Status != http.StatusOK || a.Text != "Hello" {
			t.Errorf("%d: %v", a.Status, a.Frames)
		}
		harness.WantHeader(t, a.Header, map[string]string{"X-Tenant-Id": "", "X-Trace-Id": "*", "X-Model-Id": "fast"})
	})
	t.Run("history in front of another server", func(t *testing.T) {
		c := harness.Start(t, harness.GatewayTenants, "\ttenant_resolve\n\tchat_session"+proxy+" {\n\t\theader_up X-Fake stream\n\t}")
		acme := harness.NewClient(c, "acme", "ann")
		session := harness.NewSession()
		for turn := range 2 {
			resp := acme.Do(http.MethodPost, "/chat", harness.ChatRequest{SessionID: session, Message: "question"}, "Authorization", "Bearer app-key")
			harness.WantHeader(t, resp.Header, map[string]string{"X-Tenant-Id": "acme", "X-Model-Id": "smart"})
			a := harness.ReadEvents(t, resp).Rest()
			if a.Text != "Hello" || a.Done == nil || a.Done.FinishReason != "stop" || a.Done.Usage.TokensIn != 7 || a.Done.Usage.TokensOut != 3 {
				t.Fatalf("%+v", a)
			}
			got := up.Last()
			body := gjson.Parse(got.Body)
			if got.Path != harness.CompletionsPath || body.Get("model").Str != "smart" || !body.Get("stream").Bool() || !body.Get("stream_options.include_usage").Bool() {
				t.Errorf("the server got %s %s", got.Path, got.Body)
			}
			if n := body.Get("messages.#").Int(); n != int64(1+2*turn) {
				t.Errorf("turn %d: the server got %d messages: %s", turn+1, n, got.Body)
			}
			harness.WantHeader(t, got.Header, map[string]string{
				"X-Tenant-Id": "acme", "X-User-Id": "ann", "X-Trace-Id": resp.Header.Get("X-Trace-Id"), "Authorization": "Bearer app-key",
			})
		}
		if msgs := acme.History(session); len(msgs) != 4 || msgs[3].Content != "Hello" || msgs[3].Status != "complete" || msgs[3].TokenCount != 3 {
			t.Errorf("stored %+v", msgs)
		}
	})
	t.Run("tenants and limits for a site", func(t *testing.T) {
		app := harness.NewUpstream(t, func(c *harness.Call) {
			harness.Document(http.StatusCreated, "the app's", "X-App", c.Path)(c)
		})
		c := harness.Start(t, harness.GatewayTenants, "\ttenant_resolve\n\tchat_ratelimit 2 1h\n\treverse_proxy "+app.Origin())
		keyed := harness.NewClient(c, "", "ann")
		keyed.Key = "keyed-client-key"
		for _, path := range []string{"/any/page", "/chat"} {
			resp := keyed.Do(http.MethodGet, path, nil, "X-Tenant-Id", "keyed", "X-Trace-Id", "trace-1")
			if text := harness.ReadAll(t, resp); resp.StatusCode != http.StatusCreated || text != "the app's" || resp.Header.Get("X-App") != path {
				t.Errorf("%d, %q, %v", resp.StatusCode, text, resp.Header)
			}
			harness.WantHeader(t, resp.Header, map[string]string{"X-RateLimit-Limit": "2", "X-Trace-Id": "trace-1"})
			harness.WantHeader(t, app.Last().Header, map[string]string{
				"X-Tenant-Id": "keyed", "X-User-Id": "ann", "X-Trace-Id": "trace-1", "Authorization": "",
			})
		}
		resp := keyed.Do(http.MethodGet, "/any/page", nil)
		harness.WantHeader(t, resp.Header, map[string]string{"Retry-After": "#", "X-RateLimit-Remaining": "0"})
		harness.WantFailure(t, resp, http.StatusTooManyRequests, "rate_limited")
		if app.Count() != 2 {
			t.Errorf("the app got %d requests, want 2", app.Count())
		}
	})
}

// TestWithoutTenantResolve checks that each handler alone fails closed unless its
// own block names a tenant.
func TestWithoutTenantResolve(t *testing.T) {
	t.Parallel()
	up := harness.NewUpstream(t, harness.Document(http.StatusOK, harness.WholeAnswer))
	gateway := fmt.Sprintf("ai_gateway {\n\t\tprovider openai {\n\t\t\tbase_url %s\n\t\t}\n\t\tmodel fast {\n\t\t\tto openai/up-fast\n\t\t}\n\t\t", up.URL)
	for name, tc := range map[string]struct {
		site         string // with %s for the line that names the tenant
		method, path string
	}{
		"chat_ratelimit": {"chat_ratelimit {\n\t\t%s\n\t}\n\trespond 200", http.MethodGet, "/any"},
		"chat_session":   {"chat_session {\n\t\t%s\n\t}", http.MethodGet, "/chat"},
		"ai_gateway":     {gateway + "%s\n\t}", http.MethodGet, "/v1/models"},
	} {
		t.Run(name, func(t *testing.T) {
			closed := harness.Start(t, harness.GatewayTenants, fmt.Sprintf(tc.site, ""))
			resp := harness.NewClient(closed, "globex", "ann").Do(tc.method, tc.path, nil)
			harness.WantFailure(t, resp, http.StatusBadRequest, "tenant_required")

			open := harness.Start(t, harness.GatewayTenants, fmt.Sprintf(tc.site, "tenant acme"))
			resp = harness.NewClient(open, "globex", "ann").Do(tc.method, tc.path, nil)
			text := harness.ReadAll(t, resp)
			if resp.StatusCode != http.StatusOK {
				t.Errorf("%d: %s", resp.StatusCode, text)
			}
			if got := resp.Header.Get("X-Tenant-Id"); got != "acme" && name != "chat_ratelimit" {
				t.Errorf("X-Tenant-Id %q, want the configured one", got)
			}
		})
	}
}
