package openai

import (
	"context"
	"errors"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/tidwall/gjson"

	"github.com/caddy-chat/caddy-chat/modules/provider"
	"github.com/caddy-chat/caddy-chat/modules/provider/providertest"
	"github.com/caddy-chat/caddy-chat/modules/provider/upstream"
)

func newOpenAI(t testing.TB, u upstream.Upstream) *OpenAI {
	t.Helper()
	return providertest.Provisioned(t, &OpenAI{Upstream: u})
}

func newProvider(t *testing.T, baseURL string) provider.Provider {
	return newOpenAI(t, upstream.Upstream{BaseURL: baseURL + "/v1", APIKey: "key-1"})
}

func TestRecordings(t *testing.T) {
	t.Run("own", func(t *testing.T) {
		providertest.Run(t, newProvider, providertest.Load(t, "testdata", "openai"))
	})
	t.Run("shared", func(t *testing.T) {
		providertest.Run(t, newProvider, providertest.Load(t, providertest.Folder(t), "openai"))
	})
}

// TestOtherWay asks for a stream where the server answers whole, and for a
// whole answer where it streams.
func TestOtherWay(t *testing.T) {
	replay := providertest.NewReplay(t)
	p := newProvider(t, replay.URL)
	for _, rec := range providertest.Load(t, "testdata", "openai") {
		t.Run(rec.Name, func(t *testing.T) {
			replay.Play(rec, providertest.Bytes)
			switch rec.Kind {
			case "plain":
				a := providertest.Stream(t.Context(), t, p)
				rec.Check(t, a)
				if a.Chunks != 1 {
					t.Errorf("%d chunks, want 1", a.Chunks)
				}
			case "stream":
				a := providertest.Complete(t.Context(), t, p)
				if len(rec.Expected.Errors) == 0 {
					rec.Check(t, a)
				} else if a.Err == nil {
					t.Error("the error in the stream is lost")
				}
			}
		})
	}
}

func TestRequestBody(t *testing.T) {
	for _, tc := range []struct{ name, in, stream, whole string }{
		{
			"the caller's bytes stay",
			`{ "model" : "alias", "seed":1.50, "big":12345678901234567890,"x":{"é":"\u00e9"} }`,
			`{ "model" : "m/1", "seed":1.50, "big":12345678901234567890,"x":{"é":"\u00e9"} ,"stream":true,"stream_options":{"include_usage":true}}`,
			`{ "model" : "m/1", "seed":1.50, "big":12345678901234567890,"x":{"é":"\u00e9"} }`,
		},
		{
			"stream options",
			`{"model":"a","stream":true,"stream_options":{"include_usage":false,"x":1}}`,
			`{"model":"m/1","stream":true,"stream_options":{"include_usage":true,"x":1}}`,
			`{"model":"m/1"}`,
		},
		{
			"null stream options",
			`{"stream":false,"stream_options":null,"model":"a"}`,
			`{"stream":true,"stream_options":{"include_usage":true},"model":"m/1"}`,
			`{"model":"m/1"}`,
		},
		{
			"no model",
			`{}`,
			`{"model":"m/1","stream":true,"stream_options":{"include_usage":true}}`,
			`{"model":"m/1"}`,
		},
	} {
		t.Run(tc.name, func(t *testing.T) {
			preq := &provider.Request{Model: "m/1", Body: []byte(tc.in)}
			got, err := streamBody(preq)
			if err != nil || string(got) != tc.stream {
				t.Errorf("stream\n got %s, %v\nwant %s", got, err, tc.stream)
			}
			got, err = wholeBody(preq)
			if err != nil || string(got) != tc.whole {
				t.Errorf("whole\n got %s, %v\nwant %s", got, err, tc.whole)
			}
			if string(preq.Body) != tc.in {
				t.Errorf("the caller's body was changed: %s", preq.Body)
			}
		})
	}
}

// A name that some servers take for the model's must not carry another model
// past the gateway.
func TestRequestBodyOtherModel(t *testing.T) {
	for _, body := range []string{
		`{"mod\u0065l":"other"}`,
		`{"model":"a","Model":"other"}`,
		`{"MODEL":"other","messages":[]}`,
		`{"\u004dodel":"other"}`,
	} {
		got, err := wholeBody(&provider.Request{Model: "m", Body: []byte(body)})
		if err != nil || strings.Contains(string(got), "other") || gjson.GetBytes(got, "model").Str != "m" {
			t.Errorf("%s went upstream as %s, %v", body, got, err)
		}
	}
}

func TestRequest(t *testing.T) {
	replay := providertest.NewReplay(t)
	o := newOpenAI(t, upstream.Upstream{
		BaseURL: replay.URL + "/v1/",
		APIKey:  "own",
		Headers: http.Header{"X-Team": {"ops"}, "User-Agent": {"mine"}},
	})
	replay.Answer(200, http.Header{"Content-Type": {"text/event-stream"}}, []byte("data: {\"choices\":[{\"index\":0,\"delta\":{},\"finish_reason\":\"stop\"}]}\n\ndata: [DONE]\n\n"), providertest.Whole)
	s, err := o.Stream(t.Context(), &provider.Request{Model: "m", Body: []byte(`{}`), APIKey: "tenant's", TraceID: "t-1"})
	if err != nil {
		t.Fatal(err)
	}
	if c, err := s.Next(); err != nil || c.FinishReason != "stop" {
		t.Errorf("chunk %+v, %v", c, err)
	}
	if _, err := s.Next(); !errors.Is(err, io.EOF) {
		t.Errorf("ended with %v, want io.EOF", err)
	}
	s.Close()
	requests, _ := replay.Requests()
	req := requests[0]
	if req.Method != http.MethodPost || req.URL.Path != "/v1/chat/completions" {
		t.Errorf("%s %s", req.Method, req.URL.Path)
	}
	for name, want := range map[string]string{
		"Authorization":   "Bearer tenant's",
		"Content-Type":    "application/json",
		"Accept":          "text/event-stream",
		"Accept-Encoding": "identity",
		"X-Request-Id":    "t-1",
		"X-Team":          "ops",
		"User-Agent":      "mine",
	} {
		if got := req.Header.Get(name); got != want {
			t.Errorf("%s: %q, want %q", name, got, want)
		}
	}
}

func TestOddAnswers(t *testing.T) {
	const one = `data: {"choices":[{"index":0,"delta":{"content":"hi"},"finish_reason":"stop"}]}` + "\n\n"
	for _, tc := range []struct {
		name, typ, body string
		text            string
		is              error           // what Stream ends with
		reason          provider.Reason // where it is a *provider.Error
		fails           bool
	}{
		{name: "no content type", body: one, text: "hi"},
		{name: "text/plain", typ: "text/plain", body: ": c\n\n" + one, text: "hi"},
		{name: "not JSON is skipped", typ: "text/event-stream", body: "data: hello\n\ndata: [1]\n\ndata: {\"type\":\"ping\"}\n\n" + one, text: "hi"},
		{name: "end without a blank line", typ: "text/event-stream", body: strings.TrimSpace(one), text: "hi"},
		{name: "error after the finish", typ: "text/event-stream", body: one + `data: {"error":{"message":"x"}}` + "\n\n", text: "hi"},
		{name: "empty", typ: "text/event-stream", is: provider.ErrCut},
		{name: "cut in an event", typ: "text/event-stream", body: one[:40], is: provider.ErrCut},
		{name: "second choice unfinished", typ: "text/event-stream", body: `data: {"choices":[{"index":1,"delta":{"content":"x"}}]}` + "\n\n" + one, text: "hi", is: provider.ErrCut},
		{name: "html", typ: "text/html", body: "<html>", fails: true, reason: provider.ReasonBadAnswer},
		{name: "nothing", typ: "application/json", fails: true, reason: provider.ReasonBadAnswer},
		{name: "JSON of another kind", typ: "application/json", body: `{"ok":true}`, fails: true, reason: provider.ReasonBadAnswer},
		{name: "error with status 200", typ: "application/json", body: `{"error":{"message":"slow down","code":429}}`, fails: true, reason: provider.ReasonRateLimited},
		{name: "error in place of events", typ: "text/event-stream", body: ` {"error":{"message":"boom"}}`, fails: true, reason: provider.ReasonUnavailable},
		{name: "error of a choice", typ: "text/event-stream", body: `data: {"choices":[{"index":0,"delta":{"content":""},"finish_reason":"error"}],"error":{"code":"server_error","message":"gone"}}` + "\n\n", fails: true, reason: provider.ReasonUnavailable},
		{name: "brackets", typ: "application/json", body: strings.Repeat("[", 1<<20), fails: true, reason: provider.ReasonBadAnswer},
		{name: "long event", typ: "text/event-stream", body: "data: " + strings.Repeat("x", upstream.MaxEvent+1), fails: true, reason: provider.ReasonBadAnswer},
	} {
		t.Run(tc.name, func(t *testing.T) {
			replay := providertest.NewReplay(t)
			replay.Answer(200, http.Header{"Content-Type": {tc.typ}}, []byte(tc.body), providertest.Whole)
			a := providertest.Stream(t.Context(), t, newProvider(t, replay.URL))
			if a.Text != tc.text {
				t.Errorf("text %q, want %q", a.Text, tc.text)
			}
			perr, failed := errors.AsType[*provider.Error](a.Err)
			if failed != tc.fails || failed && perr.Reason != tc.reason {
				t.Errorf("failed with %v, want reason %d", a.Err, tc.reason)
			}
			if !tc.fails && !errors.Is(a.Err, tc.is) {
				t.Errorf("ended with %v, want %v", a.Err, tc.is)
			}
		})
	}
}

func TestDefaultModel(t *testing.T) {
	for base, want := range map[string]string{
		"":                            "gpt-4o-mini",
		"https://api.openai.com/v1/":  "gpt-4o-mini",
		"http://127.0.0.1:11434/v1":   "",
		"https://api.openai.com.evil": "",
	} {
		if got := newOpenAI(t, upstream.Upstream{BaseURL: base}).DefaultModel(); got != want {
			t.Errorf("%q: %q, want %q", base, got, want)
		}
	}
}

func TestCaddyfile(t *testing.T) {
	providertest.Caddyfile[OpenAI](t, []providertest.Block{
		{
			Name: "everything",
			In: `openai {
				base_url http://127.0.0.1:1/v1
				api_key {env.KEY}
				header X-Team ops
				header X-Team dev
				transport http {
					dial_timeout 2s
				}
			}`,
			Want: `{"base_url":"http://127.0.0.1:1/v1","api_key":"{env.KEY}","headers":{"X-Team":["ops","dev"]},"transport":{"dial_timeout":2000000000,"protocol":"http"}}`,
		},
		{Name: "nothing", In: `openai`, Want: `{}`},
		{Name: "azure", In: "openai {\n azure\n base_url https://x.openai.azure.com\n}", Want: `{"base_url":"https://x.openai.azure.com","azure":{}}`},
		{Name: "azure's version", In: "openai {\n azure 2025-04-01-preview\n base_url {env.AZURE}\n}", Want: `{"base_url":"{env.AZURE}","azure":{"api_version":"2025-04-01-preview"}}`},
		{Name: "azure's version misspelt", In: "openai {\n azure v1\n}", Err: `azure: "v1": want an API version such as 2024-10-21, or none for the v1 API, at Testfile:2`},
		{Name: "responses", In: "openai {\n responses on\n base_url http://a.test/v1\n}", Want: `{"base_url":"http://a.test/v1","responses":true}`},
		{Name: "responses off", In: "openai {\n responses off\n}", Want: `{"responses":false}`},
		{Name: "responses misspelt", In: "openai {\n responses yes\n}", Err: `responses: "yes": want on or off, at Testfile:2`},
		{Name: "responses of an old Azure", In: "openai {\n azure 2024-10-21\n responses on\n base_url https://x.openai.azure.com\n}", Err: "responses: only in Azure's v1 API: want azure without a version, at Testfile:1"},
		{Name: "azure twice", In: "openai {\n azure\n azure\n}", Err: "azure is given twice"},
		{Name: "two versions of azure", In: "openai {\n azure 2024-10-21 2024-10-21\n}", Err: "wrong argument count"},
		{Name: "unknown", In: "openai {\n key x\n}", Err: "unrecognized subdirective 'key': want azure, responses, base_url"},
		{Name: "argument", In: "openai x", Err: "wrong argument count"},
		{Name: "twice", In: "openai {\n api_key a\n api_key b\n}", Err: "api_key is given twice"},
		{Name: "no transport of that name", In: "openai {\n transport x\n}", Err: "http.reverse_proxy.transport.x"},
	})
}

// TestFinishIsTheEnd has streams that do not end once every choice has.
func TestFinishIsTheEnd(t *testing.T) {
	for name, tc := range map[string]struct {
		events string
		want   error
	}{
		"of_all_choices": {`data: {"choices":[{"index":0,"delta":{},"finish_reason":"stop"},{"index":1,"delta":{},"finish_reason":"stop"}]}`, io.EOF},
		"of_one":         {`data: {"choices":[{"index":0,"delta":{},"finish_reason":"stop"},{"index":1,"delta":{}}]}`, context.Canceled},
	} {
		t.Run(name, func(t *testing.T) {
			ctx, cancel := context.WithCancel(t.Context())
			r, w := io.Pipe()
			s := newStream(ctx, r)
			go io.WriteString(w, tc.events+"\n\n")
			if _, err := s.Next(); err != nil {
				t.Fatal(err)
			}
			cancel()
			w.CloseWithError(ctx.Err())
			if _, err := s.Next(); !errors.Is(err, tc.want) {
				t.Errorf("ended with %v, want %v", err, tc.want)
			}
		})
	}
}
