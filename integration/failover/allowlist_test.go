package failover

import (
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/tidwall/gjson"

	"github.com/caddy-chat/caddy-chat/integration/harness"
)

// allowTenants are one tenant with an allow list and one without.
const allowTenants = `
	chat {
		tenant acme {
			model fast
			models fast smart
		}
		tenant globex {
		}
	}
`

// newAllowSite starts a gateway whose model hidden is two/up-two, which is also
// the fallback of other models.
func newAllowSite(t testing.TB, policy string) *faultSite {
	t.Helper()
	targets := harness.NewTargets(t, "one", "two", "three")
	return newFaultSite(t, harness.TargetConfig{
		Targets: targets,
		Tenants: allowTenants,
		Fast:    policy + "\nto one/up-one\nto two/up-two\n",
		Gateway: `
		model smart {
			to three/up-three
		}
		model hidden {
			to two/up-two
		}
		passthrough
		retries 0
		circuit_breaker 100000 1s
`,
	})
}

// TestAllowList tries to reach a model that is not on the tenant's list. Its
// target must not see a single call.
func TestAllowList(t *testing.T) {
	t.Parallel()
	s := newAllowSite(t, "")
	one, two := s.Targets[0], s.Targets[1]
	acme := harness.NewClient(s.C, "acme", "ann")

	const rest = `"input":"hi","messages":[{"role":"user","content":"hi"}]`
	body := func(model string) string { return `{"model":` + model + `,` + rest + `}` }
	for name, tc := range map[string]struct {
		body string
		code string // the codes that are acceptable, space-separated
	}{
		"the name itself":               {body(`"hidden"`), "model_not_allowed"},
		"its target":                    {body(`"two/up-two"`), "model_not_allowed"},
		"its target's name":             {body(`"up-two"`), "model_not_allowed"},
		"another model of its provider": {body(`"two/up-other"`), "model_not_allowed"},
		"the target of an allowed one":  {body(`"one/up-one"`), "model_not_allowed"},
		"upper case":                    {body(`"HIDDEN"`), "model_not_allowed"},
		"title case":                    {body(`"Hidden"`), "model_not_allowed"},
		"upper case of the provider":    {body(`"TWO/up-two"`), "model_not_allowed"},
		"allowed in another case":       {body(`"Fast"`), "model_not_allowed"},
		"a space before it":             {body(`" hidden"`), "model_not_allowed"},
		"a space after it":              {body(`"hidden "`), "model_not_allowed"},
		"a NUL after an allowed one":    {body(`"fast\u0000hidden"`), "invalid_request"},
		"a zero width space":            {body(`"hid\u200bden"`), "invalid_request"},
		"a Cyrillic letter":             {body(`"h\u0456dden"`), "model_not_allowed"},
		"full width letters":            {body(`"\uff48\uff49\uff44\uff44\uff45\uff4e"`), "model_not_allowed"},
		"a dotless i":                   {body(`"h\u0131dden"`), "model_not_allowed"},
		"a long s in an allowed one":    {body(`"\u017fmart"`), "model_not_allowed"},
		"escaped letters":               {body(`"\u0068idden"`), "model_not_allowed"},
		"a path":                        {body(`"fast/../hidden"`), "model_not_allowed"},
		"a double slash":                {body(`"two//up-two"`), "model_not_allowed"},
		"a slash first":                 {body(`"/two/up-two"`), "model_not_allowed"},
		"an escaped slash":              {body(`"two%2Fup-two"`), "model_not_allowed"},
		"several":                       {body(`"fast,hidden"`), "model_not_allowed"},
		"a list":                        {body(`["fast","hidden"]`), "invalid_request"},
		"an object":                     {body(`{"id":"hidden"}`), "invalid_request"},
		"an empty name":                 {body(`""`), "invalid_request"},
		"a number":                      {body(`1`), "invalid_request"},
		"twice":                         {`{"model":"fast","model":"hidden",` + rest + `}`, "invalid_json"},
		"twice, the other way round":    {`{"model":"hidden","model":"fast",` + rest + `}`, "invalid_json"},
		"twice, once escaped":           {`{"model":"fast","mod\u0065l":"hidden",` + rest + `}`, "invalid_json"},
		"twice, once at the end":        {`{"model":"fast",` + rest + `,"model":"hidden"}`, "invalid_json"},
		"a second document":             {body(`"fast"`) + body(`"hidden"`), "invalid_json"},
		"a byte order mark":             {"\ufeff" + body(`"hidden"`), "model_not_allowed invalid_json"},
		"invalid UTF-8":                 {body("\"hidden\xff\""), "model_not_allowed invalid_json"},
	} {
		t.Run(name, func(t *testing.T) {
			for _, path := range []string{harness.CompletionsPath, "/v1/embeddings"} {
				calls := s.counts()
				resp := acme.Do(http.MethodPost, path, tc.body)
				got := harness.ReadCompletion(t, resp)
				if got.Status < 400 || !strings.Contains(tc.code, got.Code) || got.Code == "" {
					t.Errorf("%s: %d %s (%s), want %s", path, got.Status, got.Code, got.Error, tc.code)
				}
				if now := s.counts(); fmt.Sprint(now) != fmt.Sprint(calls) {
					t.Errorf("%s: the targets saw %v calls before, now %v", path, calls, now)
				}
			}
			if model := gjson.Get(tc.body, "model"); model.Type == gjson.String && gjson.Valid(tc.body) && tc.code == "model_not_allowed" {
				resp := acme.Do(http.MethodPost, "/chat", harness.ChatRequest{SessionID: harness.NewSession(), Message: "hi", ModelID: model.Str})
				harness.WantFailure(t, resp, http.StatusForbidden, "model_not_allowed")
			}
		})
	}
	// an allowed request reaches only the allowed model's target
	for name, do := range map[string]func() harness.Completion{
		"members that differ in case are ignored": func() harness.Completion {
			return acme.Complete(`{"model":"fast","Model":"up-two","MODEL":"hidden",` + rest + `}`)
		},
		"nested members are ignored": func() harness.Completion {
			return acme.Complete(`{"model":"fast","metadata":{"model":"hidden"},` + rest + `}`)
		},
		"the query is ignored": func() harness.Completion {
			return harness.ReadCompletion(t, acme.Do(http.MethodPost, harness.CompletionsPath+"?model=hidden&modelId=hidden", body(`"fast"`)))
		},
		"headers are ignored": func() harness.Completion {
			return acme.Complete(body(`"fast"`), "X-Model-Id", "hidden", "X-Model", "hidden", "X-Ai-Provider", "two", "X-Ai-Model", "hidden")
		},
	} {
		t.Run(name, func(t *testing.T) {
			got := do()
			got.WantText(t, "Hello")
			last := one.Last().Body
			if gjson.Get(last, "model").Str != "up-one" || strings.Contains(last, "up-two") {
				t.Errorf("the upstream got %s", last)
			}
		})
	}
	t.Run("other headers do not change the tenant", func(t *testing.T) {
		got := acme.Complete(harness.NewQuestion("hidden"), "X-Tenant", "globex", "Tenant-Id", "globex")
		got.WantRefused(t, http.StatusForbidden, "model_not_allowed")
	})
	if n := two.Count(); n != 0 {
		t.Errorf("the hidden target saw %d calls: %+v", n, two.Requests())
	}
	t.Run("neither /v1/models nor /v1/health names it", func(t *testing.T) {
		for _, path := range []string{"/v1/models", "/v1/health"} {
			text := harness.ReadAll(t, acme.Do(http.MethodGet, path, nil))
			if strings.Contains(text, "hidden") || strings.Contains(text, "up-two") {
				t.Errorf("%s reveals %s", path, text)
			}
		}
	})
}

// TestAllowListOfRouters asks a provider that is a router itself for other models.
func TestAllowListOfRouters(t *testing.T) {
	t.Parallel()
	up := harness.NewUpstream(t, harness.AnswersAll("Hello"))
	c := harness.Start(t, strings.Replace(allowTenants, "fast smart", "fast native", 1), harness.GatewaySite(up, "provider native openai {\nbase_url "+up.URL+"\nresponses on\n}\nmodel native {\nto native/up\n}"))
	acme, globex := harness.NewClient(c, "acme", "ann"), harness.NewClient(c, "globex", "ann")
	const rest = `"prompt":"hi","input":"hi","query":"hi","max_tokens":9`
	for _, path := range []string{
		harness.CompletionsPath, "/v1/completions", "/v1/images/generations", "/v1/responses", "/v1/messages",
		"/v1/messages/count_tokens", "/v1/embeddings", "/v1/rerank", "/v1/moderations",
	} {
		body := rest
		if path == "/v1/responses" {
			body = `"input":"hi"`
		}
		if path == harness.CompletionsPath || strings.HasPrefix(path, "/v1/messages") {
			body = `"messages":[{"role":"user","content":"hi"}],"max_tokens":9`
		}
		for _, model := range []string{"fast", "native"} {
			for _, more := range []string{
				`"models":["evil"]`, `"Models":["evil"]`, `"fallbacks":[{"model":"evil"}]`, `"fallback_models":["evil"]`,
				`"route":"fallback"`, `"context_window_fallbacks":[{"fast":["evil"]}]`, `"m\u006fdels":"evil"`,
			} {
				resp := acme.Do(http.MethodPost, path, `{"model":"`+model+`",`+body+`,`+more+`}`)
				if got := harness.ReadAll(t, resp); resp.StatusCode != http.StatusForbidden || !strings.Contains(got, "leave it out") {
					t.Errorf("%s with %s: %d %s", path, more, resp.StatusCode, got)
				}
			}
		}
	}
	if n := up.Count(); n != 0 {
		t.Errorf("the provider was asked %d times", n)
	}
	got := acme.Complete(`{"model":"fast","messages":[{"role":"user","content":"hi"}],"models":null}`)
	got.WantText(t, "Hello")
	got = globex.Complete(`{"model":"fast","messages":[{"role":"user","content":"hi"}],"models":["other"]}`)
	got.WantText(t, "Hello")
	if got := up.Last().Body; !strings.Contains(got, "other") {
		t.Errorf("the provider got %s", got)
	}
}

// TestAllowListOfFallbacks has models whose fallback is another model, which
// only some tenants may use.
func TestAllowListOfFallbacks(t *testing.T) {
	t.Parallel()
	q := harness.NewQuestion("fast").WithUsage()

	for name, do := range map[string]harness.Script{
		"500": harness.Refuses(500, "x"), "401": harness.Refuses(401, "x"), "reset": harness.Reset, "too long": harness.Refuses(400, "context_length_exceeded"),
	} {
		t.Run("after a failure/"+name, func(t *testing.T) {
			s := newAllowSite(t, "")
			one, two := s.Targets[0], s.Targets[1]
			one.Plays(do)
			acme := harness.NewClient(s.C, "acme", "ann")
			got := acme.Complete(q)
			if got.Status == http.StatusOK || got.Code == "" || two.Count() != 0 || one.Count() != 1 {
				t.Errorf("%d %s, the targets saw %v calls", got.Status, got.Code, s.counts())
			}
			tr := s.try(t, q) // as globex, which may use every model
			tr.WantText(t, "Hello")
			tr.wantCalls(t, 1, 1, 0)
			if fallback := s.health(t).FallbackModelID; fallback == nil {
				t.Error("health names no fallback, although there is one")
			}
		})
	}
	t.Run("after a cut stream", func(t *testing.T) {
		s := newAllowSite(t, "")
		one, two := s.Targets[0], s.Targets[1]
		one.Plays(harness.Steps(harness.Begins("Hel"), harness.Reset), harness.Refuses(500, "x"))
		got := harness.NewClient(s.C, "acme", "ann").Complete(q)
		got.WantCut(t, "Hel", "ai_error")
		if two.Count() != 0 {
			t.Errorf("the targets saw %v calls", s.counts())
		}
		one.Plays(harness.Steps(harness.Begins("Hel"), harness.Reset), harness.Refuses(500, "x"))
		tr := s.try(t, q)
		tr.WantText(t, "Hello")
		tr.wantCalls(t, 2, 1, 0)
	})
	for _, policy := range []string{"round_robin", "weighted_random", "least_conn", "lowest_latency"} {
		t.Run("under "+policy, func(t *testing.T) {
			s := newAllowSite(t, "lb_policy "+policy)
			two := s.Targets[1]
			acme := harness.NewClient(s.C, "acme", "ann")
			for range 12 {
				got := acme.Complete(q)
				got.WantText(t, "Hello")
				harness.WantHeader(t, got.Header, map[string]string{"X-Ai-Provider": "one", "X-Ai-Fallback": ""})
			}
			if two.Count() != 0 {
				t.Errorf("the targets saw %v calls", s.counts())
			}
			// other tenants do reach it
			harness.Eventually(t, "the other tenant reaches both targets", func() bool {
				got := s.Globex.Complete(q)
				return got.Header.Get("X-Ai-Provider") == "two"
			})
		})
	}
	t.Run("with an open circuit", func(t *testing.T) {
		targets := harness.NewTargets(t, "one", "two")
		targets[0].Plays(harness.Refuses(500, "x"))
		s := newFaultSite(t, harness.TargetConfig{Targets: targets, Tenants: allowTenants, Gateway: "retries 0\ncircuit_breaker 1 10m\nmodel hidden {\nto two/up-two\n}"})
		acme := harness.NewClient(s.C, "acme", "ann")
		got := acme.Complete(q)
		got.WantRefused(t, http.StatusBadGateway, "ai_error")
		got = acme.Complete(q)
		got.WantRefused(t, http.StatusServiceUnavailable, "ai_unavailable")
		if targets[1].Count() != 0 {
			t.Errorf("the targets saw %v calls", s.counts())
		}
	})
	t.Run("a fallback on the list is used", func(t *testing.T) {
		targets := harness.NewTargets(t, "one", "two")
		targets[0].Plays(harness.Refuses(500, "x"))
		s := newFaultSite(t, harness.TargetConfig{Targets: targets, Tenants: allowTenants, Gateway: "retries 0\nmodel smart {\nto two/up-two\n}\nmodel hidden {\nto two/up-two\n}"})
		got := harness.NewClient(s.C, "acme", "ann").Complete(q)
		got.WantText(t, "Hello")
		harness.WantHeader(t, got.Header, map[string]string{"X-Ai-Provider": "two", "X-Ai-Fallback": "true"})
	})
	t.Run("a fallback that is not itself a model is used", func(t *testing.T) {
		targets := harness.NewTargets(t, "one", "two")
		targets[0].Plays(harness.Refuses(500, "x"))
		s := newFaultSite(t, harness.TargetConfig{Targets: targets, Tenants: allowTenants, Gateway: "retries 0\nmodel hidden {\nto two/up-other\n}"})
		got := harness.NewClient(s.C, "acme", "ann").Complete(q)
		got.WantText(t, "Hello")
		harness.WantHeader(t, got.Header, map[string]string{"X-Ai-Provider": "two", "X-Ai-Fallback": "true"})
	})
}
