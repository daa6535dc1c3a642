package integration

import (
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"slices"
	"strconv"
	"strings"
	"testing"
)

const (
	upstreamKey  = "sk-upstream-0123456789abcdef"
	upstreamTold = "UPSTREAM-SAID-THIS"
)

// failingUpstream fails as the model's name says. Its waiting answers begin
// when release is closed.
type failingUpstream struct {
	url     string
	asked   chan struct{} // gets a value for every waiting request
	release chan struct{}
}

func newFailingUpstream(t testing.TB) *failingUpstream {
	u := &failingUpstream{asked: make(chan struct{}, 100), release: make(chan struct{})}
	srv := httptest.NewServer(http.HandlerFunc(u.serve))
	t.Cleanup(srv.Close)
	u.url = srv.URL + "/v1"
	return u
}

func (u *failingUpstream) serve(w http.ResponseWriter, r *http.Request) {
	var req struct {
		Model string `json:"model"`
	}
	_ = json.NewDecoder(r.Body).Decode(&req)
	refuse := func(status int, typ, code string) {
		w.Header().Set("Content-Type", "application/json")
		w.Header().Set("X-Upstream", upstreamTold)
		w.WriteHeader(status)
		fmt.Fprintf(w, `{"error":{"message":%q,"type":%q,"code":%q}}`, upstreamTold+" "+upstreamKey+" at /srv/app.py", typ, code)
	}
	switch req.Model {
	case "limited":
		w.Header().Set("Retry-After", "7")
		refuse(http.StatusTooManyRequests, "rate_limit_error", "rate_limit_exceeded")
	case "filtered":
		refuse(http.StatusBadRequest, "invalid_request_error", "content_policy_violation")
	case "unauthorized":
		refuse(http.StatusUnauthorized, "authentication_error", "invalid_api_key")
	case "missing":
		refuse(http.StatusNotFound, "invalid_request_error", "model_not_found")
	case "broken":
		refuse(http.StatusInternalServerError, "server_error", "")
	case "html":
		w.Header().Set("Content-Type", "text/html")
		fmt.Fprint(w, "<h1>"+upstreamTold+"</h1>")
	case "waiting":
		u.asked <- struct{}{}
		select {
		case <-u.release:
		case <-r.Context().Done():
		}
		w.Header().Set("Content-Type", "text/event-stream")
		fmt.Fprint(w, "data: {\"choices\":[{\"index\":0,\"delta\":{\"content\":\"hi\"},\"finish_reason\":\"stop\"}]}\n\ndata: [DONE]\n\n")
	}
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

// refusal is a request and how it is refused.
type refusal struct {
	name   string
	method string // POST by default
	path   string
	tenant string
	body   any
	header []string

	status int
	code   string
	names  string // the field that the message begins with
	head   map[string]string
}

func (r refusal) check(t testing.TB, c *caddyProcess) {
	t.Helper()
	method := r.method
	if method == "" {
		method = http.MethodPost
	}
	cl := newClient(c, r.tenant, "ann")
	cl.t = t
	resp := cl.do(method, r.path, r.body, r.header...)
	r.checkAnswer(t, c, resp)
}

func (r refusal) checkAnswer(t testing.TB, c *caddyProcess, resp *http.Response) {
	t.Helper()
	text := readAll(t, resp)
	resp.Body = io.NopCloser(strings.NewReader(text))
	f := wantFailure(t, resp, r.status, r.code)
	if ct := resp.Header.Get("Content-Type"); ct != "application/json" {
		t.Errorf("Content-Type %q", ct)
	}
	if r.names != "" && !strings.HasPrefix(f.Error.Message, r.names+": ") {
		t.Errorf("message %q does not name %s", f.Error.Message, r.names)
	}
	if f.Error.Message == "" {
		t.Error("no message")
	}
	checkShape(t, text, strings.HasPrefix(r.path, "/v1/"))
	checkDiscretion(t, c, resp, text)
	for name, want := range r.head {
		if got := resp.Header.Get(name); got != want {
			t.Errorf("%s is %q, want %q", name, got, want)
		}
	}
	for _, name := range []string{"Allow", "Retry-After", "WWW-Authenticate"} {
		if _, wanted := r.head[name]; !wanted && resp.Header.Get(name) != "" {
			t.Errorf("%s is %q, want none", name, resp.Header.Get(name))
		}
	}
}

// checkShape checks that the body has the members of its kind, and no others.
func checkShape(t testing.TB, text string, openAI bool) {
	t.Helper()
	var doc map[string]json.RawMessage
	var detail map[string]json.RawMessage
	if err := json.Unmarshal([]byte(text), &doc); err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(doc["error"], &detail); err != nil {
		t.Fatal(err)
	}
	wantDoc, wantDetail := []string{"error", "ok", "traceId"}, []string{"code", "message"}
	if openAI {
		wantDoc, wantDetail = []string{"error", "trace_id"}, []string{"code", "message", "param", "type"}
	}
	if got := slices.Sorted(maps.Keys(doc)); !slices.Equal(got, wantDoc) {
		t.Errorf("members %v, want %v", got, wantDoc)
	}
	if got := slices.Sorted(maps.Keys(detail)); !slices.Equal(got, wantDetail) {
		t.Errorf("members of error %v, want %v", got, wantDetail)
	}
	if !openAI && string(doc["ok"]) != "false" {
		t.Errorf("ok is %s", doc["ok"])
	}
	if openAI && string(detail["type"]) == `""` {
		t.Error("type is empty")
	}
}

// checkDiscretion looks for what a client must not see.
func checkDiscretion(t testing.TB, c *caddyProcess, resp *http.Response, text string) {
	t.Helper()
	all := text + fmt.Sprint(resp.Header)
	for _, secret := range []string{upstreamTold, upstreamKey, "globex-secret-key", c.dir, "goroutine", "/var/lib", "/srv/", ".go:"} {
		if strings.Contains(all, secret) {
			t.Errorf("the answer shows %q: %s", secret, all)
		}
	}
}

const aSession = "0198f0e0-0000-7000-8000-000000000000"

// completion is a body of /v1/chat/completions.
func completionOf(model string) map[string]any {
	return map[string]any{"model": model, "messages": []map[string]string{{"role": "user", "content": "hi"}}}
}

func askOf(model string) ask { return ask{SessionID: newSession(), Message: "hi", ModelID: model} }

func TestErrors(t *testing.T) {
	up := newFailingUpstream(t)
	c := startCaddy(t, errorOptions, errorSite, "UPSTREAM="+up.url, "UPSTREAM_KEY="+upstreamKey)

	bearer := map[string]string{"WWW-Authenticate": "Bearer"}
	big := strings.Repeat("x", 2000)
	// what both dialects have in common, once for each
	for _, d := range []struct {
		name, path string
		body       func(model string) any
	}{
		{"chat", "/chat", func(m string) any { return askOf(m) }},
		{"v1", "/v1/chat/completions", func(m string) any { return completionOf(m) }},
	} {
		fine := d.body("fast")
		text := fmt.Sprintf(`{"sessionId":%q,"message":"hi","messages":[{"role":"user","content":"hi"}]}`, newSession())
		for _, r := range []refusal{
			{name: "invalid_json", tenant: "acme", body: `{"message":`, status: 400, code: "invalid_json"},
			{name: "invalid_json for a duplicate name", tenant: "acme", body: text[:len(text)-1] + `,"message":"hi"}`, status: 400, code: "invalid_json"},
			{name: "invalid_request", tenant: "acme", body: `{}`, status: 400, code: "invalid_request"},
			{name: "tenant_required", body: fine, status: 400, code: "tenant_required"},
			{name: "content_filtered", tenant: "acme", body: d.body("up/filtered"), status: 400, code: "content_filtered"},
			{name: "invalid_api_key for none", tenant: "globex", body: fine, status: 401, code: "invalid_api_key", head: bearer},
			{name: "invalid_api_key for a wrong one", tenant: "globex", header: []string{"X-Api-Key", "wrong"}, body: fine, status: 401, code: "invalid_api_key", head: bearer},
			{name: "tenant_mismatch", tenant: "acme", header: []string{"X-Api-Key", "globex-secret-key"}, body: fine, status: 403, code: "tenant_mismatch"},
			{name: "model_not_allowed", tenant: "choosy", body: d.body("up/broken"), status: 403, code: "model_not_allowed"},
			{name: "tenant_unknown", tenant: "nobody", body: fine, status: 404, code: "tenant_unknown"},
			{name: "model_unknown", tenant: "acme", body: d.body("nosuch"), status: 404, code: "model_unknown"},
			{name: "model_unknown upstream", tenant: "acme", body: d.body("up/missing"), status: 404, code: "model_unknown"},
			{name: "payload_too_large", tenant: "acme", body: `{"message":"` + big + `"}`, status: 413, code: "payload_too_large"},
			{name: "payload_too_large in chunks", tenant: "acme", body: io.MultiReader(strings.NewReader(`{"message":"` + big + `"}`)), status: 413, code: "payload_too_large"},
			{name: "unsupported_media_type", tenant: "acme", body: fine, header: []string{"Content-Type", "text/plain"}, status: 415, code: "unsupported_media_type"},
			{name: "provider_rate_limited", tenant: "acme", body: d.body("up/limited"), status: 429, code: "provider_rate_limited", head: map[string]string{"Retry-After": "7"}},
			{name: "ai_error for a failing provider", tenant: "acme", body: d.body("up/broken"), status: 502, code: "ai_error"},
			{name: "ai_error for a rejected key of ours", tenant: "acme", body: d.body("up/unauthorized"), status: 502, code: "ai_error"},
			{name: "ai_error for an answer that is none", tenant: "acme", body: d.body("up/html"), status: 502, code: "ai_error"},
		} {
			r.path = d.path
			t.Run(d.name+"/"+r.name, func(t *testing.T) { r.check(t, c) })
		}
	}

	for _, r := range []refusal{
		{name: "session_not_found", method: "GET", path: "/chat/" + aSession + "/history", status: 404, code: "session_not_found"},
		{name: "session_not_found on delete", method: "DELETE", path: "/chat/" + aSession, status: 404, code: "session_not_found"},
		{name: "session_not_found on stream", method: "GET", path: "/chat/" + aSession + "/stream", status: 404, code: "session_not_found"},
		{name: "session_not_found on cancel", path: "/chat/" + aSession + "/cancel", status: 404, code: "session_not_found"},
		{name: "session_not_found for no UUID", method: "GET", path: "/chat/1/history", status: 404, code: "session_not_found"},
		{name: "not_found", method: "GET", path: "/chat/" + aSession + "/nosuch", status: 404, code: "not_found"},
		{name: "not_found below a route", method: "GET", path: "/chat/" + aSession + "/history/1", status: 404, code: "not_found"},
		{name: "method_not_allowed", method: "PUT", path: "/chat", status: 405, code: "method_not_allowed", head: map[string]string{"Allow": "GET, POST"}},
		{name: "method_not_allowed on a session", method: "GET", path: "/chat/" + aSession, status: 405, code: "method_not_allowed", head: map[string]string{"Allow": "DELETE"}},
		{name: "method_not_allowed on history", method: "POST", path: "/chat/" + aSession + "/history", status: 405, code: "method_not_allowed", head: map[string]string{"Allow": "GET"}},
		{name: "method_not_allowed on cancel", method: "GET", path: "/chat/" + aSession + "/cancel", status: 405, code: "method_not_allowed", head: map[string]string{"Allow": "POST"}},
		{name: "method_not_allowed on completions", method: "GET", path: "/v1/chat/completions", status: 405, code: "method_not_allowed", head: map[string]string{"Allow": "POST"}},
		{name: "method_not_allowed on models", method: "DELETE", path: "/v1/models", status: 405, code: "method_not_allowed", head: map[string]string{"Allow": "GET"}},
		{name: "method_not_allowed on health", method: "POST", path: "/v1/health", status: 405, code: "method_not_allowed", head: map[string]string{"Allow": "GET"}},
		{name: "invalid_request names limit", method: "GET", path: "/chat?limit=0", status: 400, code: "invalid_request", names: "limit"},
		{name: "invalid_request names before", method: "GET", path: "/chat?before=yesterday", status: 400, code: "invalid_request", names: "before"},
		{name: "invalid_request names the history's limit", method: "GET", path: "/chat/" + aSession + "/history?limit=many", status: 400, code: "invalid_request", names: "limit"},
		{name: "invalid_request names the history's before", method: "GET", path: "/chat/" + aSession + "/history?before=-1", status: 400, code: "invalid_request", names: "before"},
	} {
		r.tenant = "acme"
		t.Run(r.name, func(t *testing.T) { r.check(t, c) })
	}

	t.Run("session_busy", func(t *testing.T) {
		ann := newClient(c, "acme", "ann")
		body := ask{SessionID: newSession(), Message: "hi", ModelID: "up/waiting"}
		first := make(chan *http.Response, 1)
		go func() {
			resp, err := ann.http.Do(ann.request("POST", "/chat", body))
			if err != nil {
				t.Error(err)
			}
			first <- resp
		}()
		<-up.asked
		refusal{path: "/chat", tenant: "acme", body: body, status: 409, code: "session_busy"}.check(t, c)
		close(up.release)
		if a := readEvents(t, <-first).rest(); a.text != "hi" || a.done == nil {
			t.Errorf("the running turn: %+v", a)
		}
	})

	t.Run("rate_limited", func(t *testing.T) {
		for _, path := range []string{"/chat", "/v1/models"} {
			// the window of an hour has room for one
			hasty := newClient(c, "hasty", path)
			hasty.do("GET", path, nil).Body.Close()
			resp := hasty.do("GET", path, nil)
			after := resp.Header.Get("Retry-After")
			if n, err := strconv.Atoi(after); err != nil || n < 1 || n > 3600 {
				t.Errorf("Retry-After %q", after)
			}
			refusal{path: path + "/", status: 429, code: "rate_limited", head: map[string]string{"Retry-After": after}}.checkAnswer(t, c, resp)
		}
	})

	t.Run("storage_unavailable", func(t *testing.T) {
		for _, r := range []refusal{
			{name: "take", path: "/chat", body: askOf("")},
			{name: "take", path: "/v1/chat/completions", body: completionOf("fast")},
			{name: "claim", path: "/chat", body: askOf("")},
			{name: "append", path: "/chat", body: askOf("")},
			{name: "history", path: "/chat", body: askOf("")},
			{name: "history", method: "GET", path: "/chat/" + aSession + "/history"},
			{name: "history", method: "DELETE", path: "/chat/" + aSession},
			{name: "sessions", method: "GET", path: "/chat"},
		} {
			r.tenant, r.status, r.code = "acme", 503, "storage_unavailable"
			t.Run(r.name+" of "+r.path, func(t *testing.T) {
				t.Cleanup(c.trouble(r.name))
				r.check(t, c)
			})
		}
	})
}

func TestErrorsOfSilence(t *testing.T) {
	up := newFailingUpstream(t)
	c := startCaddy(t, errorOptions, strings.Replace(errorSite, "passthrough up", "passthrough up\nresponse_timeout 50ms", 1),
		"UPSTREAM="+up.url, "UPSTREAM_KEY="+upstreamKey)
	refusal{path: "/chat", tenant: "acme", body: askOf("up/waiting"), status: 504, code: "ai_timeout"}.check(t, c)
	refusal{path: "/v1/chat/completions", tenant: "acme", body: completionOf("up/waiting"), status: 504, code: "ai_timeout"}.check(t, c)
}

func TestErrorsOfAbsence(t *testing.T) {
	nobody := fmt.Sprintf("http://127.0.0.1:%d", freePort(t))
	c := startCaddy(t, errorOptions, errorSite, "UPSTREAM="+nobody, "UPSTREAM_KEY="+upstreamKey)
	refusal{path: "/chat", tenant: "acme", body: askOf("up/any"), status: 502, code: "ai_error"}.check(t, c)
	refusal{path: "/v1/chat/completions", tenant: "acme", body: completionOf("up/any"), status: 502, code: "ai_error"}.check(t, c)
}
