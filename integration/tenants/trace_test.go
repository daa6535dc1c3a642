package tenants

import (
	"encoding/json"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/google/uuid"

	"github.com/caddy-chat/caddy-chat/integration/harness"
)

// traceSites has every chain, by path.
const traceSites = `
	http://:{$PORT} {
		handle /proxied/* {
			tenant_resolve acme
			chat_session {
				path /proxied/chat
			}
			reverse_proxy {$UPSTREAM}
		}
		handle /site/* {
			tenant_resolve acme
			respond "site"
		}
		handle {
			tenant_resolve
			chat_ratelimit {
				requests 100000 1m
				burst 100000 1m
			}
			chat_session
			ai_gateway {
				provider up openai {
					base_url {$UPSTREAM}/v1
				}
				model fast {
					to up/m
				}
			}
		}
	}
`

func TestTraceID(t *testing.T) {
	up := harness.NewUpstream(t, harness.Steps(harness.Heads("X-Trace-Id", "upstream", "X-Tenant-Id", "upstream"), harness.Says(3, 5, "hi")))
	c := harness.StartSites(t, harness.TwoTenants, traceSites, "UPSTREAM="+up.Origin())
	const parent = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"

	for _, tt := range []struct {
		name   string
		header []string
		want   string // a new UUIDv7 if empty
	}{
		{"none", nil, ""},
		{"traceparent", []string{"traceparent", parent}, "4bf92f3577b34da6a3ce929d0e0e4736"},
		{"X-Trace-Id", []string{"X-Trace-Id", "a.B_c-9"}, "a.B_c-9"},
		{"X-Request-Id", []string{"X-Request-Id", "req-1"}, "req-1"},
		{"traceparent first", []string{"traceparent", parent, "X-Trace-Id", "t", "X-Request-Id", "r"}, "4bf92f3577b34da6a3ce929d0e0e4736"},
		{"X-Trace-Id before X-Request-Id", []string{"X-Trace-Id", "t", "X-Request-Id", "r"}, "t"},
		{"one character", []string{"X-Trace-Id", "x"}, "x"},
		{"128 characters", []string{"X-Trace-Id", strings.Repeat("x", 128)}, strings.Repeat("x", 128)},
		{"129 characters", []string{"X-Trace-Id", strings.Repeat("x", 129)}, ""},
		{"empty", []string{"X-Trace-Id", ""}, ""},
		{"a blank", []string{"X-Trace-Id", "a b"}, ""},
		{"a quote", []string{"X-Trace-Id", `a"b`}, ""},
		{"another letter", []string{"X-Trace-Id", "ö"}, ""},
		{"an invalid one before a valid one", []string{"X-Trace-Id", "a b", "X-Request-Id", "r"}, "r"},
		{"an invalid traceparent", []string{"traceparent", "00-4bf92f3577b34da6a3ce929d0e0e473-00f067aa0ba902b7-01", "X-Trace-Id", "t"}, "t"},
		{"a traceparent of zeros", []string{"traceparent", "00-00000000000000000000000000000000-00f067aa0ba902b7-01"}, ""},
		{"a traceparent without a parent", []string{"traceparent", "00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-01"}, ""},
		{"a traceparent in upper case", []string{"traceparent", strings.ToUpper(parent)}, ""},
		{"a traceparent of version ff", []string{"traceparent", "ff" + parent[2:]}, ""},
		{"a traceparent with too much", []string{"traceparent", parent + "-00"}, ""},
		{"a traceparent of a later version with more", []string{"traceparent", "cc" + parent[2:] + "-more"}, "4bf92f3577b34da6a3ce929d0e0e4736"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			check := func(what, id string) {
				t.Helper()
				if tt.want != "" && id != tt.want {
					t.Errorf("%s: %q, want %q", what, id, tt.want)
				}
				if u, err := uuid.Parse(id); tt.want == "" && (err != nil || u.Version() != 7) {
					t.Errorf("%s: %q, want a new UUIDv7", what, id)
				}
			}
			cl := harness.NewClient(c, "acme", "ann")
			cl.T = t
			var doc harness.Failure
			for _, path := range []string{"/chat", "/v1/health", "/chat/" + harness.SomeSession + "/history", "/chat/x/y/z"} {
				resp := cl.Do("GET", path, nil, tt.header...)
				if err := json.Unmarshal([]byte(harness.ReadAll(t, resp)), &doc); err != nil {
					t.Fatal(err)
				}
				id := resp.Header.Get("X-Trace-Id")
				check("header of "+path, id)
				if doc.TraceID != id {
					t.Errorf("%s: %q in the body, %q in the header", path, doc.TraceID, id)
				}
			}
			stranger := *cl
			stranger.Tenant = "unknown"
			resp := stranger.Do("GET", "/v1/models", nil, tt.header...)
			check("OpenAI's error", resp.Header.Get("X-Trace-Id"))
			harness.WantFailure(t, resp, 404, "tenant_unknown")

			resp = cl.Do("GET", "/site/", nil, tt.header...)
			check("the site's own answer", resp.Header.Get("X-Trace-Id"))
			resp.Body.Close()

			for path, body := range map[string]any{
				"/chat":                harness.ChatRequestFor(""),
				"/proxied/chat":        harness.ChatRequestFor("m"),
				"/v1/chat/completions": harness.CompletionRequestFor("fast"),
			} {
				resp := cl.Do("POST", path, body, tt.header...)
				text := harness.ReadAll(t, resp)
				ids := resp.Header.Values("X-Trace-Id")
				if resp.StatusCode != http.StatusOK || len(ids) != 1 {
					t.Fatalf("%s: got %d with trace ids %q: %s", path, resp.StatusCode, ids, text)
				}
				check("the answer of "+path, ids[0])
				if strings.HasSuffix(path, "/chat") && !strings.Contains(text, `"traceId":"`+ids[0]+`"`) {
					t.Errorf("the events of %s lack the trace id: %s", path, text)
				}
				if got := up.Last().Header.Values("X-Request-Id"); !slices.Equal(got, ids) {
					t.Errorf("%s sent X-Request-Id %q upstream, want %q", path, got, ids)
				}
			}
		})
	}
}

// TestTenantHeadersAreOurs checks that the chain overwrites the client's copies of
// its headers, whichever handler found the tenant.
func TestTenantHeadersAreOurs(t *testing.T) {
	up := harness.NewUpstream(t, harness.Steps(harness.Heads("X-Trace-Id", "upstream", "X-Tenant-Id", "upstream"), harness.Says(3, 5, "hi")))
	c := harness.StartSites(t, harness.TwoTenants, `
		http://:{$PORT} {
			handle /limited/* {
				chat_ratelimit {
					tenant acme
				}
				reverse_proxy {$UPSTREAM}
			}
			handle /session/* {
				chat_session {
					path /session/chat
					tenant acme
				}
				reverse_proxy {$UPSTREAM}
			}
			handle /resolved/* {
				tenant_resolve acme
				chat_session {
					path /resolved/chat
				}
				reverse_proxy {$UPSTREAM}
			}
			handle {
				ai_gateway {
					tenant none
					provider up openai {
						base_url {$UPSTREAM}/v1
						api_key ours
					}
				}
			}
		}
	`, "UPSTREAM="+up.Origin())
	cl := harness.NewClient(c, "globex", "ann")
	if strings.TrimSpace(cl.Tenant) == "" {
		t.Fatal("the test must claim another tenant")
	}
	for _, tt := range []struct {
		path   string
		tenant string // as the client claims
		body   any
		users  string
	}{
		{"/limited/x", "globex", harness.CompletionRequestFor("m"), "ann"},
		{"/session/chat", "globex", harness.ChatRequestFor("m"), "ann"},
		{"/resolved/chat", "acme", harness.ChatRequestFor("m"), "ann"},
	} {
		t.Run(tt.path, func(t *testing.T) {
			cl.T, cl.Tenant = t, tt.tenant
			resp := cl.Do("POST", tt.path, tt.body, "X-Trace-Id", "not valid", "Authorization", "Bearer app", "X-Request-Id", "also not valid")
			text := harness.ReadAll(t, resp)
			if resp.StatusCode != http.StatusOK {
				t.Fatalf("got %d %s", resp.StatusCode, text)
			}
			for name, want := range map[string]string{"X-Tenant-Id": "acme", "X-User-Id": tt.users, "X-Trace-Id": resp.Header.Get("X-Trace-Id")} {
				if got := up.Last().Header.Values(name); !slices.Equal(got, []string{want}) {
					t.Errorf("the next handler got %s %q, want %q", name, got, want)
				}
			}
		})
	}
	t.Run("a user named in the body", func(t *testing.T) {
		cl := harness.NewClient(c, "acme", "")
		a := harness.ChatRequest{SessionID: harness.NewSession(), Message: "hi", UserID: "bob"}
		harness.ReadAll(t, cl.Do("POST", "/resolved/chat", a))
		if got := up.Last().Header.Values("X-User-Id"); !slices.Equal(got, []string{"bob"}) {
			t.Errorf("the next handler got X-User-Id %q", got)
		}
		cl.User = "ann"
		a.SessionID = harness.NewSession()
		harness.ReadAll(t, cl.Do("POST", "/resolved/chat", a))
		if got := up.Last().Header.Values("X-User-Id"); !slices.Equal(got, []string{"ann"}) {
			t.Errorf("want the header's user, the next handler got X-User-Id %q", got)
		}
	})
	t.Run("a provider gets none of them", func(t *testing.T) {
		cl := harness.NewClient(c, "globex", "ann")
		cl.Key = "client-key"
		resp := cl.Do("POST", "/v1/chat/completions", harness.CompletionRequestFor("m"), "X-Api-Key", "client-key", "Cookie", "a=b", "X-Forwarded-For", "1.2.3.4")
		if text := harness.ReadAll(t, resp); resp.StatusCode != http.StatusOK {
			t.Fatalf("got %d %s", resp.StatusCode, text)
		}
		for _, name := range []string{"X-Tenant-Id", "X-User-Id", "X-Api-Key", "Cookie", "X-Forwarded-For"} {
			if got := up.Last().Header.Values(name); len(got) > 0 {
				t.Errorf("the provider got %s %q", name, got)
			}
		}
		if got := up.Last().Header.Values("Authorization"); !slices.Equal(got, []string{"Bearer ours"}) {
			t.Errorf("the provider got Authorization %q", got)
		}
	})
}

// TestTenantsFailClosed checks that handlers without tenant_resolve refuse all
// requests unless their own block names a tenant.
func TestTenantsFailClosed(t *testing.T) {
	c := harness.StartSites(t, harness.TwoTenants, `
		http://:{$PORT} {
			handle /limit/* {
				chat_ratelimit 100 1m
				respond "in"
			}
			handle /limit-acme/* {
				chat_ratelimit {
					tenant acme
				}
				respond "in {chat.tenant.id} {chat.tenant.source} {chat.user.id}"
			}
			handle /chat/* {
				chat_session
			}
			handle /chat-acme/* {
				chat_session {
					path /chat-acme/chat
					tenant acme
				}
			}
			handle /optional/* {
				tenant_resolve {
					optional
				}
				chat_session {
					path /optional/chat
				}
				respond "in"
			}
			handle /models-acme {
				rewrite * /v1/models
				ai_gateway {
					provider echo
					tenant acme
				}
			}
			handle /models-none {
				rewrite * /v1/models
				ai_gateway {
					provider echo
					tenant none
				}
			}
			handle {
				ai_gateway {
					provider echo
				}
			}
		}
	`)
	cl := harness.NewClient(c, "acme", "ann")
	for _, r := range []harness.Refusal{
		{Method: "GET", Path: "/limit/"},
		{Method: "GET", Path: "/chat/" + harness.SomeSession + "/history"},
		{Method: "GET", Path: "/optional/chat", Tenant: "-"},
		{Method: "GET", Path: "/v1/models"},
		{Method: "GET", Path: "/v1/health"},
		{Path: "/v1/chat/completions", Body: harness.CompletionRequestFor("echo")},
	} {
		t.Run(r.Path, func(t *testing.T) {
			r.Status, r.Code = 400, "tenant_required"
			if r.Tenant == "" {
				r.Tenant = "acme"
			} else {
				r.Tenant = ""
			}
			r.Check(t, c)
		})
	}
	for path, want := range map[string]string{
		"/limit-acme/":    "in acme  ann",
		"/chat-acme/chat": `"sessions":[]`,
		"/models-acme":    `"object":"list"`,
		"/models-none":    `"object":"list"`,
		"/optional/site":  "in",
	} {
		resp := cl.Do("GET", path, nil)
		text := harness.ReadAll(t, resp)
		if resp.StatusCode != http.StatusOK || !strings.Contains(text, want) {
			t.Errorf("%s: got %d %s", path, resp.StatusCode, text)
		}
		tenant := resp.Header.Get("X-Tenant-Id")
		if (path == "/chat-acme/chat" || path == "/models-acme") && tenant != "acme" {
			t.Errorf("%s: X-Tenant-Id %q", path, tenant)
		}
	}
}
