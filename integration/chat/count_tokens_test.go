package chat

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/tidwall/gjson"

	"github.com/caddy-chat/caddy-chat/integration/harness"
	"github.com/caddy-chat/caddy-chat/modules/provider"
)

// TestCountTokens counts the tokens of requests with a session: the history counts, as far
// as POST /v1/messages would send it, and nothing is stored.
func TestCountTokens(t *testing.T) {
	const counting = `{"input_tokens":2000}`
	script := func(c *harness.Call) {
		if strings.HasSuffix(c.Path, "/count_tokens") {
			harness.Document(http.StatusOK, counting)(c)
			return
		}
		if strings.HasSuffix(c.Path, "/messages") {
			harness.Document(http.StatusOK, `{"id":"m","type":"message","role":"assistant","model":"claude","content":[{"type":"text","text":"`+strings.Repeat("so it is ", 40)+`"}],"stop_reason":"end_turn","usage":{"input_tokens":9,"output_tokens":90}}`)(c)
			return
		}
		harness.Says(9, 90, strings.Repeat("so it is ", 40))(c)
	}
	claude := func(up *harness.Upstream) string {
		return fmt.Sprintf("tenant_resolve\nchat_session {\nsystem Terse.\n}\nai_gateway {\nprovider claude anthropic {\nbase_url %s\n}\nmodel fast {\nto claude/claude-up\n}\n}\n", up.Origin())
	}
	for name, tc := range map[string]struct {
		chain     func(*harness.Upstream) string
		estimated string
	}{
		"by the provider": {claude, ""},
		"by estimate":     {func(up *harness.Upstream) string { return up.Sessions("system Terse.") }, "true"},
		"by a server":     {func(up *harness.Upstream) string { return up.Proxied("system Terse.") }, "true"},
	} {
		t.Run(name, func(t *testing.T) {
			up := harness.NewUpstream(t, script)
			c := harness.Start(t, harness.PlainTenants, tc.chain(up))
			cl := harness.NewClient(c, "acme", "ann")
			session := harness.NewSession()
			ask := func(cl *harness.Client, path, body string, header ...string) (gjson.Result, http.Header) {
				t.Helper()
				resp := cl.Do(http.MethodPost, path, `{"model":"fast",`+body+`}`, header...)
				got := gjson.Parse(harness.ReadAll(t, resp))
				if resp.StatusCode != http.StatusOK {
					t.Fatalf("%s answers %d %s", path, resp.StatusCode, got.Raw)
				}
				return got, resp.Header
			}
			count := func(cl *harness.Client, body string, header ...string) int64 {
				t.Helper()
				got, h := ask(cl, "/v1/messages/count_tokens", body, header...)
				if len(header) > 0 && h.Get("X-Ai-Estimated") != tc.estimated {
					t.Errorf("X-Ai-Estimated is %q", h.Get("X-Ai-Estimated"))
				}
				if dropped := h.Values("X-Ai-Dropped"); len(dropped) > 0 {
					t.Errorf("X-Ai-Dropped is %q", dropped)
				}
				return got.Get("input_tokens").Int()
			}
			const one, more = `"messages":[{"role":"user","content":"What is it?"}]`, `"messages":[{"role":"user","content":"And now?"}]`
			ask(cl, "/v1/messages", `"max_tokens":100,`+one, "X-Session-Id", session)
			before := up.Count()
			alone, with := count(cl, more), count(cl, more, "X-Session-Id", session)
			stranger := count(harness.NewClient(c, "acme", "bob"), more, "X-Session-Id", session)
			whole := count(cl, `"messages":[{"role":"user","content":"What is it?"},{"role":"assistant","content":"`+strings.Repeat("so it is ", 40)+`"},{"role":"user","content":"And now?"}]`, "X-Session-Id", session)
			if n := len(cl.History(session)); n != 2 {
				t.Errorf("the session has %d messages", n)
			}
			if name == "by the provider" {
				asked := slices.Clone(up.Requests()[before:])
				ask(cl, "/v1/messages", `"max_tokens":100,`+more, "X-Session-Id", session)
				sent := up.Last()
				for i, same := range []bool{false, true, false, true} {
					a := asked[i]
					if a.Path != "/v1/messages/count_tokens" || a.Get("max_tokens").Exists() || a.Get("model").Str != "claude-up" {
						t.Errorf("%s got %s", a.Path, a.Body)
					}
					if said(a) == said(sent) != same || same && a.Get("system").Raw != sent.Get("system").Raw {
						t.Errorf("counted was %s, sent %s", a.Body, sent.Body)
					}
				}
				return
			}
			said := with - stranger // the history
			if name == "by a server" {
				whole += said // its count is the same for all that is sent
			}
			if said < 80 || said > 130 || stranger < alone || stranger > alone+10 || whole < with-10 || whole > with+10 {
				t.Errorf("alone %d, with the history %d, for another user %d, the whole conversation %d", alone, with, stranger, whole)
			}
		})
	}
}

// said returns what the messages of a request say.
func said(r harness.Asked) string {
	var b strings.Builder
	for _, m := range r.Get("messages").Array() {
		fmt.Fprintln(&b, m.Get("role").Str, provider.TextOf(m.Get("content")))
	}
	return b.String()
}

// TestCountTokensOfNoSession names a session that cannot be one.
func TestCountTokensOfNoSession(t *testing.T) {
	up := harness.NewUpstream(t, harness.Echoes)
	c := harness.Start(t, harness.PlainTenants, up.Sessions(""))
	a := asks{t, harness.NewClient(c, "acme", "ann")}
	got := a.call(http.MethodPost, "/v1/messages/count_tokens", `{"model":"fast","messages":[{"role":"user","content":"hi"}]}`, "X-Session-Id", "x")
	if got.Get("error.type").Str != "invalid_request_error" || !strings.Contains(got.Get("error.message").Str, "X-Session-Id") {
		t.Errorf("it is %s", got.Raw)
	}
}
