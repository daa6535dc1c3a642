package gateway

import (
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/tidwall/gjson"

	"github.com/caddy-chat/caddy-chat/integration/harness"
)

// TestMessages asks a provider of chat completions through Anthropic's API.
func TestMessages(t *testing.T) {
	up := harness.NewUpstream(t, harness.Echoes)
	c := harness.Start(t, harness.GatewayTenants, harness.GatewaySite(up))
	cl := harness.NewClient(c, "globex", "ann")
	body := map[string]any{"model": "fast", "max_tokens": 100, "messages": []any{map[string]any{"role": "user", "content": "hi"}}}

	got := gjson.Parse(harness.ReadAll(t, cl.Do(http.MethodPost, "/v1/messages", body)))
	if got.Get("type").Str != "message" || got.Get("content.0.text").Str != "re: hi" || got.Get("stop_reason").Str != "end_turn" {
		t.Errorf("the document is %s", got.Raw)
	}

	body["stream"] = true
	events := harness.ReadAll(t, cl.Do(http.MethodPost, "/v1/messages", body))
	for _, want := range []string{"event: message_start\n", `"text":"re: hi"`, "event: message_delta\n", "event: message_stop\n"} {
		if !strings.Contains(events, want) {
			t.Errorf("no %q in the stream:\n%s", want, events)
		}
	}
	if strings.Contains(events, "[DONE]") || strings.Contains(events, "chat.completion.chunk") {
		t.Errorf("OpenAI's events in the stream:\n%s", events)
	}
}

// TestMessagesWithoutEffort has a model that knows no reasoning_effort, which coding
// agents send to any.
func TestMessagesWithoutEffort(t *testing.T) {
	refuses := harness.Document(http.StatusBadRequest, `{"error":{"message":"Unrecognized request argument supplied: reasoning_effort","type":"invalid_request_error"}}`)
	up := harness.NewUpstream(t, refuses, harness.Echoes)
	c := harness.Start(t, harness.GatewayTenants, harness.GatewaySite(up))
	cl := harness.NewClient(c, "globex", "ann")
	body := map[string]any{
		"model": "fast", "max_tokens": 100, "messages": []any{map[string]any{"role": "user", "content": "hi"}},
		"thinking": map[string]any{"type": "adaptive"}, "output_config": map[string]any{"effort": "high"},
	}
	for range 2 {
		if got := gjson.Parse(harness.ReadAll(t, cl.Do(http.MethodPost, "/v1/messages", body))); got.Get("content.0.text").Str != "re: hi" {
			t.Errorf("the document is %s", got.Raw)
		}
	}
	if n := up.Count(); n != 3 {
		t.Errorf("%d calls, want 3: the refusal is remembered", n)
	}
	if last := up.Last(); last.Get("reasoning_effort").Exists() || last.Get("thinking").Exists() {
		t.Errorf("the server was sent %s", last.Body)
	}
}

// said is a request of Anthropic's API.
func said(text string) map[string]any {
	return map[string]any{"model": "fast", "max_tokens": 100, "messages": []any{map[string]any{"role": "user", "content": text}}}
}

// TestMessagesHeaders looks for the headers and the status that Anthropic's clients know.
func TestMessagesHeaders(t *testing.T) {
	up := harness.NewUpstream(t, harness.Echoes)
	c := harness.Start(t, harness.PlainTenants, `
		tenant_resolve
		chat_ratelimit {
			requests 5 1h
			tokens 100000 1h
		}
		ai_gateway {
			provider openai {
				base_url `+up.Origin()+`/v1
			}
			model fast {
				to openai/up
			}
			retries 0
			circuit_breaker 1 1h
		}`)
	cl := harness.NewClient(c, "acme", "ann")
	resp := cl.Do(http.MethodPost, "/v1/messages", said("hi"), "X-Trace-Id", "trace-1")
	harness.ReadAll(t, resp)
	harness.WantHeader(t, resp.Header, map[string]string{
		"Request-Id": "trace-1", "X-Request-Id": "", "X-Ratelimit-Limit-Requests": "", "X-Ratelimit-Reset-Tokens": "",
		"Anthropic-Ratelimit-Requests-Limit": "5", "Anthropic-Ratelimit-Requests-Remaining": "4",
		"Anthropic-Ratelimit-Tokens-Limit": "100000", "Anthropic-Ratelimit-Tokens-Remaining": "#", "Anthropic-Ratelimit-Tokens-Reset": "*",
	})
	if at, err := time.Parse(time.RFC3339, resp.Header.Get("Anthropic-Ratelimit-Requests-Reset")); err != nil || time.Until(at) > time.Hour+time.Second {
		t.Errorf("the limit is free at %v, %v", at, err)
	}

	up.Plays(harness.Refuses(http.StatusInternalServerError, "x"))
	for _, want := range []struct {
		status int
		typ    string
	}{{http.StatusBadGateway, "api_error"}, {529, "overloaded_error"}} {
		resp := cl.Do(http.MethodPost, "/v1/messages", said("hi"), "X-Trace-Id", "trace-2")
		got := gjson.Parse(harness.ReadAll(t, resp))
		if resp.StatusCode != want.status || got.Get("type").Str != "error" || got.Get("error.type").Str != want.typ || got.Get("request_id").Str != "trace-2" {
			t.Errorf("%d %s, want %d %s", resp.StatusCode, got.Raw, want.status, want.typ)
		}
		harness.WantHeader(t, resp.Header, map[string]string{"Request-Id": "trace-2"})
	}
	if resp := cl.Do(http.MethodPost, "/v1/chat/completions", harness.UserSays("hi")); resp.StatusCode != http.StatusServiceUnavailable {
		t.Errorf("OpenAI's clients get %d", resp.StatusCode)
	}
}

// TestDoubledV1 has clients whose base URL ends with the /v1 that they add themselves.
func TestDoubledV1(t *testing.T) {
	t.Parallel()
	up := harness.NewUpstream(t)
	cl := harness.NewClient(harness.Start(t, harness.GatewayTenants, "tenant_resolve\n"+up.Gateway()), "globex", "ann")
	for _, path := range []string{"/v1/v1/messages", "/v1/v1/messages/count_tokens", "/v1/v1/models"} {
		resp := cl.Do(http.MethodPost, path, said("hi"), "Anthropic-Version", "2023-06-01")
		if got := gjson.Parse(harness.ReadAll(t, resp)); resp.StatusCode != http.StatusNotFound || got.Get("type").Str != "error" || got.Get("error.type").Str != "not_found_error" {
			t.Errorf("%s: %d %s", path, resp.StatusCode, got.Raw)
		}
		harness.WantFailure(t, cl.Do(http.MethodPost, path, said("hi")), http.StatusNotFound, "not_found")
	}
}

// TestMessagesPing has an upstream that is silent within an answer.
func TestMessagesPing(t *testing.T) {
	for name, options := range map[string]string{"alone": "", "cached": "\ncache 1m"} {
		t.Run(name, func(t *testing.T) { pings(t, options) })
	}
}

func pings(t *testing.T, options string) {
	t.Parallel()
	up := harness.NewUpstream(t)
	c := harness.Start(t, harness.GatewayTenants, "tenant_resolve\n"+strings.Replace(up.Gateway(), "retries 0", "retries 0\nkeep_alive 20ms"+options, 1))
	body := said("hi")
	body["stream"] = true
	cl := harness.NewClient(c, "globex", "ann")
	a := cl.Start(cl.Request(http.MethodPost, "/v1/messages", body))
	call := up.Call()
	call.Say("one")
	resp := a.Answer()
	defer resp.Body.Close()
	text := ""
	for strings.Count(text, "event: ping\ndata: {\"type\": \"ping\"}\n\n") < 2 {
		buf := make([]byte, 1)
		if _, err := io.ReadFull(resp.Body, buf); err != nil {
			t.Fatalf("after %q: %v", text, err)
		}
		text += string(buf)
	}
	call.Say(" two")
	call.Finish("stop")
	rest := harness.ReadAll(t, resp)
	_, begun, _ := strings.Cut(text+rest, "message_start")
	if text += rest; strings.Contains(begun, ": keep-alive") || !strings.Contains(rest, `"text":" two"`) || !strings.HasSuffix(text, "event: message_stop\ndata: {\"type\":\"message_stop\"}\n\n") {
		t.Errorf("got %q", text)
	}
}

// TestBetasAreApart sends one body under two betas, with the cache on and with a key.
func TestBetasAreApart(t *testing.T) {
	t.Parallel()
	up := harness.NewUpstream(t, harness.Echoes)
	c := harness.Start(t, harness.GatewayTenants, "tenant_resolve\n"+strings.Replace(up.Gateway(), "retries 0", "retries 0\ncache 1m", 1))
	cl := harness.NewClient(c, "globex", "ann")
	for i, beta := range []string{"one", "two", "one"} {
		resp := cl.Do(http.MethodPost, "/v1/messages", said("hi"), "Anthropic-Beta", beta)
		if harness.ReadAll(t, resp); resp.StatusCode != http.StatusOK || up.Count() != min(i+1, 2) {
			t.Errorf("%s: %d, after %d calls", beta, resp.StatusCode, up.Count())
		}
	}
	for beta, status := range map[string]int{"one": http.StatusOK, "two": http.StatusUnprocessableEntity} {
		harness.ReadAll(t, cl.Do(http.MethodPost, "/v1/messages", said("ho"), "Idempotency-Key", "k", "Anthropic-Beta", "one"))
		if resp := cl.Do(http.MethodPost, "/v1/messages", said("ho"), "Idempotency-Key", "k", "Anthropic-Beta", beta); resp.StatusCode != status {
			t.Errorf("%s under the key of another: %d", beta, resp.StatusCode)
		}
	}
}

// TestLongRefusal has a provider refuse a request that is too long for it, at length: the
// next target is asked.
func TestLongRefusal(t *testing.T) {
	t.Parallel()
	one := harness.NewTarget(t, "one", harness.Document(400, `{"error":{"message":"`+strings.Repeat("x", 200_000)+`","code":"context_length_exceeded"}}`))
	two := harness.NewTarget(t, "two", harness.Echoes)
	c := harness.Start(t, harness.GatewayTenants, "tenant_resolve\nai_gateway {\n"+
		"provider one openai {\nbase_url "+one.URL+"\n}\nprovider two openai {\nbase_url "+two.URL+"\n}\nmodel fast {\nto one/a\nto two/b\n}\n}\n")
	resp := harness.NewClient(c, "globex", "ann").Do(http.MethodPost, "/v1/messages", said("hi"))
	if text := harness.ReadAll(t, resp); resp.StatusCode != http.StatusOK || resp.Header.Get("X-Ai-Fallback") != "true" {
		t.Errorf("%d %s", resp.StatusCode, text)
	}
}

// TestMessagesTooLong has servers that refuse a request as too long, in words of their own.
// Coding agents shorten it if they are told in Anthropic's.
func TestMessagesTooLong(t *testing.T) {
	t.Parallel()
	up := harness.NewUpstream(t)
	c := harness.Start(t, harness.GatewayTenants, harness.GatewaySite(up))
	cl := harness.NewClient(c, "globex", "ann")
	for told, want := range map[string]string{
		"Your input exceeds the context window of this model.":                      "prompt is too long: Your input exceeds the context window of this model.",
		"prompt is too long: 210000 tokens > 200000 maximum":                        "prompt is too long: 210000 tokens > 200000 maximum",
		"This model's maximum context length is 4096 tokens. You sent 5000 tokens.": "prompt is too long: This model's maximum context length is 4096 tokens. You sent 5000 tokens.",
	} {
		refuses := harness.Document(http.StatusBadRequest, `{"error":{"message":`+harness.Quote(told)+`,"type":"invalid_request_error","code":"context_length_exceeded"}}`)
		up.Plays(refuses)
		resp := cl.Do(http.MethodPost, "/v1/messages", said("hi"))
		got := gjson.Parse(harness.ReadAll(t, resp))
		if resp.StatusCode != http.StatusBadRequest || got.Get("error.type").Str != "invalid_request_error" || got.Get("error.message").Str != want {
			t.Errorf("%q becomes %d %s", told, resp.StatusCode, got.Raw)
		}
	}
}
