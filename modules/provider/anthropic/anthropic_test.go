package anthropic

import (
	"net/http"
	"strings"
	"testing"

	"github.com/caddy-chat/caddy-chat/modules/provider"
	"github.com/caddy-chat/caddy-chat/modules/provider/providertest"
	"github.com/caddy-chat/caddy-chat/modules/provider/upstream"
)

func newAnthropic(t testing.TB, u upstream.Upstream) *Anthropic {
	t.Helper()
	return providertest.Provisioned(t, &Anthropic{Upstream: u})
}

func newProvider(t *testing.T, baseURL string) provider.Provider {
	return newAnthropic(t, upstream.Upstream{BaseURL: baseURL, APIKey: "key-1"})
}

func TestRecordings(t *testing.T) {
	recordings := providertest.Load(t, providertest.Folder(t), "anthropic")
	providertest.Run(t, newProvider, recordings)

	// A server may stream although a whole answer was asked for, and the other
	// way around.
	replay := providertest.NewReplay(t)
	p := newProvider(t, replay.URL)
	for _, rec := range recordings {
		t.Run(rec.Name+"/other_way", func(t *testing.T) {
			replay.Play(rec, providertest.Bytes)
			switch rec.Kind {
			case "plain":
				rec.Check(t, providertest.Stream(t.Context(), t, p))
			case "stream":
				rec.Check(t, providertest.Complete(t.Context(), t, p))
			}
		})
	}
}

func TestRequest(t *testing.T) {
	const answer = `{"type":"message","content":[{"type":"text","text":"hi"}],"stop_reason":"end_turn"}`
	for _, tc := range []struct{ name, base, path string }{
		{"without version", "", "/v1/messages"},
		{"with version", "/v1/", "/v1/messages"},
		{"below a path", "/proxy/anthropic", "/proxy/anthropic/v1/messages"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			replay := providertest.NewReplay(t)
			replay.Answer(200, nil, []byte(answer), providertest.Whole)
			a := newAnthropic(t, upstream.Upstream{
				BaseURL: replay.URL + tc.base,
				APIKey:  "own",
				Headers: http.Header{"X-Team": {"ops"}, "Anthropic-Beta": {"a,b"}},
			})
			_, err := a.Complete(t.Context(), &provider.Request{
				Model: "claude-haiku-4-5", Body: []byte(`{"messages":[{"role":"user","content":"hi"}]}`), APIKey: "tenant's", TraceID: "t-1",
			})
			if err != nil {
				t.Fatal(err)
			}
			requests, bodies := replay.Requests()
			req := requests[0]
			if req.Method != http.MethodPost || req.URL.String() != tc.path {
				t.Errorf("%s %s, want POST %s", req.Method, req.URL, tc.path)
			}
			for name, want := range map[string]string{
				"X-Api-Key":         "tenant's",
				"Authorization":     "",
				"Anthropic-Version": "2023-06-01",
				"Anthropic-Beta":    "a,b",
				"Content-Type":      "application/json",
				"X-Request-Id":      "t-1",
				"X-Team":            "ops",
			} {
				if got := req.Header.Get(name); got != want {
					t.Errorf("%s: %q, want %q", name, got, want)
				}
			}
			if strings.Contains(string(bodies[0]), "stream") {
				t.Errorf("asked for a stream: %s", bodies[0])
			}
		})
	}
}

func TestDefaultModel(t *testing.T) {
	for base, want := range map[string]string{
		"":                               "claude-haiku-4-5",
		"https://api.anthropic.com/v1/":  "claude-haiku-4-5",
		"https://api.anthropic.com":      "claude-haiku-4-5",
		"http://127.0.0.1:11434":         "",
		"https://api.anthropic.com.evil": "",
	} {
		if got := newAnthropic(t, upstream.Upstream{BaseURL: base}).DefaultModel(); got != want {
			t.Errorf("%q: %q, want %q", base, got, want)
		}
	}
}

func TestContinues(t *testing.T) {
	a := newAnthropic(t, upstream.Upstream{})
	for model, want := range map[string]bool{
		"claude-3-haiku-20240307":           true,
		"claude-3-5-sonnet-latest":          true,
		"claude-3-7-sonnet-20250219":        true,
		"claude-haiku-4-5":                  true,
		"claude-haiku-4-5-20251001":         true,
		"claude-sonnet-4-20250514":          true,
		"claude-sonnet-4-0":                 true,
		"anthropic/claude-sonnet-4.5":       true,
		"claude-opus-4@20250514":            true,
		"claude-opus-4-1-20250805":          true,
		"us.anthropic.claude-opus-4-5-v1:0": true,
		"claude-opus-4-6":                   false,
		"claude-sonnet-4-6":                 false,
		"anthropic/claude-opus-4.7":         false,
		"claude-sonnet-5":                   false,
		"claude-opus-10-1":                  false,
		"claude-mythos-preview":             false,
		"claude-2.1":                        false,
		"claude":                            false,
		"MiniMax-M2":                        false,
		"":                                  false,
	} {
		if got := a.Continues(model); got != want {
			t.Errorf("%s: %v, want %v", model, got, want)
		}
	}
	a.Continue = new(false)
	if a.Continues("claude-haiku-4-5") {
		t.Error("continues although that is off")
	}
	a.Continue = new(true)
	if !a.Continues("MiniMax-M2") {
		t.Error("does not continue although that is on")
	}
}

func TestCaddyfile(t *testing.T) {
	providertest.Caddyfile[Anthropic](t, []providertest.Block{
		{
			Name: "everything",
			In: `anthropic {
				base_url http://127.0.0.1:1/v1
				api_key {env.KEY}
				header Anthropic-Beta x
				transport http {
					dial_timeout 2s
				}
				continue off
			}`,
			Want: `{"base_url":"http://127.0.0.1:1/v1","api_key":"{env.KEY}","headers":{"Anthropic-Beta":["x"]},"transport":{"dial_timeout":2000000000,"protocol":"http"},"continue":false}`,
		},
		{Name: "nothing", In: `anthropic`, Want: `{}`},
		{Name: "unknown", In: "anthropic {\n version x\n}", Err: "unrecognized subdirective 'version': want cache_prompts, base_url"},
		{Name: "argument", In: "anthropic x", Err: "wrong argument count"},
		{Name: "twice", In: "anthropic {\n api_key a\n api_key b\n}", Err: "api_key is given twice"},
		{Name: "neither on nor off", In: "anthropic {\n continue maybe\n}", Err: "want on or off"},
	})
}
