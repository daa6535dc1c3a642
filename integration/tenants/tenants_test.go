package tenants

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"maps"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/caddy-chat/caddy-chat/integration/harness"
)

// reports answers with the headers that the upstream received, as JSON.
func reports(c *harness.Call) {
	doc, err := json.Marshal(c.Header)
	if err != nil {
		panic(err)
	}
	harness.Document(http.StatusOK, string(doc), "X-Trace-Id", "the upstream's own")(c)
}

func sha256Of(key string) string {
	sum := sha256.Sum256([]byte(key))
	return "sha256:" + hex.EncodeToString(sum[:])
}

// tenantOptions has tenants without keys, acme and soylent, and with keys, globex
// and initech.
const tenantOptions = `
	chat {
		tenant acme {
			host acme.test *.acme.test
			metadata plan gold
		}
		tenant soylent {
			host api.acme.test
		}
		tenant globex {
			host globex.test
			api_key {$HASHED} {env.GLOBEX_KEY}
		}
		tenant initech {
			api_key {env.INITECH_KEY}
		}
	}
`

func tenantEnv(upstream string) []string {
	return []string{"UPSTREAM=" + upstream, "HASHED=" + sha256Of("hashed-key"), "GLOBEX_KEY=globex-key", "INITECH_KEY=" + sha256Of("initech-key")}
}

// tenantSites has a tenant_resolve of each kind, by path.
const tenantSites = `
	(report) {
		header X-Source "{chat.tenant.source}"
		reverse_proxy {$UPSTREAM}
	}
	http://:{$PORT} {
		handle /default/* {
			tenant_resolve
			import report
		}
		handle /header/* {
			tenant_resolve {
				from header
			}
			import report
		}
		handle /org/* {
			tenant_resolve {
				from header X-Org
				user_header X-Login
			}
			import report
		}
		handle /host/* {
			tenant_resolve {
				from host
			}
			import report
		}
		handle /key/* {
			tenant_resolve {
				from api_key
			}
			import report
		}
		handle /own-key/* {
			tenant_resolve {
				from api_key X-Key
			}
			import report
		}
		handle /key-host-header/* {
			tenant_resolve {
				from api_key
				from host
				from header
			}
			import report
		}
		handle /acme/* {
			tenant_resolve acme
			import report
		}
		handle /globex/* {
			tenant_resolve globex
			import report
		}
		handle /optional/* {
			tenant_resolve {
				optional
			}
			import report
		}
	}
`

// entry is a request and its tenant, or its error.
type entry struct {
	name   string
	path   string // /default by default
	host   string
	header []string

	tenant, source string // both "" for a request that passes without a tenant
	code           string
	left           map[string]string // headers that reach the next handler; "" for none
}

func (e entry) check(t testing.TB, c *harness.Caddy) {
	t.Helper()
	if e.path == "" {
		e.path = "/default"
	}
	if e.host == "" {
		e.host = "other.test"
	}
	resp := harness.Visit(c, "GET", e.path+"/x", e.host, e.header...)
	if e.code != "" {
		harness.WantFailure(t, resp, statusOf[e.code], e.code)
		if got := resp.Header.Get("WWW-Authenticate") == "Bearer"; got != (e.code == "invalid_api_key") {
			t.Errorf("WWW-Authenticate: Bearer %t with %s", got, e.code)
		}
		return
	}
	text := harness.ReadAll(t, resp)
	var got http.Header
	if err := json.Unmarshal([]byte(text), &got); err != nil {
		t.Fatalf("got %d %s", resp.StatusCode, text)
	}
	want := map[string]string{"X-Tenant-Id": e.tenant, "X-User-Id": "anonymous"}
	if e.tenant == "" {
		want["X-User-Id"] = ""
	}
	maps.Copy(want, e.left)
	for name, value := range want {
		if value == "" && len(got.Values(name)) > 0 {
			t.Errorf("the next handler got %s %q, want none", name, got.Values(name))
		}
		if value != "" && !slices.Equal(got.Values(name), []string{value}) {
			t.Errorf("the next handler got %s %q, want %q", name, got.Values(name), value)
		}
	}
	id := resp.Header.Values("X-Trace-Id")
	if len(id) != 1 || id[0] == "" || !slices.Equal(got.Values("X-Trace-Id"), id) {
		t.Errorf("X-Trace-Id %q, but %q for the next handler", id, got.Values("X-Trace-Id"))
	}
	if source := resp.Header.Get("X-Source"); source != e.source {
		t.Errorf("{chat.tenant.source} is %q, want %q", source, e.source)
	}
}

var statusOf = map[string]int{
	"tenant_required": 400, "tenant_unknown": 404, "invalid_api_key": 401, "tenant_mismatch": 403, "invalid_request": 400,
}

func TestTenants(t *testing.T) {
	// deferred, since {chat.*} is not set earlier
	sites := strings.Replace(tenantSites, "header X-Source", "header >X-Source", 1)
	c := harness.StartSites(t, tenantOptions, sites, tenantEnv(harness.NewUpstream(t, reports).Origin())...)
	bearer := func(key string) []string { return []string{"Authorization", "Bearer " + key} }
	const tid = "X-Tenant-Id"

	for _, e := range []entry{
		// one source
		{name: "header", header: []string{tid, "acme"}, tenant: "acme", source: "header"},
		{name: "host", host: "acme.test", tenant: "acme", source: "host"},
		{name: "host with port", host: "acme.test:8080", tenant: "acme", source: "host"},
		{name: "host in upper case", host: "ACME.Test", tenant: "acme", source: "host"},
		{name: "host with a trailing dot", host: "acme.test.", tenant: "acme", source: "host"},
		{name: "host by wildcard", host: "eu.acme.test:443", tenant: "acme", source: "host"},
		{name: "host by name before wildcard", host: "api.acme.test", tenant: "soylent", source: "host"},
		{name: "wildcard is one label", host: "a.eu.acme.test", code: "tenant_required"},
		{name: "wildcard is not the name itself", host: "xacme.test", code: "tenant_required"},
		{name: "key as bearer", header: bearer("globex-key"), tenant: "globex", source: "api_key", left: map[string]string{"Authorization": ""}},
		{name: "key as bearer in another case", header: []string{"Authorization", "bearer globex-key"}, tenant: "globex", source: "api_key", left: map[string]string{"Authorization": ""}},
		{name: "key as X-Api-Key", header: []string{"X-Api-Key", "globex-key"}, tenant: "globex", source: "api_key", left: map[string]string{"X-Api-Key": ""}},
		{name: "key by its digest", header: bearer("hashed-key"), tenant: "globex", source: "api_key", left: map[string]string{"Authorization": ""}},
		{name: "key by a digest from the environment", header: bearer("initech-key"), tenant: "initech", source: "api_key", left: map[string]string{"Authorization": ""}},
		{name: "key twice", header: append(bearer("globex-key"), "X-Api-Key", "hashed-key"), tenant: "globex", source: "api_key", left: map[string]string{"Authorization": "", "X-Api-Key": ""}},

		// no tenant, or an unknown one
		{name: "nothing", code: "tenant_required"},
		{name: "an empty header", header: []string{tid, ""}, code: "tenant_required"},
		{name: "unknown by header", header: []string{tid, "unknown"}, code: "tenant_unknown"},
		{name: "ids are exact", header: []string{tid, "Acme"}, code: "tenant_unknown"},
		{name: "no tenant is named default", header: []string{tid, "default"}, code: "tenant_unknown"},
		{name: "an unknown key", header: bearer("wrong"), code: "invalid_api_key"},
		{name: "an unknown key as X-Api-Key", header: []string{"X-Api-Key", "wrong"}, code: "invalid_api_key"},
		{name: "a digest is not a key", header: bearer(sha256Of("hashed-key")), code: "invalid_api_key"},
		{name: "another scheme is not a key", header: []string{"Authorization", "Basic Z2xvYmV4LWtleQ=="}, code: "tenant_required"},
		{name: "a key without a scheme", header: []string{"Authorization", "globex-key"}, code: "tenant_required"},

		// with keys
		{name: "header alone", header: []string{tid, "globex"}, code: "invalid_api_key"},
		{name: "host alone", host: "globex.test", code: "invalid_api_key"},
		{name: "header and host alone", host: "globex.test", header: []string{tid, "globex"}, code: "invalid_api_key"},
		{name: "header and a wrong key", header: append(bearer("wrong"), tid, "globex"), code: "invalid_api_key"},
		{name: "host and a wrong key", host: "globex.test", header: []string{"X-Api-Key", "wrong"}, code: "invalid_api_key"},
		{name: "header and key", header: append(bearer("globex-key"), tid, "globex"), tenant: "globex", source: "header", left: map[string]string{"Authorization": ""}},
		{name: "host and key", host: "globex.test", header: []string{"X-Api-Key", "hashed-key"}, tenant: "globex", source: "host", left: map[string]string{"X-Api-Key": ""}},
		{name: "header, host and key", host: "globex.test", header: append(bearer("globex-key"), tid, "globex"), tenant: "globex", source: "header", left: map[string]string{"Authorization": ""}},

		// credentials of the application
		{name: "an application's Authorization", header: append(bearer("sk-placeholder"), tid, "acme"), tenant: "acme", source: "header", left: map[string]string{"Authorization": "Bearer sk-placeholder"}},
		{name: "an application's Basic beside our key", header: []string{"Authorization", "Basic YTpi", "X-Api-Key", "globex-key"}, tenant: "globex", source: "api_key", left: map[string]string{"Authorization": "Basic YTpi", "X-Api-Key": ""}},
		{name: "an application's bearer beside our key", header: append(bearer("app-token"), "X-Api-Key", "globex-key"), tenant: "globex", source: "api_key", left: map[string]string{"Authorization": "Bearer app-token", "X-Api-Key": ""}},

		// mismatches
		{name: "header and host", host: "acme.test", header: []string{tid, "soylent"}, code: "tenant_mismatch"},
		{name: "header and key", header: append(bearer("globex-key"), tid, "acme"), code: "tenant_mismatch"},
		{name: "header and another's key", header: append(bearer("initech-key"), tid, "globex"), code: "tenant_mismatch"},
		{name: "host and key", host: "acme.test", header: bearer("globex-key"), code: "tenant_mismatch"},
		{name: "host and another's key", host: "globex.test", header: bearer("initech-key"), code: "tenant_mismatch"},
		{name: "key and key", header: append(bearer("globex-key"), "X-Api-Key", "initech-key"), code: "tenant_mismatch"},
		{name: "header and header", header: []string{tid, "acme", tid, "soylent"}, code: "tenant_mismatch"},
		{name: "unknown header and host", host: "acme.test", header: []string{tid, "unknown"}, code: "tenant_mismatch"},
		{name: "all sources agree", host: "acme.test", header: []string{tid, "acme", tid, "acme"}, tenant: "acme", source: "header"},

		// any from replaces the default sources
		{name: "from header ignores the host", path: "/header", host: "acme.test", code: "tenant_required"},
		{name: "from header ignores the key", path: "/header", header: bearer("globex-key"), code: "tenant_required"},
		{name: "from header ignores a conflicting host", path: "/header", host: "acme.test", header: []string{tid, "soylent"}, tenant: "soylent", source: "header"},
		{name: "from header requires the key", path: "/header", header: []string{tid, "globex"}, code: "invalid_api_key"},
		{name: "from header with the key", path: "/header", header: append(bearer("globex-key"), tid, "globex"), tenant: "globex", source: "header", left: map[string]string{"Authorization": ""}},
		{name: "from another header", path: "/org", header: []string{"X-Org", "acme"}, tenant: "acme", source: "header"},
		{name: "from another header replaces X-Tenant-Id", path: "/org", header: []string{"X-Org", "acme", tid, "soylent"}, tenant: "acme", source: "header"},
		{name: "from another header alone", path: "/org", header: []string{tid, "acme"}, code: "tenant_required"},
		{name: "from host ignores the header", path: "/host", header: []string{tid, "acme"}, code: "tenant_required"},
		{name: "from host replaces X-Tenant-Id", path: "/host", host: "acme.test", header: []string{tid, "soylent"}, tenant: "acme", source: "host"},
		{name: "from host requires the key", path: "/host", host: "globex.test", code: "invalid_api_key"},
		{name: "from api_key", path: "/key", header: bearer("globex-key"), tenant: "globex", source: "api_key", left: map[string]string{"Authorization": ""}},
		{name: "from api_key without one", path: "/key", host: "acme.test", header: []string{tid, "acme"}, code: "invalid_api_key"},
		{name: "from api_key with an unknown one", path: "/key", header: bearer("wrong"), code: "invalid_api_key"},
		{name: "from another key header", path: "/own-key", header: []string{"X-Key", "globex-key"}, tenant: "globex", source: "api_key", left: map[string]string{"X-Key": ""}},
		{name: "from another key header alone", path: "/own-key", header: bearer("globex-key"), code: "invalid_api_key"},
		{name: "order decides the source", path: "/key-host-header", host: "globex.test", header: append(bearer("globex-key"), tid, "globex"), tenant: "globex", source: "api_key", left: map[string]string{"Authorization": ""}},
		{name: "the next source in order", path: "/key-host-header", host: "acme.test", header: []string{tid, "acme"}, tenant: "acme", source: "host"},
		{name: "order does not excuse a mismatch", path: "/key-host-header", host: "acme.test", header: []string{tid, "soylent"}, code: "tenant_mismatch"},

		// tenant_resolve acme
		{name: "named", path: "/acme", tenant: "acme"},
		{name: "named, the request agrees", path: "/acme", host: "acme.test", header: []string{tid, "acme"}, tenant: "acme"},
		{name: "named, the header contradicts", path: "/acme", header: []string{tid, "soylent"}, code: "tenant_mismatch"},
		{name: "named, the host contradicts", path: "/acme", host: "api.acme.test", code: "tenant_mismatch"},
		{name: "named, the key contradicts", path: "/acme", header: bearer("globex-key"), code: "tenant_mismatch"},
		{name: "named, without the required key", path: "/globex", code: "invalid_api_key"},
		{name: "named, with a wrong key", path: "/globex", header: bearer("wrong"), code: "invalid_api_key"},
		{name: "named, with its key", path: "/globex", header: bearer("globex-key"), tenant: "globex", left: map[string]string{"Authorization": ""}},

		// optional
		{name: "optional without a tenant", path: "/optional"},
		{name: "optional without a tenant removes X-User-Id", path: "/optional", header: []string{"X-User-Id", "ann"}},
		{name: "optional without a tenant keeps the application's Authorization", path: "/optional", header: bearer("app-token"), left: map[string]string{"Authorization": "Bearer app-token"}},
		{name: "optional with a tenant", path: "/optional", header: []string{tid, "acme"}, tenant: "acme", source: "header"},
		{name: "optional with an unknown tenant", path: "/optional", header: []string{tid, "unknown"}, code: "tenant_unknown"},
		{name: "optional with a mismatch", path: "/optional", host: "acme.test", header: bearer("globex-key"), code: "tenant_mismatch"},
		{name: "optional does not excuse a missing key", path: "/optional", header: []string{tid, "globex"}, code: "invalid_api_key"},

		// users
		{name: "user", header: []string{tid, "acme", "X-User-Id", "ann"}, tenant: "acme", source: "header", left: map[string]string{"X-User-Id": "ann"}},
		{name: "user of 128 characters", header: []string{tid, "acme", "X-User-Id", strings.Repeat("ö", 128)}, tenant: "acme", source: "header", left: map[string]string{"X-User-Id": strings.Repeat("ö", 128)}},
		{name: "user of 129 characters", header: []string{tid, "acme", "X-User-Id", strings.Repeat("o", 129)}, code: "invalid_request"},
		{name: "user of invalid UTF-8", header: []string{tid, "acme", "X-User-Id", "\xff"}, code: "invalid_request"},
		{name: "user twice", header: []string{tid, "acme", "X-User-Id", "ann", "X-User-Id", "bob"}, code: "invalid_request"},
		{name: "user empty", header: []string{tid, "acme", "X-User-Id", ""}, tenant: "acme", source: "header"},
		{name: "user by another header", path: "/org", header: []string{"X-Org", "acme", "X-Login", "ann", "X-User-Id", "bob"}, tenant: "acme", source: "header", left: map[string]string{"X-User-Id": "ann"}},
		{name: "user by another header alone", path: "/org", header: []string{"X-Org", "acme", "X-User-Id", "bob"}, tenant: "acme", source: "header"},
	} {
		t.Run(strings.TrimPrefix(e.path+"/", "/")+e.name, func(t *testing.T) { e.check(t, c) })
	}
}

// TestTenantsByDefault checks that a site without tenant options has the tenant
// default.
func TestTenantsByDefault(t *testing.T) {
	sites := strings.Replace(tenantSites, "header X-Source", "header >X-Source", 1)
	for _, named := range []string{"acme", "globex"} {
		sites = strings.Replace(sites, "tenant_resolve "+named, "tenant_resolve default", 1)
	}
	c := harness.StartSites(t, "", sites, tenantEnv(harness.NewUpstream(t, reports).Origin())...)
	for _, e := range []entry{
		{name: "nothing", tenant: "default"},
		{name: "any host", host: "acme.test", tenant: "default"},
		{name: "its name", header: []string{"X-Tenant-Id", "default"}, tenant: "default", source: "header"},
		{name: "another's name", header: []string{"X-Tenant-Id", "acme"}, code: "tenant_unknown"},
		{name: "an SDK's placeholder", header: []string{"Authorization", "Bearer sk-none"}, tenant: "default", left: map[string]string{"Authorization": "Bearer sk-none"}},
		{name: "named", path: "/acme", tenant: "default"},
	} {
		t.Run(e.name, func(t *testing.T) { e.check(t, c) })
	}
}
