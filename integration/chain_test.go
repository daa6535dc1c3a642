package integration

import (
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/tidwall/gjson"
)

// TestChains has one request, or a few, for each chain that the contract
// names.
func TestChains(t *testing.T) {
	t.Parallel()
	up := newFakeProvider(t, func(w http.ResponseWriter, r *http.Request) {
		if strings.Contains(r.Header.Get("Accept"), "text/event-stream") || r.Header.Get("X-Fake") == "stream" {
			sendEvents(w, []string{role, content("Hel"), content("lo"), finished, counted, endMark})
			return
		}
		document(http.StatusOK, wholeAnswer)(w, r)
	})
	gateway := fmt.Sprintf("\n\tai_gateway {\n\t\tprovider openai {\n\t\t\tbase_url %s\n\t\t}\n\t\tmodel fast {\n\t\t\tto openai/up-fast\n\t\t}\n", up.url)
	proxy := "\n\treverse_proxy " + strings.TrimPrefix(strings.TrimSuffix(up.url, "/v1"), "http://")

	t.Run("chat with history", func(t *testing.T) {
		c := startCaddy(t, gatewayTenants, "\ttenant_resolve\n\tchat_ratelimit\n\tchat_session"+gateway+"\t}")
		globex := newClient(c, "globex", "ann")
		resp := globex.do(http.MethodPost, "/chat", ask{SessionID: newSession(), Message: "hi"})
		wantHeader(t, resp.Header, map[string]string{"X-Tenant-Id": "globex", "X-RateLimit-Remaining": "#", "X-Model-Id": "fast"})
		if a := readEvents(t, resp).rest(); a.text != "Hello" || a.done == nil {
			t.Errorf("%+v", a)
		}
	})
	t.Run("gateway without history", func(t *testing.T) {
		c := startCaddy(t, gatewayTenants, "\ttenant_resolve\n\tchat_ratelimit"+gateway+"\t}\n\trespond 418")
		globex := newClient(c, "globex", "ann")
		a := globex.complete(newQuestion("fast").streamed())
		a.wantWhole(t, "Hello")
		wantHeader(t, a.header, map[string]string{"X-Tenant-Id": "globex", "X-RateLimit-Remaining": "#"})
		resp := globex.do(http.MethodPost, "/chat", ask{SessionID: newSession(), Message: "hi"})
		readAll(t, resp)
		if resp.StatusCode != http.StatusTeapot {
			t.Errorf("/chat is answered without chat_session: %d", resp.StatusCode)
		}
	})
	t.Run("plain gateway", func(t *testing.T) {
		c := startCaddy(t, "", gateway+"\t\ttenant none\n\t}")
		cl := newClient(c, "", "")
		a := cl.complete(newQuestion("fast"))
		if a.status != http.StatusOK || a.Text != "Hello" {
			t.Errorf("%d: %v", a.status, a.frames)
		}
		wantHeader(t, a.header, map[string]string{"X-Tenant-Id": "", "X-Trace-Id": "*", "X-Model-Id": "fast"})
	})
	t.Run("history before another server", func(t *testing.T) {
		c := startCaddy(t, gatewayTenants, "\ttenant_resolve\n\tchat_session"+proxy+" {\n\t\theader_up X-Fake stream\n\t}")
		acme := newClient(c, "acme", "ann")
		session := newSession()
		for turn := range 2 {
			resp := acme.do(http.MethodPost, "/chat", ask{SessionID: session, Message: "question"}, "Authorization", "Bearer app-key")
			wantHeader(t, resp.Header, map[string]string{"X-Tenant-Id": "acme", "X-Model-Id": "smart"})
			a := readEvents(t, resp).rest()
			if a.text != "Hello" || a.done == nil || a.done.FinishReason != "stop" || a.done.Usage.TokensIn != 7 || a.done.Usage.TokensOut != 3 {
				t.Fatalf("%+v", a)
			}
			got := up.last()
			body := gjson.Parse(got.body)
			if got.path != completions || body.Get("model").Str != "smart" || !body.Get("stream").Bool() || !body.Get("stream_options.include_usage").Bool() {
				t.Errorf("the server got %s %s", got.path, got.body)
			}
			if n := body.Get("messages.#").Int(); n != int64(1+2*turn) {
				t.Errorf("turn %d: the server got %d messages: %s", turn+1, n, got.body)
			}
			wantHeader(t, got.header, map[string]string{
				"X-Tenant-Id": "acme", "X-User-Id": "ann", "X-Trace-Id": resp.Header.Get("X-Trace-Id"), "Authorization": "Bearer app-key",
			})
		}
		if msgs := acme.history(session); len(msgs) != 4 || msgs[3].Content != "Hello" || msgs[3].Status != "complete" || msgs[3].TokenCount != 3 {
			t.Errorf("stored are %+v", msgs)
		}
	})
	t.Run("tenants and limits for a site", func(t *testing.T) {
		app := newFakeProvider(t, func(w http.ResponseWriter, r *http.Request) {
			document(http.StatusCreated, "the app's", "X-App", r.URL.Path)(w, r)
		})
		c := startCaddy(t, gatewayTenants, "\ttenant_resolve\n\tchat_ratelimit 2 1h\n\treverse_proxy "+strings.TrimPrefix(strings.TrimSuffix(app.url, "/v1"), "http://"))
		keyed := newClient(c, "", "ann")
		keyed.key = "keyed-client-key"
		for _, path := range []string{"/any/page", "/chat"} {
			resp := keyed.do(http.MethodGet, path, nil, "X-Tenant-Id", "keyed", "X-Trace-Id", "trace-1")
			if text := readAll(t, resp); resp.StatusCode != http.StatusCreated || text != "the app's" || resp.Header.Get("X-App") != path {
				t.Errorf("%d, %q, %v", resp.StatusCode, text, resp.Header)
			}
			wantHeader(t, resp.Header, map[string]string{"X-RateLimit-Limit": "2", "X-Trace-Id": "trace-1"})
			wantHeader(t, app.last().header, map[string]string{
				"X-Tenant-Id": "keyed", "X-User-Id": "ann", "X-Trace-Id": "trace-1", "Authorization": "",
			})
		}
		resp := keyed.do(http.MethodGet, "/any/page", nil)
		wantHeader(t, resp.Header, map[string]string{"Retry-After": "#", "X-RateLimit-Remaining": "0"})
		wantFailure(t, resp, http.StatusTooManyRequests, "rate_limited")
		if app.count() != 2 {
			t.Errorf("the app was asked %d times, want 2", app.count())
		}
	})
}

// TestWithoutTenantResolve has each handler alone, which fails closed unless
// its own block names a tenant.
func TestWithoutTenantResolve(t *testing.T) {
	t.Parallel()
	up := newFakeProvider(t, document(http.StatusOK, wholeAnswer))
	gateway := fmt.Sprintf("ai_gateway {\n\t\tprovider openai {\n\t\t\tbase_url %s\n\t\t}\n\t\tmodel fast {\n\t\t\tto openai/up-fast\n\t\t}\n\t\t", up.url)
	for name, tc := range map[string]struct {
		site         string // %s is where the tenant is named
		method, path string
	}{
		"chat_ratelimit": {"chat_ratelimit {\n\t\t%s\n\t}\n\trespond 200", http.MethodGet, "/any"},
		"chat_session":   {"chat_session {\n\t\t%s\n\t}", http.MethodGet, "/chat"},
		"ai_gateway":     {gateway + "%s\n\t}", http.MethodGet, "/v1/models"},
	} {
		t.Run(name, func(t *testing.T) {
			closed := startCaddy(t, gatewayTenants, fmt.Sprintf(tc.site, ""))
			resp := newClient(closed, "globex", "ann").do(tc.method, tc.path, nil)
			wantFailure(t, resp, http.StatusBadRequest, "tenant_required")

			open := startCaddy(t, gatewayTenants, fmt.Sprintf(tc.site, "tenant acme"))
			resp = newClient(open, "globex", "ann").do(tc.method, tc.path, nil)
			text := readAll(t, resp)
			if resp.StatusCode != http.StatusOK {
				t.Errorf("%d: %s", resp.StatusCode, text)
			}
			if got := resp.Header.Get("X-Tenant-Id"); got != "acme" && name != "chat_ratelimit" {
				t.Errorf("X-Tenant-Id %q, want the one that is configured", got)
			}
		})
	}
}
