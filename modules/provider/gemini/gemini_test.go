package gemini

import (
	"context"
	"encoding/json"
	"strings"
	"testing"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

	"github.com/caddy-chat/caddy-chat/modules/provider"
	"github.com/caddy-chat/caddy-chat/modules/provider/providertest"
	"github.com/caddy-chat/caddy-chat/modules/provider/upstream"
)

func newGemini(t testing.TB, u upstream.Upstream) *Gemini {
	t.Helper()
	ctx, cancel := caddy.NewContext(caddy.Context{Context: context.Background()})
	t.Cleanup(cancel)
	g := &Gemini{Upstream: u}
	if err := g.Provision(ctx); err != nil {
		t.Fatalf("provisioning: %v", err)
	}
	return g
}

func newProvider(t *testing.T, baseURL string) provider.Provider {
	return newGemini(t, upstream.Upstream{BaseURL: baseURL + "/v1beta", APIKey: "key-1"})
}

func TestRecordings(t *testing.T) {
	providertest.Run(t, newProvider, providertest.Load(t, providertest.Folder(t), "gemini"))
}

func TestCaddyfile(t *testing.T) {
	for _, tc := range []struct{ name, in, want, err string }{
		{
			name: "everything",
			in: `gemini {
				base_url http://127.0.0.1:1/v1beta
				api_key {env.KEY}
				header X-Team ops
				transport http {
					dial_timeout 2s
				}
				continue on
			}`,
			want: `{"base_url":"http://127.0.0.1:1/v1beta","api_key":"{env.KEY}","headers":{"X-Team":["ops"]},"transport":{"dial_timeout":2000000000,"protocol":"http"},"continue":true}`,
		},
		{name: "nothing", in: `gemini`, want: `{}`},
		{name: "unknown", in: "gemini {\n project x\n}", err: "unrecognized subdirective 'project': want base_url"},
		{name: "argument", in: "gemini x", err: "wrong argument count"},
		{name: "twice", in: "gemini {\n api_key a\n api_key b\n}", err: "api_key is already set"},
		{name: "no_switch", in: "gemini {\n continue maybe\n}", err: "want on or off"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			var g Gemini
			err := g.UnmarshalCaddyfile(caddyfile.NewTestDispenser(tc.in))
			if tc.err != "" {
				if err == nil || !strings.Contains(err.Error(), tc.err) {
					t.Errorf("error %v, want %q", err, tc.err)
				}
				return
			}
			got, _ := json.Marshal(g)
			if err != nil || string(got) != tc.want {
				t.Errorf("\n got %s, %v\nwant %s", got, err, tc.want)
			}
		})
	}
}

func TestKey(t *testing.T) {
	const answer = `{"candidates":[{"content":{"parts":[{"text":"hi"}]},"finishReason":"STOP"}]}`
	for _, tc := range []struct {
		name, base, key, tenants string
		goog, bearer             string
	}{
		{"gemini_api", "/v1beta", "k", "", "k", ""},
		{"tenants_own", "/v1beta", "k", "t", "t", ""},
		{"vertex", "/v1/projects/p/locations/global/publishers/google", "k", "", "", "Bearer k"},
		{"vertex_without_a_project", "/v1/publishers/google", "k", "", "k", ""},
		{"none", "/v1beta", "", "", "", ""},
	} {
		t.Run(tc.name, func(t *testing.T) {
			replay := providertest.NewReplay(t)
			replay.Answer(200, nil, []byte(answer), providertest.Whole)
			g := newGemini(t, upstream.Upstream{BaseURL: replay.URL + tc.base, APIKey: tc.key})
			req := &provider.Request{Model: "m", APIKey: tc.tenants, TraceID: "trace-1", Body: []byte(`{"messages":[{"role":"user","content":"hi"}]}`)}
			if _, err := g.Complete(t.Context(), req); err != nil {
				t.Fatal(err)
			}
			requests, _ := replay.Requests()
			h := requests[0].Header
			if h.Get("X-Goog-Api-Key") != tc.goog || h.Get("Authorization") != tc.bearer || h.Get("X-Request-Id") != "trace-1" {
				t.Errorf("headers %v", h)
			}
			if want := tc.base + "/models/m:generateContent"; requests[0].RequestURI != want {
				t.Errorf("called %s, want %s", requests[0].RequestURI, want)
			}
		})
	}
}

func TestPath(t *testing.T) {
	replay := providertest.NewReplay(t)
	p := newProvider(t, replay.URL)
	for model, want := range map[string]string{
		"gemini-2.5-flash":        "/v1beta/models/gemini-2.5-flash:streamGenerateContent?alt=sse",
		"models/gemini-2.5-flash": "/v1beta/models/gemini-2.5-flash:streamGenerateContent?alt=sse",
		"../x?key=#":              "/v1beta/models/..%2Fx%3Fkey=%23:streamGenerateContent?alt=sse",
	} {
		s, err := p.Stream(t.Context(), &provider.Request{Model: model, Body: []byte(`{"messages":[{"role":"user","content":"hi"}]}`)})
		if err != nil {
			t.Fatal(err)
		}
		s.Close()
		requests, _ := replay.Requests()
		if got := requests[len(requests)-1]; got.RequestURI != want || got.Header.Get("Accept") != "text/event-stream" {
			t.Errorf("called %s, want %s", got.RequestURI, want)
		}
	}
}

func TestContinues(t *testing.T) {
	for _, tc := range []struct {
		option *bool
		want   bool
	}{{nil, false}, {new(true), true}, {new(false), false}} {
		g := newGemini(t, upstream.Upstream{Continue: tc.option})
		if got := g.Continues("gemini-2.5-flash"); got != tc.want {
			t.Errorf("option %v: %v", tc.option, got)
		}
	}
}
