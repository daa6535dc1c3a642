package gateway

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/tidwall/gjson"

	"github.com/caddy-chat/caddy-chat/integration/harness"
)

func TestGatewayRequest(t *testing.T) {
	up := harness.NewUpstream(t, harness.Document(http.StatusOK, harness.WholeAnswer))
	c := harness.Start(t, harness.GatewayTenants, harness.GatewaySite(up))
	globex := harness.NewClient(c, "globex", "ann")

	const odd = `{ "model" : "fast", "messages":[{"role":"user","content":"h\u00e9"}] , "seed":1.50,"big":12345678901234567890,` +
		`"x_custom":{"é":[1, 2 ,{"y":null}],"model":"inner"}%s }`

	t.Run("unknown fields reach the provider untouched", func(t *testing.T) {
		a := globex.Complete(fmt.Sprintf(odd, ""))
		if a.Status != http.StatusOK {
			t.Fatalf("status %d: %v", a.Status, a.Frames)
		}
		want := strings.Replace(fmt.Sprintf(odd, ""), `"fast"`, `"up-fast"`, 1)
		if got := up.Last(); got.Body != want || got.Path != "/v1/chat/completions" {
			t.Errorf("%s got\n%s\nwant\n%s", got.Path, got.Body, want)
		}
	})
	t.Run("a stream gets include_usage and no other change", func(t *testing.T) {
		up.Plays(harness.Sends(harness.Content("Hello"), harness.Finished, harness.EndMark))
		const options = `,"stream":true,"stream_options":{"x": [1 ]%s}`
		globex.Complete(fmt.Sprintf(odd, fmt.Sprintf(options, "")))
		want := strings.Replace(fmt.Sprintf(odd, fmt.Sprintf(options, `,"include_usage":true`)), `"fast"`, `"up-fast"`, 1)
		if got := up.Last().Body; got != want {
			t.Errorf("got\n%s\nwant\n%s", got, want)
		}
	})
	up.Plays(harness.Document(http.StatusOK, harness.WholeAnswer))

	t.Run("the client's credentials do not reach the provider", func(t *testing.T) {
		keyed := harness.NewClient(c, "keyed", "ann")
		keyed.Key = "keyed-client-key"
		for cl, want := range map[*harness.Client]string{
			globex:                                "Bearer own-upstream-key",
			harness.NewClient(c, "acme", "ann"):   "Bearer acme-upstream-key",
			keyed:                                 "Bearer own-upstream-key",
			harness.NewClient(c, "globex", "bob"): "Bearer own-upstream-key",
		} {
			header := []string{"Cookie", "session=client-secret", "X-Other", "client-secret"}
			if cl.Key == "" {
				header = append(header, "Authorization", "Bearer client-secret", "X-Api-Key", "client-secret")
			}
			if a := cl.Complete(harness.NewQuestion("fast"), header...); a.Status != http.StatusOK {
				t.Fatalf("%s: status %d: %v", cl.Tenant, a.Status, a.Frames)
			}
			got := up.Last()
			if auth := got.Header.Values("Authorization"); !slices.Equal(auth, []string{want}) {
				t.Errorf("%s: Authorization %q, want %q", cl.Tenant, auth, want)
			}
			if all := fmt.Sprint(got.Header, got.Body); strings.Contains(all, "client-secret") || strings.Contains(all, "client-key") {
				t.Errorf("%s: the provider got %s", cl.Tenant, all)
			}
			if team := got.Header.Get("X-Team"); team != "ops" {
				t.Errorf("X-Team %q, want the provider's header", team)
			}
		}
	})
	t.Run("a provider without a key gets none", func(t *testing.T) {
		globex.Complete(harness.NewQuestion("hidden"), "Authorization", "Bearer client-secret")
		if auth := up.Last().Header.Values("Authorization"); len(auth) > 0 {
			t.Errorf("Authorization %q", auth)
		}
	})
	t.Run("the provider gets the trace id", func(t *testing.T) {
		const id = "4bf92f3577b34da6a3ce929d0e0e4736"
		for _, tc := range []struct {
			want   string // any if empty
			header []string
		}{
			{"", nil},
			{"req-1", []string{"X-Request-Id", "req-1"}},
			{"trace-1", []string{"X-Trace-Id", "trace-1", "X-Request-Id", "req-1"}},
			{id, []string{"Traceparent", "00-" + id + "-00f067aa0ba902b7-01", "X-Trace-Id", "trace-1"}},
		} {
			a := globex.Complete(harness.NewQuestion("fast"), tc.header...)
			got := up.Last().Header.Get("X-Request-Id")
			if got == "" || got != a.Header.Get("X-Trace-Id") || tc.want != "" && got != tc.want {
				t.Errorf("%v: X-Request-Id %q upstream, X-Trace-Id %q", tc.header, got, a.Header.Get("X-Trace-Id"))
			}
		}
	})
}

func TestModelPrecedence(t *testing.T) {
	up := harness.NewUpstream(t, harness.Document(http.StatusOK, harness.WholeAnswer))
	plain := harness.Start(t, harness.GatewayTenants, harness.GatewaySite(up, "default_model fast"))
	override := harness.Start(t, harness.GatewayTenants, harness.GatewaySite(up, "default_model fast", "model_override hidden"))

	for _, tc := range []struct {
		name        string
		c           *harness.Caddy
		tenant      string
		asked       string
		model, goes string
	}{
		{"the request's model first", override, "globex", "smart", "smart", "up-smart"},
		{"the request's model before the tenant's", plain, "acme", "fast", "fast", "up-fast"},
		{"then the route's", override, "initech", "", "hidden", "up-hidden"},
		{"then the tenant's", plain, "acme", "", "smart", "up-smart"},
		{"then the default", plain, "globex", "", "fast", "up-fast"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			cl := harness.NewClient(tc.c, tc.tenant, "ann")
			a := cl.Complete(harness.NewQuestion(tc.asked))
			if id := a.Header.Get("X-Model-Id"); a.Status != http.StatusOK || id != tc.model {
				t.Errorf("/v1: status %d, X-Model-Id %q, want %q", a.Status, id, tc.model)
			}
			if got := gjson.Get(up.Last().Body, "model").Str; got != tc.goes {
				t.Errorf("/v1: the upstream got %q, want %q", got, tc.goes)
			}

			resp := cl.Do(http.MethodPost, "/chat", harness.ChatRequest{SessionID: harness.NewSession(), Message: "hi", ModelID: tc.asked, Stream: new(false)})
			harness.ReadAll(t, resp)
			if id := resp.Header.Get("X-Model-Id"); resp.StatusCode != http.StatusOK || id != tc.model {
				t.Errorf("/chat: status %d, X-Model-Id %q, want %q", resp.StatusCode, id, tc.model)
			}
			if got := gjson.Get(up.Last().Body, "model").Str; got != tc.goes {
				t.Errorf("/chat: the upstream got %q, want %q", got, tc.goes)
			}
		})
	}

	t.Run("the allow list applies to the route's model", func(t *testing.T) {
		a := harness.NewClient(override, "acme", "ann").Complete(harness.NewQuestion(""))
		a.WantRefused(t, http.StatusForbidden, "model_not_allowed")
	})
}

func TestModels(t *testing.T) {
	t.Parallel()
	up := harness.NewUpstream(t, harness.Document(http.StatusOK, harness.WholeAnswer))
	closed := harness.Start(t, harness.GatewayTenants, harness.GatewaySite(up))
	some := harness.Start(t, harness.GatewayTenants, harness.GatewaySite(up, "passthrough openai"))
	open := harness.Start(t, harness.GatewayTenants, harness.GatewaySite(up, "passthrough"))
	single := harness.Start(t, harness.GatewayTenants, fmt.Sprintf("tenant_resolve\nchat_session\nai_gateway {\nprovider openai {\nbase_url %s\n}\n}", up.URL))

	for _, tc := range []struct {
		name   string
		c      *harness.Caddy
		tenant string
		model  string
		goes   string // the upstream's name, if allowed
		status int
		code   string
	}{
		{"an unknown model", closed, "globex", "unknown", "", http.StatusNotFound, "model_unknown"},
		{"a model not on the allow list", closed, "acme", "hidden", "", http.StatusForbidden, "model_not_allowed"},
		{"the allow list before the model's existence", closed, "acme", "unknown", "", http.StatusForbidden, "model_not_allowed"},
		{"an unknown model on the allow list", closed, "acme", "ghost", "", http.StatusNotFound, "model_unknown"},
		{"no passthrough by default", closed, "globex", "openai/up-1", "", http.StatusNotFound, "model_unknown"},
		{"an upstream name is not a model", closed, "globex", "up-fast", "", http.StatusNotFound, "model_unknown"},
		{"passthrough", some, "globex", "openai/up-1", "up-1", http.StatusOK, ""},
		{"passthrough of a name with a slash", some, "globex", "openai/meta/llama", "meta/llama", http.StatusOK, ""},
		{"passthrough for other providers only", some, "globex", "local/up-1", "", http.StatusNotFound, "model_unknown"},
		{"passthrough without a model", some, "globex", "openai/", "", http.StatusNotFound, "model_unknown"},
		{"passthrough on the allow list", some, "acme", "openai/up-9", "up-9", http.StatusOK, ""},
		{"passthrough not on the allow list", some, "acme", "openai/up-1", "", http.StatusForbidden, "model_not_allowed"},
		{"an alias beside passthrough", some, "globex", "hidden", "up-hidden", http.StatusOK, ""},
		{"passthrough for all", open, "globex", "local/up-1", "up-1", http.StatusOK, ""},
		{"passthrough only for existing providers", open, "globex", "other/up-1", "", http.StatusNotFound, "model_unknown"},
		{"a single provider's own names", single, "globex", "up-1", "up-1", http.StatusOK, ""},
		{"no model and no default", single, "globex", "", "", http.StatusBadRequest, "invalid_request"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			cl := harness.NewClient(tc.c, tc.tenant, "ann")
			before := up.Count()
			a := cl.Complete(harness.NewQuestion(tc.model))
			message := harness.ChatRequest{SessionID: harness.NewSession(), Message: "hi", ModelID: tc.model, Stream: new(false)}
			resp := cl.Do(http.MethodPost, "/chat", message)
			if tc.code != "" {
				a.WantRefused(t, tc.status, tc.code)
				harness.WantFailure(t, resp, tc.status, tc.code)
				if up.Count() != before {
					t.Error("the provider was asked")
				}
				return
			}
			text := harness.ReadAll(t, resp)
			if a.Status != http.StatusOK || resp.StatusCode != http.StatusOK {
				t.Fatalf("/v1 %d: %v, /chat %d: %s", a.Status, a.Frames, resp.StatusCode, text)
			}
			if got := gjson.Get(up.Last().Body, "model").Str; got != tc.goes || up.Count() != before+2 {
				t.Errorf("the upstream got %q, want %q", got, tc.goes)
			}
			if used := gjson.Get(text, "data.usage.modelId").Str; used != tc.model {
				t.Errorf("modelId %q, want %q", used, tc.model)
			}
			if a.Header.Get("X-Model-Id") != tc.model || resp.Header.Get("X-Model-Id") != tc.model {
				t.Errorf("X-Model-Id %q and %q, want %q", a.Header.Get("X-Model-Id"), resp.Header.Get("X-Model-Id"), tc.model)
			}
		})
	}

	for _, tc := range []struct {
		c      *harness.Caddy
		tenant string
		want   []string
	}{
		{closed, "globex", []string{"fast", "smart", "hidden"}},
		{closed, "acme", []string{"fast", "smart"}},
		{some, "acme", []string{"fast", "smart", "openai/up-9"}},
	} {
		t.Run("only allowed models are listed/"+tc.tenant, func(t *testing.T) {
			var list struct {
				Object string `json:"object"`
				Data   []struct {
					ID      string `json:"id"`
					Object  string `json:"object"`
					Created int64  `json:"created"`
					OwnedBy string `json:"owned_by"`
				} `json:"data"`
			}
			status := harness.NewClient(tc.c, tc.tenant, "ann").Call(http.MethodGet, "/v1/models", nil, &list)
			var got []string
			for _, m := range list.Data {
				if m.Object != "model" || m.Created == 0 || m.OwnedBy == "" {
					t.Errorf("%+v", m)
				}
				got = append(got, m.ID)
			}
			if status != http.StatusOK || list.Object != "list" || !slices.Equal(got, tc.want) {
				t.Errorf("%d, %s of %v, want %v", status, list.Object, got, tc.want)
			}
		})
	}
}
