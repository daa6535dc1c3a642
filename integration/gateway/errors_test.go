package gateway

import (
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"testing"

	"github.com/caddy-chat/caddy-chat/integration/harness"
)

// newFailingUpstream starts an upstream that fails as the model's name says. Calls
// of the model waiting wait for the test.
func newFailingUpstream(t testing.TB) *harness.Upstream {
	refuses := func(status int, typ, code string, header ...string) harness.Script {
		told := fmt.Sprintf(`{"error":{"message":%q,"type":%q,"code":%q}}`, harness.UpstreamTold+" "+harness.UpstreamKey+" at /srv/app.py", typ, code)
		return harness.Document(status, told, append(header, "X-Upstream", harness.UpstreamTold)...)
	}
	up := harness.NewUpstream(t)
	up.Plays(harness.ByModel(map[string]harness.Script{
		"limited":      refuses(http.StatusTooManyRequests, "rate_limit_error", "rate_limit_exceeded", "Retry-After", "7"),
		"filtered":     refuses(http.StatusBadRequest, "invalid_request_error", "content_policy_violation"),
		"unauthorized": refuses(http.StatusUnauthorized, "authentication_error", "invalid_api_key"),
		"missing":      refuses(http.StatusNotFound, "invalid_request_error", "model_not_found"),
		"broken":       refuses(http.StatusInternalServerError, "server_error", ""),
		"html":         harness.Document(http.StatusOK, "<h1>"+harness.UpstreamTold+"</h1>", "Content-Type", "text/html"),
		"waiting":      up.Hold,
	}))
	return up
}

// errorOptions and errorSite have a tenant for every kind of refusal.
const errorOptions = `
	chat {
		store trouble
		tenant acme {
			host acme.test
		}
		tenant globex {
			api_key globex-secret-key
		}
		tenant choosy {
			models fast
		}
		tenant hasty {
			burst 1 1h
		}
	}
`

const errorSite = `
	tenant_resolve
	chat_ratelimit {
		requests 100000 1m
	}
	chat_session {
		max_body 1KiB
	}
	ai_gateway {
		provider up openai {
			base_url {$UPSTREAM}
			api_key {$UPSTREAM_KEY}
		}
		provider echo {
			delay 0
		}
		model fast {
			to echo/echo
		}
		passthrough up
		retries 0
		circuit_breaker off
		max_body 1KiB
	}
`

func TestErrors(t *testing.T) {
	up := newFailingUpstream(t)
	c := harness.Start(t, errorOptions, errorSite, "UPSTREAM="+up.URL, "UPSTREAM_KEY="+harness.UpstreamKey)

	bearer := map[string]string{"WWW-Authenticate": "Bearer"}
	big := strings.Repeat("x", 2000)
	// what both APIs share
	for _, d := range []struct {
		name, path string
		body       func(model string) any
	}{
		{"chat", "/chat", func(m string) any { return harness.ChatRequestFor(m) }},
		{"v1", "/v1/chat/completions", func(m string) any { return harness.CompletionRequestFor(m) }},
	} {
		fine := d.body("fast")
		text := fmt.Sprintf(`{"sessionId":%q,"message":"hi","messages":[{"role":"user","content":"hi"}]}`, harness.NewSession())
		for _, r := range []harness.Refusal{
			{Name: "invalid_json", Tenant: "acme", Body: `{"message":`, Status: 400, Code: "invalid_json"},
			{Name: "invalid_json for a duplicate name", Tenant: "acme", Body: text[:len(text)-1] + `,"message":"hi"}`, Status: 400, Code: "invalid_json"},
			{Name: "invalid_request", Tenant: "acme", Body: `{}`, Status: 400, Code: "invalid_request"},
			{Name: "tenant_required", Body: fine, Status: 400, Code: "tenant_required"},
			{Name: "content_filtered", Tenant: "acme", Body: d.body("up/filtered"), Status: 400, Code: "content_filtered"},
			{Name: "invalid_api_key without a key", Tenant: "globex", Body: fine, Status: 401, Code: "invalid_api_key", Head: bearer},
			{Name: "invalid_api_key for a wrong key", Tenant: "globex", Header: []string{"X-Api-Key", "wrong"}, Body: fine, Status: 401, Code: "invalid_api_key", Head: bearer},
			{Name: "tenant_mismatch", Tenant: "acme", Header: []string{"X-Api-Key", "globex-secret-key"}, Body: fine, Status: 403, Code: "tenant_mismatch"},
			{Name: "model_not_allowed", Tenant: "choosy", Body: d.body("up/broken"), Status: 403, Code: "model_not_allowed"},
			{Name: "tenant_unknown", Tenant: "unknown", Body: fine, Status: 404, Code: "tenant_unknown"},
			{Name: "model_unknown", Tenant: "acme", Body: d.body("nosuch"), Status: 404, Code: "model_unknown"},
			{Name: "model_unknown upstream", Tenant: "acme", Body: d.body("up/missing"), Status: 404, Code: "model_unknown"},
			{Name: "payload_too_large", Tenant: "acme", Body: `{"message":"` + big + `"}`, Status: 413, Code: "payload_too_large"},
			{Name: "payload_too_large in chunks", Tenant: "acme", Body: io.MultiReader(strings.NewReader(`{"message":"` + big + `"}`)), Status: 413, Code: "payload_too_large"},
			{Name: "unsupported_media_type", Tenant: "acme", Body: fine, Header: []string{"Content-Type", "text/plain"}, Status: 415, Code: "unsupported_media_type"},
			{Name: "provider_rate_limited", Tenant: "acme", Body: d.body("up/limited"), Status: 429, Code: "provider_rate_limited", Head: map[string]string{"Retry-After": "7"}},
			{Name: "ai_error for a failing provider", Tenant: "acme", Body: d.body("up/broken"), Status: 502, Code: "ai_error"},
			{Name: "ai_error for a rejected provider key", Tenant: "acme", Body: d.body("up/unauthorized"), Status: 502, Code: "ai_error"},
			{Name: "ai_error for an answer that is not JSON", Tenant: "acme", Body: d.body("up/html"), Status: 502, Code: "ai_error"},
		} {
			r.Path = d.path
			t.Run(d.name+"/"+r.Name, func(t *testing.T) { r.Check(t, c) })
		}
	}

	for _, r := range []harness.Refusal{
		{Name: "session_not_found", Method: "GET", Path: "/chat/" + harness.SomeSession + "/history", Status: 404, Code: "session_not_found"},
		{Name: "session_not_found on delete", Method: "DELETE", Path: "/chat/" + harness.SomeSession, Status: 404, Code: "session_not_found"},
		{Name: "session_not_found on stream", Method: "GET", Path: "/chat/" + harness.SomeSession + "/stream", Status: 404, Code: "session_not_found"},
		{Name: "session_not_found on cancel", Path: "/chat/" + harness.SomeSession + "/cancel", Status: 404, Code: "session_not_found"},
		{Name: "session_not_found for an invalid UUID", Method: "GET", Path: "/chat/1/history", Status: 404, Code: "session_not_found"},
		{Name: "not_found", Method: "GET", Path: "/chat/" + harness.SomeSession + "/nosuch", Status: 404, Code: "not_found"},
		{Name: "not_found below a route", Method: "GET", Path: "/chat/" + harness.SomeSession + "/history/1", Status: 404, Code: "not_found"},
		{Name: "method_not_allowed", Method: "PUT", Path: "/chat", Status: 405, Code: "method_not_allowed", Head: map[string]string{"Allow": "GET, HEAD, POST"}},
		{Name: "method_not_allowed on a session", Method: "GET", Path: "/chat/" + harness.SomeSession, Status: 405, Code: "method_not_allowed", Head: map[string]string{"Allow": "DELETE"}},
		{Name: "method_not_allowed on history", Method: "POST", Path: "/chat/" + harness.SomeSession + "/history", Status: 405, Code: "method_not_allowed", Head: map[string]string{"Allow": "GET, HEAD"}},
		{Name: "method_not_allowed on cancel", Method: "GET", Path: "/chat/" + harness.SomeSession + "/cancel", Status: 405, Code: "method_not_allowed", Head: map[string]string{"Allow": "POST"}},
		{Name: "method_not_allowed on completions", Method: "GET", Path: "/v1/chat/completions", Status: 405, Code: "method_not_allowed", Head: map[string]string{"Allow": "POST"}},
		{Name: "method_not_allowed on models", Method: "DELETE", Path: "/v1/models", Status: 405, Code: "method_not_allowed", Head: map[string]string{"Allow": "GET, HEAD"}},
		{Name: "method_not_allowed on health", Method: "POST", Path: "/v1/health", Status: 405, Code: "method_not_allowed", Head: map[string]string{"Allow": "GET, HEAD"}},
		{Name: "invalid_request names limit", Method: "GET", Path: "/chat?limit=0", Status: 400, Code: "invalid_request", Names: "limit"},
		{Name: "invalid_request names before", Method: "GET", Path: "/chat?before=yesterday", Status: 400, Code: "invalid_request", Names: "before"},
		{Name: "invalid_request names the history's limit", Method: "GET", Path: "/chat/" + harness.SomeSession + "/history?limit=many", Status: 400, Code: "invalid_request", Names: "limit"},
		{Name: "invalid_request names the history's before", Method: "GET", Path: "/chat/" + harness.SomeSession + "/history?before=-1", Status: 400, Code: "invalid_request", Names: "before"},
	} {
		r.Tenant = "acme"
		t.Run(r.Name, func(t *testing.T) { r.Check(t, c) })
	}

	t.Run("session_busy", func(t *testing.T) {
		ann := harness.NewClient(c, "acme", "ann")
		body := harness.ChatRequest{SessionID: harness.NewSession(), Message: "hi", ModelID: "up/waiting"}
		first := ann.Start(ann.Request("POST", "/chat", body))
		call := up.Call()
		harness.Refusal{Path: "/chat", Tenant: "acme", Body: body, Status: 409, Code: "session_busy"}.Check(t, c)
		call.Answer("hi")
		if a := first.Events().Rest(); a.Text != "hi" || a.Done == nil {
			t.Errorf("the running turn: %+v", a)
		}
	})

	t.Run("rate_limited", func(t *testing.T) {
		for _, path := range []string{"/chat", "/v1/models"} {
			// the window allows one request an hour
			hasty := harness.NewClient(c, "hasty", path)
			hasty.Do("GET", path, nil).Body.Close()
			resp := hasty.Do("GET", path, nil)
			after := resp.Header.Get("Retry-After")
			if n, err := strconv.Atoi(after); err != nil || n < 1 || n > 3600 {
				t.Errorf("Retry-After %q", after)
			}
			harness.Refusal{Path: path + "/", Status: 429, Code: "rate_limited", Head: map[string]string{"Retry-After": after}}.CheckAnswer(t, c, resp)
		}
	})

	t.Run("storage_unavailable", func(t *testing.T) {
		for _, r := range []harness.Refusal{
			{Name: "take", Path: "/chat", Body: harness.ChatRequestFor("")},
			{Name: "take", Path: "/v1/chat/completions", Body: harness.CompletionRequestFor("fast")},
			{Name: "claim", Path: "/chat", Body: harness.ChatRequestFor("")},
			{Name: "append", Path: "/chat", Body: harness.ChatRequestFor("")},
			{Name: "history", Path: "/chat", Body: harness.ChatRequestFor("")},
			{Name: "history", Method: "GET", Path: "/chat/" + harness.SomeSession + "/history"},
			{Name: "history", Method: "DELETE", Path: "/chat/" + harness.SomeSession},
			{Name: "sessions", Method: "GET", Path: "/chat"},
		} {
			r.Tenant, r.Status, r.Code = "acme", 503, "storage_unavailable"
			t.Run(r.Name+" of "+r.Path, func(t *testing.T) {
				t.Cleanup(c.Trouble(r.Name))
				r.Check(t, c)
			})
		}
	})
}

func TestErrorsOfSilence(t *testing.T) {
	up := newFailingUpstream(t)
	c := harness.Start(t, errorOptions, strings.Replace(errorSite, "passthrough up", "passthrough up\nresponse_timeout 50ms", 1),
		"UPSTREAM="+up.URL, "UPSTREAM_KEY="+harness.UpstreamKey)
	harness.Refusal{Path: "/chat", Tenant: "acme", Body: harness.ChatRequestFor("up/waiting"), Status: 504, Code: "ai_timeout"}.Check(t, c)
	harness.Refusal{Path: "/v1/chat/completions", Tenant: "acme", Body: harness.CompletionRequestFor("up/waiting"), Status: 504, Code: "ai_timeout"}.Check(t, c)
}

func TestErrorsOfAbsence(t *testing.T) {
	unreachable := fmt.Sprintf("http://127.0.0.1:%d", harness.FreePort(t))
	c := harness.Start(t, errorOptions, errorSite, "UPSTREAM="+unreachable, "UPSTREAM_KEY="+harness.UpstreamKey)
	harness.Refusal{Path: "/chat", Tenant: "acme", Body: harness.ChatRequestFor("up/any"), Status: 502, Code: "ai_error"}.Check(t, c)
	harness.Refusal{Path: "/v1/chat/completions", Tenant: "acme", Body: harness.CompletionRequestFor("up/any"), Status: 502, Code: "ai_error"}.Check(t, c)
}
