package tenants

import (
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/caddy-chat/caddy-chat/integration/harness"
)

const corsOptions = `
	chat {
		tenant acme {
			host acme.test
			api_key acme-key
			allow_origin https://acme.example https://*.acme.example
		}
		tenant globex {
			api_key globex-key
			allow_origin https://globex.example:8443
			requests 1 1h
		}
		tenant initech {
			host initech.test
		}
	}
`

// corsSites has a tenant_resolve of each kind, by path, and behind the most of them a
// server that has a policy of its own.
const corsSites = `
	http://:{$PORT} {
		handle /app/* {
			tenant_resolve {
				allow_origin https://site.example
				optional
			}
			reverse_proxy {$SITE}
		}
		handle /wide/* {
			tenant_resolve initech {
				allow_origin *
			}
			reverse_proxy {$SITE}
		}
		handle /acme/* {
			tenant_resolve acme
			reverse_proxy {$SITE}
		}
		handle {
			tenant_resolve {
				allow_origin https://site.example
				from host
				from header
				from api_key Authorization X-Acme-Key
				user_header X-Login
			}
			chat_ratelimit {
				requests 1000 1m
			}
			chat_session {
				max_body 2KiB
			}
			ai_gateway {
				provider openai {
					base_url {$UPSTREAM}/v1
				}
				default_model m
			}
		}
	}
`

// answersItself is a site that has a policy of its own.
func answersItself(c *harness.Call) {
	harness.Document(http.StatusOK, `{}`, "Access-Control-Allow-Origin", "https://theirs.example", "Access-Control-Allow-Credentials", "true",
		"Access-Control-Expose-Headers", "X-Theirs", "Vary", "Accept-Encoding")(c)
}

func startCORS(t *testing.T) *harness.Caddy {
	model := harness.NewUpstream(t, harness.Says(5, 3, "Hello"))
	site := harness.NewUpstream(t, answersItself)
	return harness.StartSites(t, corsOptions, corsSites, "UPSTREAM="+model.Origin(), "SITE="+site.Origin())
}

// ask is a request of a web page.
type ask struct {
	path   string
	host   string // other.test by default
	origin string
	key    string
}

func (a ask) do(c *harness.Caddy, method string, header ...string) *http.Response {
	if a.host == "" {
		a.host = "other.test"
	}
	if a.origin != "" {
		header = append(header, "Origin", a.origin)
	}
	if a.key != "" {
		header = append(header, "Authorization", "Bearer "+a.key)
	}
	return harness.Visit(c, method, a.path, a.host, header...)
}

// list returns the items of a header that may occur several times.
func list(h http.Header, name string) []string {
	var items []string
	for item := range strings.SplitSeq(strings.Join(h.Values(name), ","), ",") {
		if item = strings.TrimSpace(item); item != "" {
			items = append(items, strings.ToLower(item))
		}
	}
	return items
}

func wantInList(t testing.TB, h http.Header, name string, items ...string) {
	t.Helper()
	for _, item := range items {
		if !slices.Contains(list(h, name), strings.ToLower(item)) {
			t.Errorf("%s: %q has no %s", name, h.Values(name), item)
		}
	}
}

// wantOrigin checks which origin may read an answer, "" for none.
func wantOrigin(t testing.TB, h http.Header, origin string, cookies bool) {
	t.Helper()
	want := map[string]string{"Access-Control-Allow-Origin": origin, "Access-Control-Allow-Credentials": ""}
	if cookies {
		want["Access-Control-Allow-Credentials"] = "true"
	}
	harness.WantHeader(t, h, want)
	wantInList(t, h, "Vary", "Origin")
}

func TestPreflight(t *testing.T) {
	c := startCORS(t)
	for _, tt := range []struct {
		name    string
		ask     ask
		allowed string
		cookies bool
	}{
		{"the_site's", ask{path: "/chat", origin: "https://site.example"}, "https://site.example", true},
		{"as_it_was_sent", ask{path: "/chat", origin: "https://SITE.example"}, "https://SITE.example", true},
		{"any_tenant's_where_a_key_will_name_it", ask{path: "/v1/chat/completions", origin: "https://globex.example:8443"}, "https://globex.example:8443", false},
		{"a_subdomain", ask{path: "/v1/models", origin: "https://app.acme.example"}, "https://app.acme.example", false},
		{"the_tenant's_of_the_host", ask{path: "/chat", host: "acme.test", origin: "https://acme.example"}, "https://acme.example", true},
		{"the_site's_at_a_tenant's_host", ask{path: "/chat", host: "acme.test:80", origin: "https://site.example"}, "https://site.example", true},
		{"the_tenant's_of_the_site", ask{path: "/acme/x", origin: "https://acme.example"}, "https://acme.example", true},
		{"all", ask{path: "/wide/x", origin: "https://any.example"}, "*", false},
		{"all_and_no_origin", ask{path: "/wide/x", origin: "null"}, "*", false},
		{"optional", ask{path: "/app/x", origin: "https://site.example"}, "https://site.example", true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			resp := tt.ask.do(c, http.MethodOptions, "Access-Control-Request-Method", "POST", "Access-Control-Request-Headers", "x-stainless-os, content-type,  X-Own ,bad name,x-own")
			if body := harness.ReadAll(t, resp); resp.StatusCode != http.StatusNoContent || body != "" {
				t.Fatalf("%d %s", resp.StatusCode, body)
			}
			wantOrigin(t, resp.Header, tt.allowed, tt.cookies)
			wantInList(t, resp.Header, "Vary", "Access-Control-Request-Method", "Access-Control-Request-Headers")
			wantInList(t, resp.Header, "Access-Control-Allow-Methods", "GET", "POST", "DELETE")
			wantInList(t, resp.Header, "Access-Control-Allow-Headers", "Authorization", "Content-Type", "X-Tenant-Id", "X-User-Id", "X-Session-Id",
				"Idempotency-Key", "Last-Event-ID", "Traceparent", "X-Stainless-Os", "X-Own")
			if strings.Contains(resp.Header.Get("Access-Control-Allow-Headers"), "bad") || strings.Count(strings.ToLower(resp.Header.Get("Access-Control-Allow-Headers")), "x-own") != 1 {
				t.Errorf("allowed headers: %s", resp.Header.Get("Access-Control-Allow-Headers"))
			}
			harness.WantHeader(t, resp.Header, map[string]string{"Access-Control-Max-Age": "#", "X-Trace-Id": "*", "X-Ratelimit-Limit": ""})
		})
	}

	t.Run("the_configured_headers", func(t *testing.T) {
		resp := ask{path: "/chat", origin: "https://site.example"}.do(c, http.MethodOptions, "Access-Control-Request-Method", "GET",
			"Access-Control-Request-Headers", strings.Repeat("x-much,", 1000))
		resp.Body.Close()
		wantInList(t, resp.Header, "Access-Control-Allow-Headers", "X-Acme-Key", "X-Login")
		if strings.Contains(resp.Header.Get("Access-Control-Allow-Headers"), "x-much") {
			t.Error("a list without end is repeated")
		}
	})
}

func TestPreflightOfOthers(t *testing.T) {
	c := startCORS(t)
	for _, tt := range []struct {
		name   string
		ask    ask
		status int
		method string // none if empty
	}{
		{"another_tenant's_host", ask{path: "/chat", host: "acme.test", origin: "https://globex.example:8443"}, 401, "POST"},
		{"another_port", ask{path: "/acme/x", origin: "https://acme.example:8443"}, 401, "POST"},
		{"another_scheme", ask{path: "/acme/x", origin: "http://acme.example"}, 401, "POST"},
		{"too_deep", ask{path: "/acme/x", origin: "https://a.b.acme.example"}, 401, "POST"},
		{"a_longer_name", ask{path: "/acme/x", origin: "https://acme.example.evil.test"}, 401, "POST"},
		{"no_origin", ask{path: "/acme/x", origin: "null"}, 401, "POST"},
		{"not_a_preflight", ask{path: "/acme/x", origin: "https://acme.example"}, 401, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var header []string
			if tt.method != "" {
				header = []string{"Access-Control-Request-Method", tt.method}
			}
			resp := tt.ask.do(c, http.MethodOptions, header...)
			resp.Body.Close()
			if resp.StatusCode != tt.status {
				t.Errorf("status %d, want %d", resp.StatusCode, tt.status)
			}
			wantInList(t, resp.Header, "Vary", "Origin")
			harness.WantHeader(t, resp.Header, map[string]string{"Access-Control-Allow-Methods": "", "Access-Control-Allow-Headers": ""})
			if tt.method != "" {
				wantInList(t, resp.Header, "Vary", "Access-Control-Request-Method", "Access-Control-Request-Headers")
				harness.WantHeader(t, resp.Header, map[string]string{"Access-Control-Allow-Origin": ""})
			}
		})
	}

	t.Run("the_site_behind_answers", func(t *testing.T) {
		resp := ask{path: "/app/x", origin: "https://theirs.example"}.do(c, http.MethodOptions, "Access-Control-Request-Method", "PUT")
		resp.Body.Close()
		wantOrigin(t, resp.Header, "https://theirs.example", true)
	})
}

// TestTenantForAll has a tenant whose API is for any page.
func TestTenantForAll(t *testing.T) {
	c := harness.StartSites(t, `chat {
		tenant acme {
			api_key acme-key
		}
		tenant soylent {
			api_key soylent-key
			allow_origin *
		}
	}`, "http://:{$PORT} {\ntenant_resolve\nchat_session\n}\n")
	resp := ask{path: "/chat", origin: "https://any.example"}.do(c, http.MethodOptions, "Access-Control-Request-Method", "GET")
	resp.Body.Close()
	wantOrigin(t, resp.Header, "*", false)
	for key, allowed := range map[string]string{"soylent-key": "*", "acme-key": ""} {
		resp := ask{path: "/chat", origin: "https://any.example", key: key}.do(c, http.MethodGet)
		resp.Body.Close()
		wantOrigin(t, resp.Header, allowed, false)
	}
}

// TestOwnCORS has no origins of ours, and so no part in what a site does.
func TestOwnCORS(t *testing.T) {
	site := harness.NewUpstream(t, answersItself)
	c := harness.StartSites(t, harness.TwoTenants, "http://:{$PORT} {\ntenant_resolve {\noptional\n}\nreverse_proxy {$SITE}\n}\n", "SITE="+site.Origin())
	for _, method := range []string{http.MethodOptions, http.MethodGet} {
		resp := ask{path: "/", origin: "https://theirs.example"}.do(c, method, "Access-Control-Request-Method", "GET")
		resp.Body.Close()
		harness.WantHeader(t, resp.Header, map[string]string{
			"Access-Control-Allow-Origin": "https://theirs.example", "Access-Control-Allow-Credentials": "true", "Access-Control-Expose-Headers": "X-Theirs",
			"Vary": "Accept-Encoding", "Access-Control-Allow-Methods": "",
		})
	}
	if got := site.Last().Method; got != http.MethodGet {
		t.Errorf("the site got %s", got)
	}
}

func TestCrossOriginAnswers(t *testing.T) {
	c := startCORS(t)
	for _, tt := range []struct {
		name    string
		ask     ask
		status  int
		allowed string
		cookies bool
	}{
		{"the_site's", ask{path: "/chat", origin: "https://site.example", key: "acme-key"}, 200, "https://site.example", true},
		{"the_tenant's", ask{path: "/chat", origin: "https://acme.example", key: "acme-key"}, 200, "https://acme.example", true},
		{"another_tenant's", ask{path: "/chat", origin: "https://acme.example", key: "globex-key"}, 200, "", false},
		{"another_tenant's_without_a_key", ask{path: "/v1/models", host: "initech.test", origin: "https://acme.example"}, 200, "", false},
		{"no_origin", ask{path: "/chat", origin: "null", key: "acme-key"}, 200, "", false},
		{"no_page", ask{path: "/chat", key: "acme-key"}, 200, "", false},
		{"no_key", ask{path: "/chat", origin: "https://site.example", host: "acme.test"}, 401, "https://site.example", true},
		{"no_key_of_the_host's_tenant", ask{path: "/chat", origin: "https://acme.example", host: "acme.test"}, 401, "https://acme.example", true},
		{"no_key_at_another_tenant's_host", ask{path: "/chat", origin: "https://globex.example:8443", host: "acme.test"}, 401, "", false},
		{"a_wrong_key", ask{path: "/v1/models", origin: "https://globex.example:8443", key: "guessed"}, 401, "https://globex.example:8443", false},
		{"a_tenant_that_does_not_match", ask{path: "/chat", origin: "https://acme.example", host: "acme.test", key: "globex-key"}, 403, "https://acme.example", true},
		{"a_missing_session", ask{path: "/chat/" + harness.NewSession() + "/history", origin: "https://acme.example", key: "acme-key"}, 404, "https://acme.example", true},
		{"an_unknown_route", ask{path: "/chat/x/y", origin: "https://acme.example", key: "acme-key"}, 404, "https://acme.example", true},
		{"a_wrong_method", ask{path: "/v1/chat/completions", origin: "https://acme.example", key: "acme-key"}, 405, "https://acme.example", true},
		{"without_a_tenant", ask{path: "/app/x", origin: "https://site.example"}, 200, "https://site.example", true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			resp := tt.ask.do(c, http.MethodGet)
			body := harness.ReadAll(t, resp)
			if resp.StatusCode != tt.status {
				t.Errorf("%d %s", resp.StatusCode, body)
			}
			wantOrigin(t, resp.Header, tt.allowed, tt.cookies)
			if tt.allowed == "" {
				harness.WantHeader(t, resp.Header, map[string]string{"Access-Control-Expose-Headers": ""})
			} else {
				wantExposed(t, resp.Header)
			}
		})
	}
}

// hidden are the headers that a page need not see, or sees in any case.
var hidden = []string{
	"Access-Control-Allow-Credentials", "Access-Control-Allow-Origin", "Access-Control-Expose-Headers", "Cache-Control", "Connection", "Content-Length", "Content-Type",
	"Date", "Server", "Vary", "Via", "X-Accel-Buffering", "X-Content-Type-Options",
}

// wantExposed checks that a page sees every header of an answer that matters to it.
func wantExposed(t testing.TB, h http.Header) {
	t.Helper()
	for name := range h {
		if !slices.Contains(hidden, name) {
			wantInList(t, h, "Access-Control-Expose-Headers", name)
		}
	}
}

func TestCrossOriginPosts(t *testing.T) {
	c := startCORS(t)
	client := func(key string) *harness.Client {
		cl := harness.NewClient(c, "", "")
		cl.Key = key
		return cl
	}
	acme, globex := client("acme-key"), client("globex-key")
	chat := func(stream bool) any {
		return harness.ChatRequest{SessionID: harness.NewSession(), Message: "hi", Stream: &stream}
	}
	const v1 = "/v1/chat/completions"
	for _, tt := range []struct {
		name   string
		client *harness.Client
		origin string
		path   string
		body   any
		status int
	}{
		{"a_stream", acme, "https://acme.example", "/chat", chat(true), 200},
		{"a_document", acme, "https://acme.example", "/chat", chat(false), 200},
		{"a_stream_under_v1", acme, "https://acme.example", v1, `{"messages":[{"role":"user","content":"hi"}],"stream":true}`, 200},
		{"a_document_under_v1", acme, "https://acme.example", v1, `{"messages":[{"role":"user","content":"hi"}]}`, 200},
		{"bad_JSON", acme, "https://acme.example", v1, `{`, 400},
		{"a_body_that_is_too_large", acme, "https://acme.example", "/chat", strings.Repeat(" ", 3000), 413},
		{"within_the_limit", globex, "https://globex.example:8443", "/chat", chat(false), 200},
		{"beyond_the_limit", globex, "https://globex.example:8443", "/chat", chat(true), 429},
	} {
		t.Run(tt.name, func(t *testing.T) {
			resp := tt.client.Do(http.MethodPost, tt.path, tt.body, "Origin", tt.origin)
			body := harness.ReadAll(t, resp)
			if resp.StatusCode != tt.status {
				t.Errorf("%d %s", resp.StatusCode, body)
			}
			wantOrigin(t, resp.Header, tt.origin, true)
			wantExposed(t, resp.Header)
			wantInList(t, resp.Header, "Access-Control-Expose-Headers", "X-Trace-Id", "X-Model-Id", "Retry-After", "X-RateLimit-Limit", "RateLimit", "X-Tokens-Out", "X-Tenant-Id")
		})
	}

	t.Run("a_replay_is_for_the_page_that_asks", func(t *testing.T) {
		body := chat(false)
		for _, origin := range []string{"https://acme.example", "https://site.example", "https://globex.example:8443"} {
			resp := acme.Do(http.MethodPost, "/chat", body, "Origin", origin, "Idempotency-Key", "once")
			resp.Body.Close()
			if origin == "https://globex.example:8443" {
				origin = ""
			}
			wantOrigin(t, resp.Header, origin, origin != "")
		}
	})
}

// TestCORSOfTheSiteBehind has an answer with a policy of its own.
func TestCORSOfTheSiteBehind(t *testing.T) {
	c := startCORS(t)
	for _, tt := range []struct {
		name          string
		ask           ask
		allowed, from string
	}{
		{"ours_wins_where_it_allows", ask{path: "/acme/x", origin: "https://acme.example", key: "acme-key"}, "https://acme.example", "true"},
		{"all_without_cookies", ask{path: "/wide/x", origin: "https://any.example"}, "*", ""},
		{"theirs_is_left_alone_where_ours_does_not", ask{path: "/acme/x", origin: "https://theirs.example", key: "acme-key"}, "https://theirs.example", "true"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			resp := tt.ask.do(c, http.MethodGet)
			resp.Body.Close()
			harness.WantHeader(t, resp.Header, map[string]string{"Access-Control-Allow-Origin": tt.allowed, "Access-Control-Allow-Credentials": tt.from})
			wantInList(t, resp.Header, "Vary", "Accept-Encoding", "Origin")
			wantInList(t, resp.Header, "Access-Control-Expose-Headers", "X-Theirs")
		})
	}
}
