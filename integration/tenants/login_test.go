package tenants

import (
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/caddy-chat/caddy-chat/integration/harness"
)

func TestLogin(t *testing.T) {
	c := startLogin(t, "http://127.0.0.1:1/")
	s := withSecret(t, jwtSecret)
	const tid = "X-Tenant-Id"
	good := s.token(nil)
	logged := s.token(map[string]any{"jti": "in a header that the access log shows"})
	none := "eyJhbGciOiJub25lIn0." + strings.Split(good, ".")[1] + "."
	ann := map[string]string{"X-User-Id": "ann", "Authorization": ""}
	with := func(claims map[string]any, more ...string) []string { return append(bearer(s.token(claims)), more...) }
	user := func(name string) map[string]string {
		return map[string]string{"X-User-Id": name, "Authorization": ""}
	}
	long := strings.Repeat("ö", 128)

	for _, e := range []entry{
		// the token names and authenticates
		{name: "token", path: "/jwt", header: bearer(good), tenant: "acme", source: "jwt", left: ann},
		{name: "another scheme in upper case", path: "/jwt", header: []string{"Authorization", "BEARER " + good}, tenant: "acme", source: "jwt", left: ann},
		{name: "a tenant with keys is entered by token", path: "/jwt", header: with(map[string]any{"tenant_id": "globex"}), tenant: "globex", source: "jwt", left: ann},
		{name: "none sent", path: "/jwt", code: "invalid_api_key"},
		{name: "a header alone is no login", path: "/jwt", header: []string{tid, "acme"}, code: "invalid_api_key"},
		{name: "the header does not count", path: "/jwt", header: append(bearer(good), tid, "soylent"), tenant: "acme", source: "jwt", left: ann},
		{name: "unknown tenant", path: "/jwt", header: with(map[string]any{"tenant_id": "unknown"}), code: "tenant_unknown"},
		{name: "no id of a tenant", path: "/jwt", header: with(map[string]any{"tenant_id": "../acme"}), code: "tenant_unknown"},
		{name: "ids are exact", path: "/jwt", header: with(map[string]any{"tenant_id": "Acme"}), code: "tenant_unknown"},
		{name: "no tenant", path: "/jwt", header: with(map[string]any{"tenant_id": nil}), code: "invalid_api_key"},
		{name: "an empty tenant", path: "/jwt", header: with(map[string]any{"tenant_id": ""}), code: "invalid_api_key"},
		{name: "tenants", path: "/jwt", header: with(map[string]any{"tenant_id": []string{"acme"}}), code: "invalid_api_key"},
		{name: "a key is no token", path: "/jwt", header: bearer("wrong"), code: "invalid_api_key"},

		// tokens that do not count
		{name: "expired", path: "/jwt", header: with(map[string]any{"exp": time.Now().Add(-time.Minute).Unix()}), code: "invalid_api_key"},
		{name: "without expiry", path: "/jwt", header: with(map[string]any{"exp": nil}), code: "invalid_api_key"},
		{name: "expiry as text", path: "/jwt", header: with(map[string]any{"exp": "9999999999"}), code: "invalid_api_key"},
		{name: "expiry far away", path: "/jwt", header: with(map[string]any{"exp": 1e300}), tenant: "acme", source: "jwt", left: ann},
		{name: "not valid yet", path: "/jwt", header: with(map[string]any{"nbf": time.Now().Add(time.Hour).Unix()}), code: "invalid_api_key"},
		{name: "another audience", path: "/jwt", header: with(map[string]any{"aud": "mail"}), code: "invalid_api_key"},
		{name: "one of its audiences", path: "/jwt", header: with(map[string]any{"aud": []string{"mail", "spare"}}), tenant: "acme", source: "jwt", left: ann},
		{name: "another issuer", path: "/jwt", header: with(map[string]any{"iss": "https://evil.test/"}), code: "invalid_api_key"},
		{name: "one of the issuers", path: "/jwt", header: with(map[string]any{"iss": "https://other.test/"}), tenant: "acme", source: "jwt", left: ann},
		{name: "another secret", path: "/jwt", header: bearer(withSecret(t, strings.Repeat("x", 32)).token(nil)), code: "invalid_api_key"},
		{name: "a key pair's token", path: "/jwt", header: bearer(withKey(t, newKey(t), "").token(nil)), code: "invalid_api_key"},
		{name: "none", path: "/jwt", header: bearer(none), code: "invalid_api_key"},
		{name: "cut off", path: "/jwt", header: bearer(good[:len(good)-4]), code: "invalid_api_key"},
		{name: "dots", path: "/jwt", header: bearer(".."), code: "invalid_api_key"},
		{name: "garbage", path: "/jwt", header: bearer("a.b.c"), code: "invalid_api_key"},
		{name: "a claim twice", path: "/jwt", header: bearer(s.sign([]byte(`{"exp":9e9,"iss":"https://issuer.test/","aud":"chat","sub":"ann","tenant_id":"acme","tenant_id":"globex"}`))), code: "invalid_api_key"},
		{name: "huge", path: "/jwt", header: with(map[string]any{"x": strings.Repeat("x", 12_500)}), code: "invalid_api_key"},
		{name: "another scheme", path: "/jwt", header: []string{"Authorization", "Basic " + good}, code: "invalid_api_key"},
		{name: "in the header of keys", path: "/jwt", header: []string{"X-Api-Key", logged}, code: "invalid_api_key"},

		// several credentials
		{name: "a token twice", path: "/jwt", header: append(bearer(good), bearer(good)...), tenant: "acme", source: "jwt", left: ann},
		{name: "two tokens", path: "/jwt", header: append(bearer(good), with(map[string]any{"sub": "bob"})...), code: "invalid_request"},
		{name: "a token and a broken one", path: "/jwt", header: append(bearer(good), bearer(none)...), code: "invalid_request"},
		{name: "a token behind another scheme", path: "/jwt", header: append([]string{"Authorization", "Basic YTpi"}, bearer(good)...), tenant: "acme", source: "jwt", left: ann},
		{name: "a token and a key", path: "/all", header: append(with(map[string]any{"tenant_id": "globex"}), "X-Api-Key", "globex-key"), tenant: "globex", source: "api_key", left: map[string]string{"X-User-Id": "ann", "Authorization": "", "X-Api-Key": ""}},
		{name: "a token and another's key", path: "/all", header: append(bearer(good), "X-Api-Key", "globex-key"), code: "tenant_mismatch"},
		{name: "a key with dots beside a token", path: "/own-header", header: append(bearer("globex.dotted.key"), "X-Token", s.token(map[string]any{"tenant_id": "globex"})), tenant: "globex", source: "jwt", left: map[string]string{"X-User-Id": "ann", "Authorization": "", "X-Token": ""}},
		{name: "a key with dots", path: "/all", header: bearer("globex.dotted.key"), tenant: "globex", source: "api_key", left: map[string]string{"Authorization": ""}},
		{name: "a key alone", path: "/all", header: append(bearer("globex-key"), "X-User-Id", "bob"), tenant: "globex", source: "api_key", left: user("bob")},
		{name: "a key beside an application's token", path: "/all", header: append(bearer("a.b.c"), "X-Api-Key", "globex-key"), tenant: "globex", source: "api_key", left: map[string]string{"Authorization": "Bearer a.b.c", "X-Api-Key": ""}},

		// header and host beside the token
		{name: "header and token", path: "/all", header: append(bearer(good), tid, "acme"), tenant: "acme", source: "header", left: ann},
		{name: "host and token", path: "/all", host: "acme.test", header: bearer(good), tenant: "acme", source: "host", left: ann},
		{name: "token first", path: "/jwt-first", header: append(bearer(good), tid, "acme"), tenant: "acme", source: "jwt", left: ann},
		{name: "header against token", path: "/all", header: append(bearer(good), tid, "soylent"), code: "tenant_mismatch"},
		{name: "token against header", path: "/jwt-first", header: append(bearer(good), tid, "soylent"), code: "tenant_mismatch"},
		{name: "host against token", path: "/all", host: "api.acme.test", header: bearer(good), code: "tenant_mismatch"},
		{name: "header without token", path: "/all", header: []string{tid, "acme"}, code: "invalid_api_key"},
		{name: "host without token", path: "/all", host: "acme.test", code: "invalid_api_key"},
		{name: "header with a wrong token", path: "/all", header: append(bearer(none), tid, "acme"), code: "invalid_api_key"},
		{name: "header with an SDK's placeholder", path: "/all", header: append(bearer("sk-placeholder"), tid, "acme"), code: "invalid_api_key"},
		{name: "header and a token for no tenant", path: "/all", header: with(map[string]any{"tenant_id": nil}, tid, "acme"), code: "invalid_api_key"},
		{name: "host and a token for no tenant", path: "/all", host: "acme.test", header: with(map[string]any{"tenant_id": nil}), code: "invalid_api_key"},
		{name: "nothing at all", path: "/all", code: "tenant_required"},
		{name: "an opaque token", path: "/all", header: bearer("opaque"), code: "invalid_api_key"},
		{name: "an opaque token where keys are no source", path: "/optional", header: append(bearer("opaque"), tid, "acme"), code: "invalid_api_key"},
		{name: "an encrypted token", path: "/jwt-first", header: bearer("a.b.c.d.e"), code: "invalid_api_key"},
		{name: "an opaque one where keys are no source", path: "/jwt-first", header: bearer("opaque"), code: "invalid_api_key"},
		{name: "a wrong token alone", path: "/all", header: bearer(none), code: "invalid_api_key"},
		{name: "unknown by header", path: "/all", header: []string{tid, "unknown"}, code: "tenant_unknown"},

		// the configuration names the tenant
		{name: "named", path: "/acme", header: bearer(good), tenant: "acme", left: ann},
		{name: "named, by a token for no tenant", path: "/acme", header: with(map[string]any{"tenant_id": nil}), tenant: "acme", left: ann},
		{name: "named, by a token for another", path: "/acme", header: with(map[string]any{"tenant_id": "soylent"}), code: "tenant_mismatch"},
		{name: "named, and none sent", path: "/acme", code: "invalid_api_key"},
		{name: "named, and a wrong one sent", path: "/acme", header: bearer(none), code: "invalid_api_key"},

		// optional
		{name: "optional without", path: "/optional"},
		{name: "optional with", path: "/optional", header: bearer(good), tenant: "acme", source: "jwt", left: ann},
		{name: "optional with an application's token", path: "/optional", header: append(bearer(none), "X-User-Id", "bob"), left: map[string]string{"Authorization": "Bearer " + none}},
		{name: "optional does not excuse a missing token", path: "/optional", header: []string{tid, "acme"}, code: "invalid_api_key"},

		// another header
		{name: "own header", path: "/own-header", header: []string{"X-Token", logged}, tenant: "acme", source: "jwt", left: map[string]string{"X-User-Id": "ann", "X-Token": ""}},
		{name: "own header beside the application's", path: "/own-header", header: []string{"X-Token", logged, "Authorization", "Basic YTpi"}, tenant: "acme", source: "jwt", left: map[string]string{"X-User-Id": "ann", "X-Token": "", "Authorization": "Basic YTpi"}},
		{name: "own header or the usual one", path: "/own-header", header: bearer(good), tenant: "acme", source: "jwt", left: ann},
		{name: "own header beside an opaque token", path: "/own-header", header: append(bearer("opaque"), "X-Token", logged), tenant: "acme", source: "jwt", left: map[string]string{"X-User-Id": "ann", "X-Token": "", "Authorization": "Bearer opaque"}},
		{name: "two tokens in two headers", path: "/own-header", header: with(map[string]any{"sub": "bob"}, "X-Token", logged), code: "invalid_request"},

		// behind another tenant_resolve
		{name: "nested without token", path: "/nested", header: []string{tid, "acme"}, code: "invalid_api_key"},
		{name: "nested with another's token", path: "/nested", header: with(map[string]any{"tenant_id": "soylent"}, tid, "acme"), code: "tenant_mismatch"},
		{name: "nested with a token for no tenant", path: "/nested", header: with(map[string]any{"tenant_id": nil}, tid, "acme"), code: "invalid_api_key"},
		{name: "nested with token", path: "/nested", header: append(bearer(good), tid, "acme", "X-User-Id", "bob"), tenant: "acme", source: "header", left: ann},
		{name: "nested with key", path: "/nested", header: append(bearer("globex-key"), "X-User-Id", "bob"), tenant: "globex", source: "api_key", left: user("bob")},

		// the user is the token's
		{name: "X-User-Id", path: "/jwt", header: append(bearer(good), "X-User-Id", "bob"), tenant: "acme", source: "jwt", left: ann},
		{name: "X-User-Id twice", path: "/jwt", header: append(bearer(good), "X-User-Id", "bob", "X-User-Id", "eve"), tenant: "acme", source: "jwt", left: ann},
		{name: "X-User-Id beside X-Tenant-Id", path: "/all", header: append(bearer(good), tid, "acme", "X-User-Id", "bob"), tenant: "acme", source: "header", left: ann},
		{name: "the header of users", path: "/jwt-first", header: append(bearer(good), "X-Login", "bob"), tenant: "acme", source: "jwt", left: ann},
		{name: "a long user", path: "/jwt", header: with(map[string]any{"sub": long}), tenant: "acme", source: "jwt", left: user(long)},
		{name: "a user too long", path: "/jwt", header: with(map[string]any{"sub": long + "o"}), code: "invalid_api_key"},
		{name: "a user of two lines", path: "/jwt", header: with(map[string]any{"sub": "ann\r\nX-Tenant-Id: globex"}), code: "invalid_api_key"},
		{name: "no user", path: "/jwt", header: with(map[string]any{"sub": nil}, "X-User-Id", "bob"), code: "invalid_api_key"},
		{name: "an empty user", path: "/jwt", header: with(map[string]any{"sub": ""}), code: "invalid_api_key"},
		{name: "a number", path: "/jwt", header: with(map[string]any{"sub": 7}), code: "invalid_api_key"},
		{name: "anonymous", path: "/jwt", header: with(map[string]any{"sub": "anonymous"}), code: "invalid_api_key"},

		// other claims
		{name: "claims by name and path", path: "/claims", header: with(map[string]any{"https://example.com/org": "acme", "profile": map[string]any{"name": "eve"}}), tenant: "acme", source: "jwt", left: user("eve")},
		{name: "the default claims do not count", path: "/claims", header: bearer(good), code: "invalid_api_key"},
		{name: "a larger leeway", path: "/claims", header: with(map[string]any{"https://example.com/org": "acme", "profile": map[string]any{"name": "eve"}, "exp": time.Now().Add(-5 * time.Minute).Unix()}), tenant: "acme", source: "jwt", left: user("eve")},
	} {
		t.Run(e.name, func(t *testing.T) { e.check(t, c) })
	}
	noSecrets(t, c, good, none)
}

// A client with a valid signature learns what to mend, others do not.
func TestLoginRefusals(t *testing.T) {
	c := startLogin(t, "http://127.0.0.1:1/")
	s := withSecret(t, jwtSecret)
	const want = ": send a valid token as Authorization: Bearer TOKEN"
	for name, tt := range map[string]struct{ path, token, says string }{
		"none":      {"/jwt", "", "A login is required" + want},
		"expired":   {"/jwt", s.token(map[string]any{"exp": 1}), "The token has expired" + want},
		"foreign":   {"/jwt", withSecret(t, strings.Repeat("x", 32)).token(map[string]any{"exp": 1}), "The token is not valid" + want},
		"no tenant": {"/jwt", s.token(map[string]any{"tenant_id": nil}), "The token names no tenant (tenant_id)" + want},
		"by header": {"/own-header", "", "A login is required" + want},
	} {
		var header []string
		if tt.token != "" {
			header = bearer(tt.token)
		}
		f := harness.WantFailure(t, harness.Visit(c, http.MethodGet, tt.path+"/x", "other.test", header...), http.StatusUnauthorized, "invalid_api_key")
		if f.Error.Message != tt.says {
			t.Errorf("%s: %q, want %q", name, f.Error.Message, tt.says)
		}
	}
}

// Without tenants, a login at the issuer is enough.
func TestLoginWithoutTenants(t *testing.T) {
	const site = `
		http://:{$PORT} {
			tenant_resolve {
				from jwt {
					secret {env.JWT_SECRET}
				}
			}
			header >X-Source "{chat.tenant.source}"
			reverse_proxy {$UPSTREAM}
		}
	`
	up := harness.NewUpstream(t, reports)
	c := harness.StartSites(t, "", site, "UPSTREAM="+up.Origin(), "JWT_SECRET="+jwtSecret)
	s := withSecret(t, jwtSecret)
	for _, e := range []entry{
		{name: "a token for no tenant", header: bearer(s.token(map[string]any{"tenant_id": nil})), tenant: "default", source: "jwt", left: map[string]string{"X-User-Id": "ann"}},
		{name: "a token for default", header: bearer(s.token(map[string]any{"tenant_id": "default"})), tenant: "default", source: "jwt", left: map[string]string{"X-User-Id": "ann"}},
		{name: "a token for another", header: bearer(s.token(nil)), code: "tenant_unknown"},
		{name: "none", code: "invalid_api_key"},
		{name: "a wrong one", header: bearer("a.b.c"), code: "invalid_api_key"},
	} {
		t.Run(e.name, func(t *testing.T) { e.check(t, c) })
	}
}

// The user of a token cannot be changed, and sees no one else's sessions.
func TestLoginOwnsSessions(t *testing.T) {
	chain := strings.Replace(harness.EchoChain, "tenant_resolve", `tenant_resolve {
		from header
		from jwt {
			secret {env.JWT_SECRET}
		}
	}`, 1)
	c := harness.Start(t, harness.PlainTenants, chain, "JWT_SECRET="+jwtSecret)
	s := withSecret(t, jwtSecret)
	ann, bob := harness.NewClient(c, "", ""), harness.NewClient(c, "", "")
	ann.Key, bob.Key = s.token(nil), s.token(map[string]any{"sub": "bob"})
	session := harness.NewSession()
	ann.Say(session, "for ann alone")

	if got := harness.SessionIDs(ann.List("")); !slices.Equal(got, []string{session}) {
		t.Errorf("ann's sessions are %q", got)
	}
	for _, header := range [][]string{nil, {"X-User-Id", "ann"}, {"X-User-Id", "ann", "X-Tenant-Id", "acme"}} {
		resp := bob.Do(http.MethodGet, "/chat/"+session+"/history?userId=ann", nil, header...)
		harness.WantFailure(t, resp, http.StatusNotFound, "session_not_found")
	}
	body := map[string]any{"sessionId": session, "message": "I am ann", "stream": false, "userId": "ann"}
	if resp := bob.Do(http.MethodPost, "/chat", body, "X-User-Id", "ann"); resp.StatusCode != http.StatusOK {
		t.Fatalf("got %d %s", resp.StatusCode, harness.ReadAll(t, resp))
	}
	if n := len(ann.History(session)); n != 2 {
		t.Errorf("ann's session has %d messages, want 2", n)
	}
	if n := len(bob.History(session)); n != 2 {
		t.Errorf("bob's session of that id has %d messages, want 2", n)
	}
	harness.WantFailure(t, harness.NewClient(c, "acme", "ann").Do(http.MethodGet, "/chat", nil), http.StatusUnauthorized, "invalid_api_key")
	f := harness.WantFailure(t, harness.NewClient(c, "acme", "ann").Do(http.MethodGet, "/v1/models", nil), http.StatusUnauthorized, "invalid_api_key")
	if !strings.Contains(f.Error.Message, "login") {
		t.Errorf("under /v1: %q", f.Error.Message)
	}
	noSecrets(t, c, ann.Key, bob.Key)
}
