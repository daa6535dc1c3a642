package gateway

import (
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/tidwall/gjson"

	"github.com/caddy-chat/caddy-chat/integration/harness"
)

// TestSlashes asks for routes with slashes too many.
func TestSlashes(t *testing.T) {
	up := harness.NewUpstream(t, harness.Echoes)
	c := harness.Start(t, harness.GatewayTenants, harness.GatewaySite(up, "health_path /health"))
	cl := harness.NewClient(c, "globex", "ann")
	session := harness.NewSession()
	cl.Say(session, "hello")

	for _, route := range []struct {
		method, path string
		body         any
	}{
		{http.MethodPost, "/v1/chat/completions", harness.CompletionRequestFor("fast")},
		{http.MethodGet, "/v1/models", nil},
		{http.MethodGet, "/v1/models/fast", nil},
		{http.MethodGet, "/v1/health", nil},
		{http.MethodGet, "/health", nil},
		{http.MethodPost, "/chat", harness.ChatRequest{SessionID: session, Message: "hi", Stream: new(false)}},
		{http.MethodGet, "/chat/" + session + "/history", nil},
		{http.MethodPost, "/chat/" + session + "/cancel", nil},
	} {
		for _, path := range []string{
			route.path, route.path + "/", route.path + "///", "/" + route.path, strings.ReplaceAll(route.path, "/", "//") + "/",
		} {
			t.Run(path, func(t *testing.T) {
				var doc map[string]any
				if status := cl.Call(route.method, path, route.body, &doc); status != http.StatusOK || doc["error"] != nil {
					t.Errorf("%s %s: %d %v", route.method, path, status, doc)
				}
			})
		}
	}
	t.Run("with a session", func(t *testing.T) {
		session := harness.NewSession()
		resp := cl.Do(http.MethodPost, "//v1/chat//completions/", harness.UserSays("remember"), "X-Session-Id", session)
		harness.ReadAll(t, resp)
		harness.WantList(t, "history", harness.Contents(cl.History(session)), []string{"user: remember", "assistant: re: remember"})
	})
	t.Run("an error has the shape of its API", func(t *testing.T) {
		harness.Refusal{Path: "/v1//embeddings/", Tenant: "globex", Body: "{}", Status: 400, Code: "invalid_request"}.Check(t, c)
	})
	t.Run("one Idempotency-Key", func(t *testing.T) {
		before := up.Count()
		for _, path := range []string{"/v1/chat/completions", "/v1/chat/completions/"} {
			harness.ReadAll(t, cl.Do(http.MethodPost, path, harness.CompletionRequestFor("fast"), "Idempotency-Key", "slashes"))
		}
		if n := up.Count() - before; n != 1 {
			t.Errorf("%d calls, want 1", n)
		}
	})
}

// TestSlashesBehindASession has a server behind chat_session that knows only the
// exact path.
func TestSlashesBehindASession(t *testing.T) {
	up := harness.NewUpstream(t, harness.Echoes)
	c := harness.Start(t, harness.PlainTenants, up.Proxied(""))
	cl := harness.NewClient(c, "acme", "ann")
	harness.ReadAll(t, cl.Do(http.MethodPost, "/v1/chat/completions/", harness.UserSays("hi"), "X-Session-Id", harness.NewSession()))
	if got := up.Only().Path; got != "/v1/chat/completions" {
		t.Errorf("the next handler was asked for %s", got)
	}
}

func TestModelByID(t *testing.T) {
	up := harness.NewUpstream(t, harness.Stalls)
	c := harness.Start(t, harness.GatewayTenants, harness.GatewaySite(up, "passthrough openai"))
	for _, tc := range []struct {
		tenant, id string
		found      bool
		owner      string
	}{
		{"globex", "fast", true, "openai"},
		{"globex", "hidden", true, "local"},
		{"globex", "openai/gpt-4.1", true, "openai"},
		{"globex", "openai%2Fgpt-4.1", true, "openai"},
		{"globex", "openai/meta/llama", true, "openai"},
		{"globex", "local/up-1", false, ""},
		{"globex", "none", false, ""},
		{"acme", "fast", true, "openai"},
		{"acme", "openai/up-9", true, "openai"},
		{"acme", "hidden", false, ""},
		{"acme", "openai/gpt-4.1", false, ""},
	} {
		t.Run(tc.tenant+" "+tc.id, func(t *testing.T) {
			path := "/v1/models/" + tc.id
			if !tc.found {
				harness.Refusal{Method: http.MethodGet, Path: path, Tenant: tc.tenant, Status: 404, Code: "model_unknown"}.Check(t, c)
				return
			}
			cl := harness.NewClient(c, tc.tenant, "ann")
			resp := cl.Do(http.MethodGet, path, nil)
			m := gjson.Parse(harness.ReadAll(t, resp))
			id, err := url.PathUnescape(tc.id)
			if err != nil {
				t.Fatal(err)
			}
			if resp.StatusCode != http.StatusOK || m.Get("id").Str != id || m.Get("object").Str != "model" || m.Get("owned_by").Str != tc.owner || m.Get("created").Int() == 0 {
				t.Errorf("%d %s", resp.StatusCode, m)
			}
			head := cl.Do(http.MethodHead, path, nil)
			if text := harness.ReadAll(t, head); head.StatusCode != http.StatusOK || text != "" || head.Header.Get("Content-Length") != resp.Header.Get("Content-Length") {
				t.Errorf("HEAD: %d %q %v", head.StatusCode, text, head.Header)
			}
		})
	}
	harness.Refusal{
		Method: http.MethodDelete, Path: "/v1/models/fast", Tenant: "globex",
		Status: 405, Code: "method_not_allowed", Head: map[string]string{"Allow": "GET, HEAD"},
	}.Check(t, c)
}

// TestUnanswered asks for what no handler serves.
func TestUnanswered(t *testing.T) {
	up := harness.NewUpstream(t, harness.Stalls)
	alone := "ai_gateway {\ntenant none\nprovider openai {\nbase_url " + up.URL + "\napi_key k\n}\n}\n"
	bare := harness.Start(t, "", alone)
	closed := harness.Start(t, "", alone+"respond /v1/said \"there is none\" 404\nrespond 404\n")
	chain := harness.Start(t, harness.GatewayTenants, harness.GatewaySite(up))
	for name, c := range map[string]*harness.Caddy{"alone": bare, "in the chain": chain, "in front of respond 404": closed} {
		for _, method := range []string{http.MethodGet, http.MethodPost, http.MethodOptions, http.MethodPut} {
			for _, path := range []string{"/v1/embedding", "/v1/", "/v1", "/v1/files", "//v1//images/other/"} {
				t.Run(name+" "+method+" "+path, func(t *testing.T) {
					text := harness.ReadAll(t, visit(t, c, method, path, 404))
					if e := gjson.Get(text, "error"); e.Get("code").Str != "not_found" || e.Get("type").Str != "invalid_request_error" || e.Get("message").Str == "" {
						t.Errorf("got %s", text)
					}
				})
			}
			for _, path := range []string{"/v1/messages/batches", "/v1/messages/batches/", "/v1//messages/batches/b1"} {
				t.Run(name+" "+method+" "+path, func(t *testing.T) {
					resp := visit(t, c, method, path, 404)
					doc := gjson.Parse(harness.ReadAll(t, resp))
					if doc.Get("type").Str != "error" || doc.Get("error.type").Str != "not_found_error" || doc.Get("error.message").Str == "" ||
						doc.Get("request_id").Str != resp.Header.Get("X-Trace-Id") {
						t.Errorf("got %s", doc)
					}
				})
			}
		}
		t.Run(name+" HEAD", func(t *testing.T) {
			if text := harness.ReadAll(t, visit(t, c, http.MethodHead, "/v1/files", 404)); text != "" {
				t.Errorf("got %q", text)
			}
		})
		t.Run(name+" elsewhere", func(t *testing.T) {
			if c != closed {
				harness.ReadAll(t, visit(t, c, http.MethodGet, "/v10/files", 200))
				return
			}
			for path, want := range map[string]string{"/v10/files": "", "/v1/said": "there is none"} {
				if text := harness.ReadAll(t, visit(t, c, http.MethodGet, path, 404)); text != want {
					t.Errorf("%s: %q", path, text)
				}
			}
		})
	}
}

func visit(t *testing.T, c *harness.Caddy, method, path string, want int) *http.Response {
	t.Helper()
	cl := harness.NewClient(c, "globex", "ann")
	cl.T = t
	var body any
	if method == http.MethodPost || method == http.MethodPut {
		body = "{}"
	}
	resp := cl.Do(method, path, body)
	if resp.StatusCode != want {
		t.Errorf("%s %s: %d, want %d", method, path, resp.StatusCode, want)
	}
	return resp
}

// TestAnsweredBehind has handlers behind the gateway, whose answers stay as they
// are, however short.
func TestAnsweredBehind(t *testing.T) {
	up := harness.NewUpstream(t, harness.Stalls)
	app := harness.NewTarget(t, "app", harness.Serves(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/v1/nothing": // net/http sends an empty 200
		case "/v1/gone":
			w.WriteHeader(http.StatusGone)
		}
	})))
	gateway := "ai_gateway {\ntenant none\nprovider openai {\nbase_url " + up.URL + "\napi_key k\n}\n}\n"
	for name, site := range map[string]string{
		"reverse_proxy": "reverse_proxy " + strings.TrimPrefix(app.Origin(), "http://") + "\n",
		"respond":       "respond /v1/nothing 200\nrespond /v1/gone 410\n",
		"handle":        "handle /v1/nothing {\nrespond 200\n}\nhandle /v1/gone {\nrespond 410\n}\n",
		"error":         "error /v1/gone 410\nrespond /v1/nothing 200\n",
	} {
		c := harness.Start(t, "", gateway+site)
		for path, want := range map[string]int{"/v1/nothing": 200, "/v1/gone": 410} {
			t.Run(name+path, func(t *testing.T) {
				if text := harness.ReadAll(t, visit(t, c, http.MethodGet, path, want)); text != "" {
					t.Errorf("got %q", text)
				}
			})
		}
	}
	t.Run("two gateways", func(t *testing.T) {
		c := harness.Start(t, "", gateway+gateway)
		text := harness.ReadAll(t, visit(t, c, http.MethodGet, "/v1/files", 404))
		if !gjson.Valid(text) {
			t.Errorf("got %q", text)
		}
	})
	t.Run("a route that does not match", func(t *testing.T) {
		c := harness.Start(t, "", gateway+"handle /other {\nrespond 200\n}\n")
		harness.ReadAll(t, visit(t, c, http.MethodGet, "/v1/other", 404))
	})
}
