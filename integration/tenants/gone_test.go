package tenants

import (
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/caddy-chat/caddy-chat/integration/harness"
)

// goneTest is a site whose tenants come and go: acme in a file of its own, and
// globex in the configuration.
type goneTest struct {
	*testing.T
	up   *harness.Upstream
	c    *harness.Caddy
	dir  string
	site string
}

// onGoneSites runs a test on the sites that answer under /chat and /v1.
func onGoneSites(t *testing.T, test func(*goneTest)) {
	t.Parallel()
	for name, site := range map[string]func(*harness.Upstream) string{
		"gateway": func(up *harness.Upstream) string { return up.Sessions("") },
		"cached": func(up *harness.Upstream) string {
			return strings.Replace(up.Sessions(""), "retries 0", "retries 0\ncache 1h", 1)
		},
		"proxy":      func(up *harness.Upstream) string { return up.Proxied("") },
		"cancelling": func(up *harness.Upstream) string { return up.Chain("on_disconnect cancel") },
	} {
		t.Run(name, func(t *testing.T) {
			g := &goneTest{T: t, up: harness.NewUpstream(t), dir: t.TempDir()}
			g.site = site(g.up) + "\n\tlog\n"
			g.write("acme", acmeFile)
			g.c = harness.Start(t, g.options("tenant globex"), g.site)
			test(g)
		})
	}
}

const acmeFile = `{"id": "acme", "api_keys": ["key-1", "key-2"], "metadata": {"plan": "gold"}}`

func (g *goneTest) options(tenants string) string {
	return "chat {\n" + tenants + "\ntenants " + g.dir + "/*.json\n}"
}

func (g *goneTest) write(name, text string) { writeFile(g, filepath.Join(g.dir, name+".json"), text) }

func (g *goneTest) client(tenant, key string) *harness.Client {
	cl := harness.NewClient(g.c, tenant, "ann")
	cl.T, cl.Key = g, key
	return cl
}

// running are requests of one client of every kind, each in the middle of its
// answer.
type running struct {
	cl    *harness.Client
	calls []*harness.HeldCall

	session     string // of chat
	chat        *harness.Events
	follower    *harness.Events
	keyedChat   []*harness.Events // with one Idempotency-Key
	completions map[string]*harness.CompletionStream
	documents   map[string]*harness.Pending
}

// start starts the requests. Their messages and keys are not used twice, because
// a cache answers equal ones of a tenant.
func (g *goneTest) start(cl *harness.Client) *running {
	g.Helper()
	r := &running{cl: cl, session: harness.NewSession(), completions: make(map[string]*harness.CompletionStream), documents: make(map[string]*harness.Pending)}
	unique := harness.NewSession()
	held := func(say string) {
		call := g.up.Call()
		call.Say(say)
		r.calls = append(r.calls, call)
	}
	no := false

	a := cl.Ask(r.session, "question"+unique)
	held("half")
	r.chat = a.Events()
	r.chat.Text("half")
	r.follower = cl.Follow(r.session, "").Events()
	r.follower.Text("half")

	keyed := harness.ChatRequest{SessionID: harness.NewSession(), Message: "again" + unique}
	for i := range 2 {
		a := cl.Start(cl.Request(http.MethodPost, "/chat", keyed, "Idempotency-Key", "chat"+unique))
		if i == 0 {
			held("half")
		}
		e := a.Events()
		e.Text("half")
		r.keyedChat = append(r.keyedChat, e)
	}
	completion := func(name string, header ...string) {
		a := cl.StartCompletion(harness.UserSays(name+unique, harness.Streamed), header...)
		if !strings.HasPrefix(name, "second") {
			held("half")
		}
		s := a.Stream()
		s.ReadText("half")
		r.completions[name] = s
	}
	completion("session", "X-Session-Id", harness.NewSession())
	keyedSession := harness.NewSession()
	completion("keyed session", "X-Session-Id", keyedSession, "Idempotency-Key", "session"+unique)
	if g.hasGateway() {
		completion("plain")
		completion("keyed", "Idempotency-Key", "plain"+unique)
	}
	document := func(name string, req *http.Request) {
		r.documents[name] = cl.Start(req)
		r.calls = append(r.calls, g.up.Call())
	}
	document("chat", cl.Request(http.MethodPost, "/chat", harness.ChatRequest{SessionID: harness.NewSession(), Message: "native" + unique, Stream: &no}))
	document("session", cl.Request(http.MethodPost, harness.CompletionsPath, harness.UserSays("document"+unique), "X-Session-Id", harness.NewSession()))
	document("plain", cl.Request(http.MethodPost, harness.CompletionsPath, harness.UserSays("plain document"+unique)))
	return r
}

func (g *goneTest) hasGateway() bool { return strings.Contains(g.site, "ai_gateway") }

// wantGone checks that all of the requests end, for the client and upstream.
func (g *goneTest) wantGone(r *running) {
	g.Helper()
	for name, s := range r.completions {
		g.Run(name, func(t *testing.T) { s.Rest().WantCut(t, "half", "tenant_gone") })
	}
	for name, e := range map[string]*harness.Events{"chat": r.chat, "follower": r.follower, "leader": r.keyedChat[0], "repeated": r.keyedChat[1]} {
		a := e.Rest()
		if a.Failed == nil || a.Failed.Code != "tenant_gone" || a.Failed.TraceID == "" || a.Done == nil || a.Done.FinishReason != "error" || a.Text != "" {
			g.Errorf("%s: the stream ends with %+v", name, a.Events)
		}
	}
	for _, a := range r.documents {
		harness.WantFailure(g, a.Answer(), http.StatusUnauthorized, "tenant_gone")
	}
	for _, call := range r.calls {
		call.WantGone()
	}
}

// wantWhole checks that all of the requests go on.
func (g *goneTest) wantWhole(r *running) {
	g.Helper()
	for _, call := range r.calls {
		call.Say(" of it")
		call.Finish("stop")
	}
	for name, s := range r.completions {
		g.Run(name, func(t *testing.T) { s.Rest().WantWhole(t, "half of it") })
	}
	for name, e := range map[string]*harness.Events{"chat": r.chat, "follower": r.follower, "leader": r.keyedChat[0], "repeated": r.keyedChat[1]} {
		if a := e.Rest(); a.Failed != nil || a.Done == nil || a.Done.FinishReason != "stop" || a.Text != " of it" {
			g.Errorf("%s: the stream ends with %+v", name, a.Events)
		}
	}
	for name, a := range r.documents {
		if resp := a.Answer(); resp.StatusCode != http.StatusOK {
			g.Errorf("%s: %d %s", name, resp.StatusCode, harness.ReadAll(g, resp))
		} else {
			resp.Body.Close()
		}
	}
}

func TestTenantGone(t *testing.T) {
	onGoneSites(t, func(g *goneTest) {
		gone, stays, other := g.start(g.client("acme", "key-1")), g.start(g.client("acme", "key-2")), g.start(g.client("globex", ""))

		// a change that leaves the tenant and its keys ends nothing
		g.write("acme", strings.Replace(acmeFile, "gold", "iron", 1))
		g.write("initech", `{"id": "initech"}`)
		harness.Eventually(g, "the files are read", func() bool { return tenantsNow(g.c, "initech")["initech"] })

		g.write("acme", strings.Replace(acmeFile, `"key-1", `, "", 1))
		g.wantGone(gone)
		g.wantWhole(stays)

		removed := g.start(g.client("acme", "key-2"))
		if err := os.Remove(filepath.Join(g.dir, "acme.json")); err != nil {
			g.Fatal(err)
		}
		g.wantGone(removed)

		// the tenant of the configuration goes with a reload, under the old one's handlers
		g.c.WriteConfig(g.options(""), g.site)
		g.c.Reload()
		g.wantGone(other)

		// what was produced stays until it is erased
		g.write("acme", acmeFile)
		harness.Eventually(g, "acme is back", func() bool {
			return g.client("acme", "key-1").Call(http.MethodGet, "/chat", nil, new(map[string]any)) == http.StatusOK
		})
		for _, r := range []*running{gone, removed} {
			r.cl.T, r.cl.Key = g, "key-1"
			r.cl.WantLast(r.session, "half", "partial")
		}
	})
}

// A reload that keeps the tenants keeps their streams, and one that fails, too.
func TestTenantStaysOverReloads(t *testing.T) {
	onGoneSites(t, func(g *goneTest) {
		acme, globex := g.start(g.client("acme", "key-1")), g.start(g.client("globex", ""))
		g.c.WriteConfig(g.options("tenant globex"), g.site)
		g.c.Reload()
		// the new configuration has no globex, and does not start
		g.c.WriteConfig(g.options("tenant umbrella"), g.site+fmt.Sprintf("\n}\nhttp://192.0.2.1:%d {\nbind 192.0.2.1\n", harness.FreePort(g)))
		if out, err := harness.RunCaddy(g, g.c.Dir, "reload", "--config", "Caddyfile", "--force", "--address", strings.TrimPrefix(g.c.Admin, "http://")); err == nil {
			g.Fatalf("the reload did not fail: %s", out)
		}
		g.wantWhole(acme)
		g.wantWhole(globex)
	})
}

// Without a handler of ours behind it, tenant_resolve answers; the log has the code.
func TestTenantGoneBehindTenantResolve(t *testing.T) {
	t.Parallel()
	up := harness.NewUpstream(t)
	// Without the buffers Caddy's access log races with the transport that reads the
	// body, over the count of its bytes, when reverse_proxy aborts an answer.
	config := "log\ntenant_resolve\nreverse_proxy " + strings.TrimPrefix(up.Origin(), "http://") + " {\nrequest_buffers 1MiB\n}"
	c := harness.Start(t, harness.PlainTenants, config)
	cl := harness.NewClient(c, "acme", "ann")
	stream := cl.Start(cl.Request(http.MethodPost, "/any", harness.UserSays("x", harness.Streamed), "X-Trace-Id", "stream"))
	call := up.Call()
	call.Say("half")
	body := stream.Answer().Body
	defer body.Close()
	document := cl.Start(cl.Request(http.MethodPost, "/any", harness.UserSays("x"), "X-Trace-Id", "document"))
	second := up.Call()

	c.WriteConfig("chat {\ntenant globex\n}", config)
	c.Reload()
	harness.WantFailure(t, document.Answer(), http.StatusUnauthorized, "tenant_gone")
	call.WantGone()
	second.WantGone()
	for _, trace := range []string{"stream", "document"} {
		if entry := c.AccessLog(trace); entry["error_code"] != "tenant_gone" || entry["tenant"] != "acme" {
			t.Errorf("%s: the access log has %v", trace, entry)
		}
	}
	resp := cl.Do(http.MethodPost, "/any", "{}")
	harness.WantFailure(t, resp, http.StatusNotFound, "tenant_unknown")
}
