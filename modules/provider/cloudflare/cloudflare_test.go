package cloudflare

import (
	"errors"
	"net/http"
	"strings"
	"testing"

	"github.com/tidwall/gjson"
	"golang.org/x/net/http/httpguts"

	"github.com/caddy-chat/caddy-chat/modules/provider"
	"github.com/caddy-chat/caddy-chat/modules/provider/providertest"
	"github.com/caddy-chat/caddy-chat/modules/provider/upstream"
)

func TestRecordings(t *testing.T) {
	providertest.Run(t, func(t *testing.T, baseURL string) provider.Provider {
		return providertest.Provisioned(t, &Cloudflare{Upstream: upstream.Upstream{BaseURL: baseURL, APIKey: "own"}, GatewayID: "prod"})
	}, providertest.Load(t, "../openai/testdata", "openai"))
}

func TestBase(t *testing.T) {
	t.Setenv("CHAT_TEST_ACCOUNT", "0123456789abcdef0123456789abcdef")
	t.Setenv("CHAT_TEST_GATEWAY", "prod")
	for _, tc := range []struct{ account, gateway, base, want string }{
		{"{env.CHAT_TEST_ACCOUNT}", "{env.CHAT_TEST_GATEWAY}", "", "https://gateway.ai.cloudflare.com/v1/0123456789abcdef0123456789abcdef/prod/compat"},
		{"acc", "", "", "https://api.cloudflare.com/client/v4/accounts/acc/ai/v1"},
		{"", "prod", "https://ai.example.com/compat/", "https://ai.example.com/compat"},
	} {
		c := providertest.Provisioned(t, &Cloudflare{Upstream: upstream.Upstream{BaseURL: tc.base}, AccountID: tc.account, GatewayID: tc.gateway})
		if c.Base() != tc.want {
			t.Errorf("%s, %s: %s, want %s", tc.account, tc.gateway, c.Base(), tc.want)
		}
	}
}

func TestProvisionMistakes(t *testing.T) {
	for _, tc := range []struct{ account, gateway, err string }{
		{"", "", "account_id: required"},
		{"", "prod", "account_id: required"},
		{"a/../b", "", `account_id: "a/../b": want`},
		{"..", "", `account_id: "..": want`},
		{"acc", "a b", `gateway_id: "a b": want`},
		{"acc", "{envv.X}", "gateway_id: "},
		{"acc", strings.Repeat("a", 65), "gateway_id: "},
	} {
		if err := providertest.Provision(t, &Cloudflare{AccountID: tc.account, GatewayID: tc.gateway}); err == nil || !strings.Contains(err.Error(), tc.err) {
			t.Errorf("%q, %q: error %v, want %q", tc.account, tc.gateway, err, tc.err)
		}
	}
}

func TestMissingID(t *testing.T) {
	for _, tc := range []struct{ account, gateway, err string }{
		{"{env.CHAT_TEST_NONE}", "prod", "account_id: {env.CHAT_TEST_NONE} is empty"},
		{"acc", "{env.CHAT_TEST_NONE}", "gateway_id: {env.CHAT_TEST_NONE} is empty"},
	} {
		c := providertest.Provisioned(t, &Cloudflare{AccountID: tc.account, GatewayID: tc.gateway})
		_, err := c.Complete(t.Context(), &provider.Request{Body: []byte(`{}`), APIKey: "tenant's"})
		if e, ok := errors.AsType[*provider.Error](err); !ok || e.Reason != provider.ReasonCredentials || !strings.Contains(err.Error(), tc.err) {
			t.Errorf("got %v, want %q", err, tc.err)
		}
	}
}

func TestRequest(t *testing.T) {
	t.Setenv("CHAT_TEST_NONE", "")
	replay := providertest.NewReplay(t)
	replay.Answer(200, nil, []byte(`{"choices":[{"message":{"content":"hi"},"finish_reason":"stop"}],"data":[{"embedding":[1]}]}`), providertest.Whole)
	for _, tc := range []struct {
		name, gateway, key, tenant string
		opens, authorization       string
		fails                      bool
	}{
		{name: "gateway_with_stored_keys", gateway: "prod", key: "own", opens: "Bearer own"},
		{name: "gateway_with_a_tenants_key", gateway: "prod", key: "own", tenant: "tenant's", opens: "Bearer own", authorization: "Bearer tenant's"},
		{name: "open_gateway", gateway: "prod"},
		{name: "open_gateway_with_a_tenants_key", gateway: "prod", tenant: "tenant's", authorization: "Bearer tenant's"},
		{name: "gateway_whose_key_is_missing", gateway: "prod", key: "{env.CHAT_TEST_NONE}", tenant: "tenant's", fails: true},
		{name: "workers", key: "own", authorization: "Bearer own"},
		{name: "workers_with_a_tenants_key", key: "own", tenant: "tenant's", authorization: "Bearer tenant's"},
		{name: "workers_with_a_tenants_key_alone", key: "{env.CHAT_TEST_NONE}", tenant: "tenant's", authorization: "Bearer tenant's"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			before, _ := replay.Requests()
			c := providertest.Provisioned(t, &Cloudflare{Upstream: upstream.Upstream{BaseURL: replay.URL + "/base", APIKey: tc.key}, GatewayID: tc.gateway})
			preq := &provider.Request{Model: "openai/gpt-4o-mini", Body: []byte(`{"messages":[],"input":"x"}`), APIKey: tc.tenant}
			_, err := c.Complete(t.Context(), preq)
			if tc.fails {
				requests, _ := replay.Requests()
				if e, ok := errors.AsType[*provider.Error](err); !ok || e.Reason != provider.ReasonCredentials || len(requests) != len(before) {
					t.Errorf("got %v, want credentials that are missing, before any call", err)
				}
				return
			}
			_, embedErr := c.Embed(t.Context(), preq)
			_, streamErr := c.Stream(t.Context(), preq)
			if err := errors.Join(err, embedErr, streamErr); err != nil {
				t.Fatal(err)
			}
			requests, bodies := replay.Requests()
			for i, path := range []string{"/base/chat/completions", "/base/embeddings", "/base/chat/completions"} {
				req, body := requests[len(before)+i], bodies[len(before)+i]
				if req.URL.Path != path || gjson.GetBytes(body, "model").Str != "openai/gpt-4o-mini" {
					t.Errorf("called %s with %s", req.URL.Path, body)
				}
				if got := req.Header.Get(gatewayKey); got != tc.opens {
					t.Errorf("%s: %s %q, want %q", path, gatewayKey, got, tc.opens)
				}
				if got := req.Header.Get("Authorization"); got != tc.authorization {
					t.Errorf("%s: Authorization %q, want %q", path, got, tc.authorization)
				}
			}
		})
	}
}

func TestMetadata(t *testing.T) {
	for _, tc := range []struct {
		name  string
		trace string
		l     provider.Labels
		want  string
	}{
		{"everything", "t-1", provider.Labels{TenantID: "acme", UserID: "u1", SessionID: "0198", Route: "fast"}, `{"tenantId":"acme","traceId":"t-1","sessionId":"0198","userId":"u1","route":"fast"}`},
		{"what_is_known", "t-1", provider.Labels{Route: "fast"}, `{"traceId":"t-1","route":"fast"}`},
		{"nothing", "", provider.Labels{}, ``},
		{"quotes_and_line_breaks", "", provider.Labels{UserID: "a\"b\\c\r\nX-Evil: 1"}, `{"userId":"a\"b\\c\r\nX-Evil: 1"}`},
		{"other_alphabets", "", provider.Labels{UserID: "Jürgen 世 🚀"}, `{"userId":"J\u00fcrgen \u4e16 \ud83d\ude80"}`},
		{"delete_and_no_UTF-8", "", provider.Labels{UserID: "a\x7f\xffb"}, `{"userId":"a\u007f\ufffdb"}`},
	} {
		t.Run(tc.name, func(t *testing.T) {
			preq := &provider.Request{TraceID: tc.trace, Labels: tc.l}
			got := metadata(preq)
			if got != tc.want {
				t.Errorf("got %s, want %s", got, tc.want)
			}
			if !httpguts.ValidHeaderFieldValue(got) {
				t.Errorf("%q is no value of a header", got)
			}
			if back := gjson.Get(got, "userId").Str; back != strings.ToValidUTF8(tc.l.UserID, "\ufffd") {
				t.Errorf("reads %q, want %q", back, tc.l.UserID)
			}
		})
	}
	t.Run("goes_with_every_call", func(t *testing.T) {
		replay := providertest.NewReplay(t)
		replay.Answer(200, nil, []byte(`{"choices":[{"message":{"content":"hi"},"finish_reason":"stop"}],"data":[{"embedding":[1]}]}`), providertest.Whole)
		for _, gateway := range []string{"", "prod"} {
			c := providertest.Provisioned(t, &Cloudflare{Upstream: upstream.Upstream{BaseURL: replay.URL}, GatewayID: gateway})
			preq := &provider.Request{Body: []byte(`{}`), TraceID: "t", Labels: provider.Labels{TenantID: "acme"}}
			_, err := c.Complete(t.Context(), preq)
			_, streamErr := c.Stream(t.Context(), preq)
			_, embedErr := c.Embed(t.Context(), preq)
			if err := errors.Join(err, streamErr, embedErr); err != nil {
				t.Fatal(err)
			}
		}
		requests, _ := replay.Requests()
		for _, req := range requests {
			if got := req.Header.Get("Cf-Aig-Metadata"); got != `{"tenantId":"acme","traceId":"t"}` {
				t.Errorf("%s: %s", req.URL.Path, got)
			}
		}
		if len(requests) != 6 {
			t.Errorf("%d calls, want 6", len(requests))
		}
	})
}

// The recordings have no answers of a gateway.
func TestFailures(t *testing.T) {
	replay := providertest.NewReplay(t)
	c := providertest.Provisioned(t, &Cloudflare{Upstream: upstream.Upstream{BaseURL: replay.URL}, GatewayID: "prod"})
	for _, tc := range []struct {
		status int
		body   string
		want   provider.Reason
	}{
		{401, `{"success":false,"result":[],"messages":[],"error":[{"code":2009,"message":"Unauthorized"}]}`, provider.ReasonCredentials},
		{400, `{"success":false,"errors":[{"code":7003,"message":"Could not route to the account"}],"messages":[],"result":null}`, provider.ReasonInvalid},
		{424, `{"success":false,"result":[],"messages":[],"error":[{"code":2016,"message":"Prompt blocked due to security configurations"}]}`, provider.ReasonContentFiltered},
		{429, `{"success":false,"error":[{"code":2003,"message":"Rate limited"}]}`, provider.ReasonRateLimited},
		{200, `{"success":false,"result":[],"error":[{"code":2005,"message":"Failed to get response from provider"}]}`, provider.ReasonUnavailable},
	} {
		replay.Answer(tc.status, http.Header{"Content-Type": {"application/json"}}, []byte(tc.body), providertest.Whole)
		err := providertest.Complete(t.Context(), t, c).Err
		e, ok := errors.AsType[*provider.Error](err)
		if !ok || e.Reason != tc.want || e.Message == "" {
			t.Errorf("%d %s: %v, want reason %d and its message", tc.status, tc.body, err, tc.want)
		}
	}
}

func TestContinue(t *testing.T) {
	if providertest.Provisioned(t, &Cloudflare{AccountID: "a"}).Continues("mistral/mistral-large") {
		t.Error("an unknown model continues")
	}
	replay := providertest.NewReplay(t)
	replay.Answer(200, nil, []byte(`{"choices":[{"message":{"content":"llo"},"finish_reason":"stop"}]}`), providertest.Whole)
	c := providertest.Provisioned(t, &Cloudflare{Upstream: upstream.Upstream{BaseURL: replay.URL, Continue: new(true)}})
	if !c.Continues("x") {
		t.Error("continue on is not heard")
	}
	if _, err := c.Complete(t.Context(), &provider.Request{Model: "m", Body: []byte(`{"messages":[{"role":"user","content":"hi"}]}`), Continue: "He"}); err != nil {
		t.Fatal(err)
	}
	_, bodies := replay.Requests()
	if want := `{"messages":[{"role":"user","content":"hi"},{"role":"assistant","content":"He"}],"model":"m"}`; string(bodies[0]) != want {
		t.Errorf("sent %s, want %s", bodies[0], want)
	}
}

func TestCaddyfile(t *testing.T) {
	providertest.Caddyfile[Cloudflare](t, []providertest.Block{
		{
			Name: "gateway",
			In: `cloudflare {
				account_id {env.CF_ACCOUNT}
				gateway_id prod
				api_key {env.CF_TOKEN}
				header cf-aig-cache-ttl 60
				continue off
			}`,
			Want: `{"api_key":"{env.CF_TOKEN}","headers":{"Cf-Aig-Cache-Ttl":["60"]},"continue":false,"account_id":"{env.CF_ACCOUNT}","gateway_id":"prod"}`,
		},
		{Name: "workers", In: "cloudflare {\n account_id a\n}", Want: `{"account_id":"a"}`},
		{Name: "domain_of_its_own", In: "cloudflare {\n base_url https://ai.example.com/compat\n gateway_id prod\n}", Want: `{"base_url":"https://ai.example.com/compat","gateway_id":"prod"}`},
		{Name: "no_account", In: "cloudflare {\n gateway_id prod\n}", Err: "account_id is required"},
		{Name: "nothing", In: "cloudflare", Err: "account_id is required"},
		{Name: "twice", In: "cloudflare {\n account_id a\n account_id b\n}", Err: "account_id is given twice"},
		{Name: "no_value", In: "cloudflare {\n gateway_id\n}", Err: "wrong argument count"},
		{Name: "argument", In: "cloudflare x", Err: "wrong argument count"},
		{Name: "unknown", In: "cloudflare {\n account x\n}", Err: "unrecognized subdirective 'account': want account_id, gateway_id, base_url"},
	})
}
