// Package passthrough tests the APIs whose answers pass through.
package passthrough

import (
	"bytes"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/caddy-chat/caddy-chat/integration/harness"
)

// tenants have an allow list, and a budget that is smaller than any call.
const tenants = `
	chat {
		tenant acme {
			models fast
		}
		tenant globex
		tenant poor {
			budget 20 tokens/day
		}
	}
`

func TestPasses(t *testing.T) {
	const completion = `{ "choices":[{"text":"Hi"}],"usage":{"prompt_tokens":3,"completion_tokens":4},"odd":1.50}`
	const events = "data: {\"choices\":[{\"text\":\"Hi\"}]}\n\ndata: [DONE]\n\n"
	image := `{"data":[{"b64_json":"` + strings.Repeat("A", 5<<20) + `"}],"usage":{"input_tokens":5,"output_tokens":60}}`
	up := harness.NewUpstream(t, harness.Document(200, "{}"))
	c := harness.Start(t, tenants, harness.GatewaySite(up))
	for _, tc := range []struct{ path, typ, answer string }{
		{"/v1/completions", "application/json", completion},
		{"/v1/completions", "text/event-stream", events},
		{"/v1/moderations", "application/json", `{"results":[{"flagged":false}]}`},
		{"/v1/rerank", "application/json", `{"results":[],"usage":{"total_tokens":9}}`},
		{"/v1/images/generations", "application/json", image},
		{"/v1/audio/speech", "audio/mpeg", "\x00\xff\xfbsound"},
	} {
		t.Run(tc.path+" "+tc.typ, func(t *testing.T) {
			up.Plays(harness.Document(200, tc.answer, "Content-Type", tc.typ))
			resp := harness.NewClient(c, "globex", "ann").Do(http.MethodPost, tc.path, `{ "input":"a","model":"fast","x":1.50}`)
			if got := harness.ReadAll(t, resp); resp.StatusCode != http.StatusOK || got != tc.answer || resp.Header.Get("Content-Type") != tc.typ {
				t.Errorf("%d, %v, %.300q", resp.StatusCode, resp.Header, got)
			}
			harness.WantHeader(t, resp.Header, map[string]string{"X-Model-Id": "fast", "X-Ai-Provider": "openai", "X-Ai-Attempts": "1"})
			if got := up.Last(); got.Path != tc.path || got.Body != `{ "input":"a","model":"up-fast","x":1.50}` {
				t.Errorf("%s was sent %s", got.Path, got.Body)
			}
		})
	}
	c.WantMetrics(map[string]float64{
		`caddy_ai_tokens_total{model="fast",provider="openai",tenant="globex",type="output"}`: 4 + 1 + 60 + 1000,
	})
}

// TestModerationsWithoutModel lets the provider choose one: the default model, by which it is
// found, is for chats.
func TestModerationsWithoutModel(t *testing.T) {
	up := harness.NewUpstream(t, harness.Document(200, `{"results":[{"flagged":false}]}`))
	for name, tc := range map[string]struct {
		tenant, options, body, sent string
		status                      int
	}{
		"the provider's own":    {"globex", "", `{ "input":"a"}`, `{ "input":"a"}`, 200},
		"null":                  {"globex", "", `{"model":null,"input":"a"}`, `{"model":null,"input":"a"}`, 200},
		"another spelling":      {"globex", "", `{"Model":"x","input":"a"}`, `{"input":"a"}`, 200},
		"one that is named":     {"globex", "", `{"model":"smart","input":"a"}`, `{"model":"up-smart","input":"a"}`, 200},
		"the route's":           {"globex", "model_override smart", `{"input":"a"}`, `{"input":"a","model":"up-smart"}`, 200},
		"of an allowed model":   {"acme", "", `{"input":"a"}`, `{"input":"a"}`, 200},
		"a route that is not":   {"acme", "model_override smart", `{"input":"a"}`, "", 403},
		"a default that is not": {"acme", "default_model smart", `{"input":"a"}`, "", 403},
	} {
		t.Run(name, func(t *testing.T) {
			c, before := harness.Start(t, tenants, harness.GatewaySite(up, tc.options)), up.Count()
			resp := harness.NewClient(c, tc.tenant, "ann").Do(http.MethodPost, "/v1/moderations", tc.body)
			text := harness.ReadAll(t, resp)
			switch {
			case resp.StatusCode != tc.status:
				t.Errorf("%d %s", resp.StatusCode, text)
			case tc.status == 200 && up.Last().Body != tc.sent:
				t.Errorf("the provider got %s, want %s", up.Last().Body, tc.sent)
			case tc.status != 200 && up.Count() != before:
				t.Errorf("the provider was asked")
			}
		})
	}
}

func TestRefused(t *testing.T) {
	up := harness.NewUpstream(t, harness.Refuses(422, "bad_voice"))
	c := harness.Start(t, tenants, harness.GatewaySite(up))
	body := func(model string) string {
		return `{"input":"a long enough text for the budget","model":"` + model + `","pad":"` + strings.Repeat("x", 100) + `"}`
	}
	for _, tc := range []struct {
		name, tenant, method, path, body, typ string
		status                                int
		code                                  string
	}{
		{"the provider's reason", "globex", "POST", "/v1/audio/speech", body("fast"), "application/json", 400, "bad_voice"},
		{"a model outside the list", "acme", "POST", "/v1/audio/speech", body("smart"), "application/json", 403, "model_not_allowed"},
		{"an unknown model", "globex", "POST", "/v1/rerank", body("other"), "application/json", 404, "model_unknown"},
		{"a budget that is too small", "poor", "POST", "/v1/completions", body("fast"), "application/json", 429, "budget_exceeded"},
		{"another method", "globex", "GET", "/v1/moderations", "", "", 405, "method_not_allowed"},
		{"another content type", "globex", "POST", "/v1/images/generations", body("fast"), "text/plain", 415, "unsupported_media_type"},
		{"an unknown path", "globex", "POST", "/v1/images/other", body("fast"), "application/json", 404, "not_found"},
		{"an unknown tenant", "other", "POST", "/v1/completions", body("fast"), "application/json", 404, "tenant_unknown"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			resp := harness.NewClient(c, tc.tenant, "ann").Do(tc.method, tc.path, tc.body, "Content-Type", tc.typ)
			harness.WantFailure(t, resp, tc.status, tc.code)
		})
	}
	if n := up.Count(); n != 1 {
		t.Errorf("the provider was asked %d times", n)
	}
}

func TestFailover(t *testing.T) {
	one := harness.NewTarget(t, "one", harness.Document(200, "data: {\"error\":{\"message\":\"key sk-secret\"}}\n\n", "Content-Type", "text/event-stream"),
		harness.Document(200, `{"error":{"message":"busy","code":500}}`), harness.Document(200, ""),
		harness.Document(200, `{"error":{"message":"key sk-secret `+strings.Repeat("x", 50_000)+`"}}`),
		harness.Document(200, `{"error":"sk-secret `+strings.Repeat("x", 50_000)+`"}`), harness.Document(200, `{"detail":"sk-secret `+strings.Repeat("x", 50_000)+`"}`),
		harness.Document(200, `{"title":"x","detail":"sk-secret"}`, "Content-Type", "application/problem+json"),
		harness.Document(200, `{"error":{"message":"sk-secret"}}`, "Content-Type", "text/plain"),
		harness.Document(200, "event: error\ndata: sk-secret\n\n", "Content-Type", "text/event-stream"),
		harness.Refuses(500, "x"), harness.Steps(harness.Heads("Content-Length", "50"), harness.Document(200, `{"results":[`), harness.TornOff))
	two := harness.NewTarget(t, "two", harness.Document(200, `{"results":[]}`))
	c := harness.Start(t, tenants, failoverSite(one, two))
	for range 11 {
		resp := harness.NewClient(c, "globex", "ann").Do(http.MethodPost, "/v1/rerank", `{"query":"a","documents":[]}`)
		if got := harness.ReadAll(t, resp); resp.StatusCode != http.StatusOK || got != `{"results":[]}` || resp.Header.Get("X-Ai-Fallback") != "true" {
			t.Errorf("%d, %v, %s", resp.StatusCode, resp.Header, got)
		}
	}
}

// failoverSite has a model with two targets.
func failoverSite(one, two *harness.Upstream) string {
	return `
		tenant_resolve
		ai_gateway {
			provider one openai {
				base_url ` + one.URL + `
			}
			provider two openai {
				base_url ` + two.URL + `
			}
			model fast {
				to one/a
				to two/b
			}
			retries 0
			circuit_breaker off
		}
	`
}

// TestLateFailure has a long document tell a failure where it has already begun to pass. It is
// broken off, so that it looks like none.
func TestLateFailure(t *testing.T) {
	up := harness.NewUpstream(t)
	c := harness.Start(t, tenants, harness.GatewaySite(up))
	pad := `"pad":"` + strings.Repeat("x", 200<<10) + `"`
	for name, tc := range map[string]struct {
		pieces []string
		ok     bool
	}{
		"an error":           {[]string{"{" + pad + `,"error":{"message":"sk-secret"}}`}, false},
		"a text":             {[]string{"{" + pad + `,"error":"sk-secret"}`}, false},
		"in two pieces":      {[]string{"{" + pad + `,"err`, `or":{"message":"sk-secret"}}`}, false},
		"within its value":   {[]string{"{" + pad + `,"error" : `, `{"message":"sk-secret"}}`}, false},
		"null":               {[]string{"{" + pad + `,"error":`, `null}`}, true},
		"none":               {[]string{"{" + pad + `,"error":{}}`}, true},
		"of an element":      {[]string{"{" + pad + `,"results":[{"error":{"message":"x"}}]}`}, true},
		"what a text quotes": {[]string{`{"text":"\"error\":{\"x\":1}` + strings.Repeat("x", 200<<10) + `"}`}, true},
	} {
		t.Run(name, func(t *testing.T) {
			up.For(t).Plays(harness.Steps(harness.Heads("Content-Type", "application/json"), func(c *harness.Call) { c.Send(tc.pieces...) }))
			resp := harness.NewClient(c, "globex", "ann").Do(http.MethodPost, "/v1/rerank", `{"model":"fast","query":"a","documents":[]}`)
			got, err := io.ReadAll(resp.Body)
			resp.Body.Close()
			if (err == nil) != tc.ok || strings.Contains(string(got), "sk-secret") {
				t.Errorf("%d, %v, ends with %q", resp.StatusCode, err, got[max(0, len(got)-60):])
			}
		})
	}
}

// TestNoAnswer has servers say with status 200 what is no answer. Another target is asked, and
// nothing of it comes out.
func TestNoAnswer(t *testing.T) {
	const (
		html, text, object, sound = "text/html; charset=utf-8", "text/plain", "application/json", "audio/mpeg"

		page = "<!DOCTYPE html><title>sk-secret</title>"
		said = "Error: sk-secret"
	)
	fault, failure := `{"fault":{"faultstring":"sk-secret"}}`, `{"error":{"message":"sk-secret"}}`
	one, two := harness.NewTarget(t, "one"), harness.NewTarget(t, "two")
	c := harness.Start(t, tenants, failoverSite(one, two))
	globex := harness.NewClient(c, "globex", "ann")
	documents := map[string]string{html: page, text: said, object: fault, "application/octet-stream": failure, sound: failure}
	pathOf := map[string]string{
		"/v1/completions":        `{"choices":[{"text":"Hi","finish_reason":"stop"}]}`,
		"/v1/moderations":        `{"results":[{"flagged":false}]}`,
		"/v1/rerank":             `{"results":[]}`,
		"/v1/images/generations": `{"data":[{"url":"u"}]}`,
		"/v1/audio/speech":       "\xff\xfbsound",
	}
	for path, good := range pathOf {
		typ := object
		if path == "/v1/audio/speech" {
			typ = sound
		}
		two.For(t).Plays(harness.Document(200, good, "Content-Type", typ))
		check := func(typ, answer string) {
			t.Helper()
			one.Plays(harness.Document(200, answer, "Content-Type", typ))
			resp := globex.Do(http.MethodPost, path, `{"model":"fast","input":"a"}`)
			if got := harness.ReadAll(t, resp); resp.StatusCode != http.StatusOK || got != good || resp.Header.Get("X-Ai-Fallback") != "true" {
				t.Errorf("%s, %s, %.60q: %d, %v, %.300q", path, typ, answer, resp.StatusCode, resp.Header, got)
			}
		}
		for typ, answer := range documents {
			check(typ, answer)
		}
		check(object, `"`+said+`"`)
		check(object, `[{"fault":"sk-secret"}]`)
		check(object, `{"data":null,"choices":[],"results":"sk-secret"}`)
		check(sound, fault)
		check(sound, "\n"+page)
		check(object, `{"error":"sk-secret `+strings.Repeat("x", 50_000)+`"}`)
	}
	check := func(typ, answer string) {
		t.Helper()
		one.Plays(harness.Document(200, answer, "Content-Type", typ))
		two.Plays(harness.Document(200, "Hi", "Content-Type", text))
		contentType, form := aForm("model", "fast")
		resp := globex.Do(http.MethodPost, "/v1/audio/transcriptions", bytes.NewReader(form), "Content-Type", contentType)
		if got := harness.ReadAll(t, resp); resp.StatusCode != http.StatusOK || got != "Hi" {
			t.Errorf("a transcript, %s, %.60q: %d, %.300q", typ, answer, resp.StatusCode, got)
		}
	}
	check(html, page)
	check(text, page)
	check(text, fault)
	check(object, fault)
	check("application/octet-stream", failure)
}

// TestUnusualAnswers has servers name the type of an answer wrongly, and answers that look
// like something else at first.
func TestUnusualAnswers(t *testing.T) {
	up := harness.NewUpstream(t)
	c := harness.Start(t, tenants, harness.GatewaySite(up))
	for _, tc := range []struct{ path, typ, answer, sent string }{
		{"/v1/completions", "text/plain", `{"choices":[{"text":"Hi"}]}`, "application/json"},
		{"/v1/rerank", "application/octet-stream", `[{"index":0,"score":0.5}]`, "application/json"},
		{"/v1/rerank", "application/json", `{"data":[{"index":0}]}`, "application/json"},
		{"/v1/audio/speech", "audio/pcm", "{\x00\x01" + strings.Repeat("\x02{", 40_000), "audio/pcm"},
		{"/v1/audio/speech", "audio/pcm", "<\x00", "audio/pcm"},
	} {
		up.Plays(harness.Document(200, tc.answer, "Content-Type", tc.typ))
		resp := harness.NewClient(c, "globex", "ann").Do(http.MethodPost, tc.path, `{"model":"fast","input":"a"}`)
		if got := harness.ReadAll(t, resp); resp.StatusCode != http.StatusOK || got != tc.answer || resp.Header.Get("Content-Type") != tc.sent {
			t.Errorf("%s, %s: %d, %v, %.300q", tc.path, tc.typ, resp.StatusCode, resp.Header, got)
		}
	}
}

// TestNoUsage has images whose usage says nothing of their tokens. They are estimated.
func TestNoUsage(t *testing.T) {
	up := harness.NewUpstream(t)
	c := harness.Start(t, tenants, harness.GatewaySite(up))
	usages := []string{
		`null`, `{}`, `{"input_tokens":0,"output_tokens":0,"total_tokens":0}`, `{"input_tokens":-5,"output_tokens":-7}`,
		`{"prompt_tokens":0,"completion_tokens":0}`, `{"input_tokens":9,"output_tokens":0}`, `{"total_tokens":0}`,
		`{"input_tokens":1e300,"output_tokens":9223372036854775807}`,
	}
	for _, usage := range usages {
		up.Plays(harness.Document(200, `{"data":[{"b64_json":"QUJD"},{"b64_json":"QUJD"}],"usage":`+usage+`}`))
		globex := harness.NewClient(c, "globex", "ann")
		harness.ReadAll(t, globex.Do(http.MethodPost, "/v1/images/generations", `{"model":"fast","prompt":"hi","n":2}`))
		up.Plays(harness.Document(200, "data: {\"type\":\"image_generation.completed\",\"b64_json\":\"QUJD\",\"usage\":"+usage+"}\n\n", "Content-Type", "text/event-stream"))
		harness.ReadAll(t, globex.Do(http.MethodPost, "/v1/images/generations", `{"model":"fast","prompt":"hi","stream":true}`))
	}
	c.WantMetrics(map[string]float64{
		`caddy_ai_tokens_total{model="fast",provider="openai",tenant="globex",type="output"}`: float64(len(usages)) * (2000 + 1000),
	})
}

// TestMediaTypes has a server write a Content-Type as it likes, and add words of its own.
func TestMediaTypes(t *testing.T) {
	up := harness.NewUpstream(t)
	c := harness.Start(t, tenants, harness.GatewaySite(up))
	const events = "data: {\"choices\":[{\"text\":\"Hi\"}]}\n\ndata: {\"error\":{\"message\":\"sk-secret\"}}\n\n"
	for _, typ := range []string{"Text/Event-Stream; charset=utf-8", "TEXT/EVENT-STREAM", "text/event-stream; charset=utf-8; charset=utf-16"} {
		up.Plays(harness.Document(200, events, "Content-Type", typ))
		resp := harness.NewClient(c, "globex", "ann").Do(http.MethodPost, "/v1/completions", `{"model":"fast","prompt":"hi","stream":true}`)
		got := harness.ReadAll(t, resp)
		if strings.Contains(got, "sk-secret") || strings.Count(got, `"code":"ai_error"`) != 1 || !strings.HasPrefix(resp.Header.Get("Content-Type"), "text/event-stream") {
			t.Errorf("%s: %v, %q", typ, resp.Header, got)
		}
	}
	up.Plays(harness.Document(200, "\xff\xfbsound", "Content-Type", "Audio/MPEG; key=sk-secret"))
	resp := harness.NewClient(c, "globex", "ann").Do(http.MethodPost, "/v1/audio/speech", `{"model":"fast","input":"hi"}`)
	if got := harness.ReadAll(t, resp); got != "\xff\xfbsound" || resp.Header.Get("Content-Type") != "audio/mpeg" {
		t.Errorf("%v, %q", resp.Header, got)
	}
}

// TestFailedEvent has a stream tell a failure in its middle, at once and in pieces. What the
// provider says of it does not come out.
func TestFailedEvent(t *testing.T) {
	up := harness.NewUpstream(t)
	c := harness.Start(t, tenants, harness.GatewaySite(up))
	const first, failure = "data: {\"choices\":[{\"text\":\"Hi\"}]}\n\n", "event: error\ndata: {\"type\":\"error\",\"error\":{\"message\":\"key sk-secret of org-1\"}}\n\n"
	const secret = "key sk-secret of org-1"
	for name, pieces := range map[string][]string{
		"a bare message":    {first, "event: error\ndata: {\"message\":\"" + secret + "\"}\n\n"},
		"plain text":        {first, "event: error\ndata: " + secret + "\n\n"},
		"two lines":         {first, "data: {\"error\":\ndata: {\"message\":\"" + secret + "\"}}\n\n"},
		"a detail":          {first, "data: {\"detail\":\"" + secret + "\"}\n\n"},
		"in a choice":       {first, "data: {\"choices\":[{\"text\":\"\",\"error\":{\"message\":\"" + secret + "\"}}]}\n\n"},
		"in a response":     {first, "data: {\"type\":\"x.failed\",\"response\":{\"error\":{\"message\":\"" + secret + "\"}}}\n\n"},
		"one piece":         {first + failure},
		"two":               {first, failure},
		"many":              strings.Split(first+failure, "e"),
		"carriage returns":  {strings.ReplaceAll(first+failure, "\n", "\r")},
		"without an end":    {first, strings.TrimRight(failure, "\n")},
		"behind a long one": {first, "data: {\"b64_json\":\"", strings.Repeat("A", 300_000), "\"}\n\n", failure},
	} {
		t.Run(name, func(t *testing.T) {
			up.Plays(harness.Steps(harness.Heads("Content-Type", "text/event-stream"), func(c *harness.Call) {
				for i, piece := range pieces {
					if name == "many" && i > 0 {
						piece = "e" + piece
					}
					c.Send(piece)
				}
			}))
			resp := harness.NewClient(c, "globex", "ann").Do(http.MethodPost, "/v1/completions", `{"model":"fast","stream":true}`)
			got := harness.ReadAll(t, resp)
			if !strings.Contains(got, `"text":"Hi"`) || strings.Contains(got, "sk-secret") || strings.Count(got, `"code":"ai_error"`) != 1 || !strings.HasSuffix(got, "\n\n") {
				t.Errorf("the stream is %.1000q", got)
			}
			if name == "behind a long one" && !strings.Contains(got, strings.Repeat("A", 300_000)) {
				t.Errorf("the long event has %d bytes", len(got))
			}
		})
	}
}

// TestCut has answers that break off in the middle.
func TestCut(t *testing.T) {
	up := harness.NewUpstream(t)
	c := harness.Start(t, tenants, harness.GatewaySite(up))
	for name, typ := range map[string]string{"sound": "audio/mpeg", "events": "text/event-stream", "sound like a document": "audio/pcm"} {
		t.Run(name, func(t *testing.T) {
			first := "data: first\n\n"
			if typ == "audio/pcm" {
				first = "{\x00" + strings.Repeat("\x01", 50_000)
			}
			up.Plays(harness.Steps(harness.Heads("Content-Type", typ), func(c *harness.Call) { c.Send(first) }, harness.TornOff))
			resp := harness.NewClient(c, "globex", "ann").Do(http.MethodPost, "/v1/audio/speech", `{"model":"fast"}`)
			defer resp.Body.Close()
			if got, err := io.ReadAll(resp.Body); err == nil {
				t.Errorf("the answer looks complete: %q", got)
			}
		})
	}
}
