package gemini

import (
	"testing"

	"github.com/caddy-chat/caddy-chat/modules/provider"
	"github.com/caddy-chat/caddy-chat/modules/provider/providertest"
	"github.com/caddy-chat/caddy-chat/modules/provider/upstream"
)

func newGemini(t testing.TB, u upstream.Upstream) *Gemini {
	t.Helper()
	return providertest.Provisioned(t, &Gemini{Upstream: u})
}

func newProvider(t *testing.T, baseURL string) provider.Provider {
	return newGemini(t, upstream.Upstream{BaseURL: baseURL + "/v1beta", APIKey: "key-1"})
}

func TestRecordings(t *testing.T) {
	providertest.Run(t, newProvider, providertest.Load(t, providertest.Folder(t), "gemini"))
}

func TestCaddyfile(t *testing.T) {
	providertest.Caddyfile[Gemini](t, []providertest.Block{
		{
			Name: "everything",
			In: `gemini {
				base_url http://127.0.0.1:1/v1beta
				api_key {env.KEY}
				header X-Team ops
				transport http {
					dial_timeout 2s
				}
				continue on
			}`,
			Want: `{"base_url":"http://127.0.0.1:1/v1beta","api_key":"{env.KEY}","headers":{"X-Team":["ops"]},"transport":{"dial_timeout":2000000000,"protocol":"http"},"continue":true}`,
		},
		{Name: "nothing", In: `gemini`, Want: `{}`},
		{Name: "unknown", In: "gemini {\n project x\n}", Err: "unrecognized subdirective 'project': want base_url"},
		{Name: "argument", In: "gemini x", Err: "wrong argument count"},
		{Name: "twice", In: "gemini {\n api_key a\n api_key b\n}", Err: "api_key is given twice"},
		{Name: "no_switch", In: "gemini {\n continue maybe\n}", Err: "want on or off"},
	})
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
