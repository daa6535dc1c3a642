package integration

import (
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"
	"testing"
)

// accessLog waits for the access log's entry of a request, found by its
// trace id.
func (c *caddyProcess) accessLog(traceID string) map[string]any {
	c.t.Helper()
	var found map[string]any
	eventually(c.t, "the access log has "+traceID, func() bool {
		for line := range strings.Lines(c.log.String()) {
			var entry map[string]any
			if json.Unmarshal([]byte(line), &entry) != nil {
				continue
			}
			if name, _ := entry["logger"].(string); strings.HasPrefix(name, "http.log.access") && entry["trace_id"] == traceID {
				found = entry
				return true
			}
		}
		return false
	})
	return found
}

var chatFields = []string{
	"tenant", "user", "session", "trace_id", "model", "provider", "attempts",
	"tokens_in", "tokens_out", "cost_usd", "ttft_ms", "error_code",
}

// wantFields checks the contract's fields of an entry: those that are there,
// and that the others are not. A nil stands for any value.
func wantFields(t testing.TB, entry, want map[string]any) {
	t.Helper()
	for _, name := range chatFields {
		got, there := entry[name]
		value, wanted := want[name]
		if there != wanted || value != nil && got != value {
			t.Errorf("%s: %v, want %v", name, got, value)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(want)) {
		if !slices.Contains(chatFields, name) && entry[name] != want[name] {
			t.Errorf("%s: %v, want %v", name, entry[name], want[name])
		}
	}
}

func TestAccessLog(t *testing.T) {
	up := newFakeProvider(t, silent)
	c := startCaddy(t, gatewayTenants, meteredSite(up)+"\tlog\n")
	globex := newClient(c, "globex", "ann")
	stream := sends(role, content("Hello"), finished, counted, endMark)

	t.Run("of a chat", func(t *testing.T) {
		up.answers(stream)
		session := newSession()
		readEvents(t, globex.do(http.MethodPost, "/chat", ask{SessionID: session, Message: "hi"}, "X-Trace-Id", "trace-chat")).rest()
		wantFields(t, c.accessLog("trace-chat"), map[string]any{
			"tenant": "globex", "user": "ann", "session": session, "trace_id": "trace-chat", "model": "fast", "provider": "openai",
			"attempts": 1.0, "tokens_in": 7.0, "tokens_out": 3.0, "cost_usd": 13.0, "ttft_ms": nil, "status": 200.0,
		})
	})
	t.Run("of the gateway", func(t *testing.T) {
		up.answers(document(http.StatusOK, wholeAnswer))
		for name, q := range map[string]question{"trace-whole": newQuestion("fast"), "trace-stream": newQuestion("fast").streamed()} {
			globex.complete(q, "X-Trace-Id", name)
			wantFields(t, c.accessLog(name), map[string]any{
				"tenant": "globex", "user": "ann", "trace_id": name, "model": "fast", "provider": "openai",
				"attempts": 1.0, "tokens_in": 7.0, "tokens_out": 3.0, "cost_usd": 13.0, "ttft_ms": nil, "status": 200.0,
			})
		}
	})
	t.Run("of a failed call", func(t *testing.T) {
		up.answers(document(http.StatusInternalServerError, "{}"))
		globex.complete(newQuestion("fast"), "X-Trace-Id", "trace-failed")
		wantFields(t, c.accessLog("trace-failed"), map[string]any{
			"tenant": "globex", "user": "ann", "trace_id": "trace-failed", "model": "fast", "provider": "openai", "error_code": "ai_error",
			"attempts": 1.0, "tokens_in": 0.0, "tokens_out": 0.0, "cost_usd": 0.0, "ttft_ms": 0.0, "status": 502.0,
		})
	})
	t.Run("of a stream that breaks off", func(t *testing.T) {
		up.answers(sends(content("Hello")))
		session := newSession()
		globex.complete(newQuestion("fast").streamed(), "X-Trace-Id", "trace-cut-1")
		readEvents(t, globex.do(http.MethodPost, "/chat", ask{SessionID: session, Message: "hi"}, "X-Trace-Id", "trace-cut-2")).rest()
		for _, name := range []string{"trace-cut-1", "trace-cut-2"} {
			want := map[string]any{
				"tenant": "globex", "user": "ann", "trace_id": name, "model": "fast", "provider": "openai", "error_code": "ai_error",
				"attempts": 1.0, "tokens_in": nil, "tokens_out": 2.0, "cost_usd": nil, "ttft_ms": nil, "status": 200.0,
			}
			if name == "trace-cut-2" {
				want["session"] = session
			}
			wantFields(t, c.accessLog(name), want)
		}
	})
	t.Run("of a refused request", func(t *testing.T) {
		globex.complete(newQuestion("nobody"), "X-Trace-Id", "trace-refused")
		wantFields(t, c.accessLog("trace-refused"), map[string]any{
			"tenant": "globex", "user": "ann", "trace_id": "trace-refused", "error_code": "model_unknown", "status": 404.0,
		})
		newClient(c, "nobody", "ann").complete(newQuestion("fast"), "X-Trace-Id", "trace-nobody")
		wantFields(t, c.accessLog("trace-nobody"), map[string]any{
			"trace_id": "trace-nobody", "error_code": "tenant_unknown", "status": 404.0,
		})
	})
}

// TestAccessLogOfFallbacks has a model of two targets at two providers, and
// asks for it under /v1 and by /chat, streamed and whole.
func TestAccessLogOfFallbacks(t *testing.T) {
	t.Parallel()
	down, up := newFakeProvider(t, silent), newFakeProvider(t, silent)
	c := startCaddy(t, gatewayTenants, fmt.Sprintf(`
	log
	tenant_resolve
	chat_session
	ai_gateway {
		provider first openai {
			base_url %s
		}
		provider second openai {
			base_url %s
		}
		model steady {
			to first/up-1
			to second/up-2
			price 1000000 2000000
		}
		retries 1
		circuit_breaker off
	}
`, down.url, up.url))
	globex := newClient(c, "globex", "ann")
	whole, stream := document(http.StatusOK, wholeAnswer), sends(role, content("Hello"), finished, counted, endMark)
	unauthorized := document(http.StatusUnauthorized, "{}")
	unavailable := []http.HandlerFunc{document(http.StatusServiceUnavailable, "{}")}
	cut := slices.Concat([]http.HandlerFunc{sends(role, content("Hel"))}, unavailable)

	// two calls of the first target, and one of the second
	answered := map[string]any{"provider": "second", "attempts": 3.0, "tokens_in": 7.0, "tokens_out": 3.0, "cost_usd": 13.0, "ttft_ms": nil, "status": 200.0}
	for _, tc := range []struct {
		name  string
		down  []http.HandlerFunc
		up    http.HandlerFunc
		whole http.HandlerFunc // what up says where the answer is not streamed
		want  map[string]any
	}{
		{name: "fallback", down: unavailable, up: stream, whole: whole, want: answered},
		{name: "failure", down: unavailable, up: unauthorized, whole: unauthorized, want: map[string]any{
			"provider": "second", "attempts": 3.0, "error_code": "ai_error",
			"tokens_in": 0.0, "tokens_out": 0.0, "cost_usd": 0.0, "ttft_ms": 0.0, "status": 502.0,
		}},
		{name: "rescue", down: cut, up: stream, want: answered},
		{name: "cut without rescue", down: cut, up: unauthorized, want: map[string]any{
			"provider": "first", "attempts": 3.0, "error_code": "ai_error",
			"tokens_in": nil, "tokens_out": 1.0, "cost_usd": nil, "ttft_ms": nil, "status": 200.0,
		}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			for _, streamed := range []bool{true, false} {
				for _, path := range []string{completions, "/chat"} {
					down.answers(inTurn(tc.down...))
					up.answers(tc.up)
					if !streamed {
						if tc.whole == nil {
							continue // only a stream can be cut
						}
						up.answers(tc.whole)
					}
					session := newSession()
					var body any = question{Model: "steady", Messages: []said{{"user", "hi"}}, Stream: streamed}
					if path == "/chat" {
						body = ask{SessionID: session, Message: "hi", Stream: &streamed}
					}
					resp := globex.do(http.MethodPost, path, body)
					readAll(t, resp)
					id := resp.Header.Get("X-Trace-Id")
					want := map[string]any{"tenant": "globex", "user": "ann", "trace_id": id, "model": "steady"}
					maps.Copy(want, tc.want)
					if path == "/chat" {
						want["session"] = session
					}
					wantFields(t, c.accessLog(id), want)
				}
			}
		})
	}
}

// TestLogSecrets says all that can be said and sends all keys, at the level
// at which Caddy tells the most. Every secret has the same letters in it.
func TestLogSecrets(t *testing.T) {
	up := newFakeProvider(t, silent)
	const options = `debug
	chat {
		tenant keyed {
			model fast
			api_key Zq9SeedTenantKey
			system "Zq9SeedSystem"
			credential openai Zq9SeedCredential
		}
		tenant globex {
		}
	}
`
	proxy := "\treverse_proxy " + strings.TrimPrefix(strings.TrimSuffix(up.url, "/v1"), "http://")
	gateway := fmt.Sprintf(`
	ai_gateway {
		provider openai {
			base_url %s
			api_key Zq9SeedProviderKey
			header X-Extra Zq9SeedHeader
		}
		model fast {
			to openai/up-fast
		}
	}
`, up.url)
	for name, site := range map[string]string{"gateway": gateway + proxy, "reverse_proxy": proxy} {
		t.Run(name, func(t *testing.T) {
			c := startCaddy(t, options, "\tlog\n\ttenant_resolve\n\tchat_session\n"+site)
			sayEverything(t, c, up)
			c.stop()
			log := c.log.String()
			if !strings.Contains(log, `"level":"debug"`) || !strings.Contains(log, "request failed") {
				t.Fatal("the log does not tell the most")
			}
			for line := range strings.Lines(log) {
				if strings.Contains(line, "Zq9Seed") {
					t.Errorf("a secret is logged: %s", line)
				}
			}
		})
	}
}

// sayEverything makes requests that succeed and fail in all ways, and returns
// when they are logged.
func sayEverything(t testing.TB, c *caddyProcess, up *fakeProvider) {
	keyed, wrong, globex := newClient(c, "", "ann"), newClient(c, "", "ann"), newClient(c, "globex", "ann")
	keyed.key, wrong.key = "Zq9SeedTenantKey", "Zq9SeedWrongKey"
	const refusal = `{"error":{"message":"Incorrect API key provided: Zq9SeedProviderKey, was sk-Zq9SeedOther","code":"invalid_api_key"}}`
	for _, answer := range []http.HandlerFunc{
		document(http.StatusOK, strings.Replace(wholeAnswer, "Hello", "Zq9SeedAnswer", 1)),
		sends(role, content("Zq9SeedAnswer"), finished, counted, endMark),
		sends(role, content("Zq9SeedAnswer")),
		sends("data: Zq9SeedNoJSON\n\n", content("Zq9SeedAnswer"), "data: "+refusal+"\n\n"),
		document(http.StatusOK, "Zq9SeedNoJSON"),
		document(http.StatusOK, `{"odd":"Zq9SeedAnswer"}`),
		document(http.StatusOK, refusal),
		document(http.StatusInternalServerError, "<html>Zq9SeedAnswer"),
		document(http.StatusUnauthorized, refusal),
		document(http.StatusBadRequest, refusal),
	} {
		up.answers(answer)
		for _, stream := range []bool{false, true} {
			q := question{Model: "fast", Messages: []said{{"user", "Zq9SeedQuestion"}}, Stream: stream}
			readAll(t, keyed.do(http.MethodPost, completions, q))
			message := ask{SessionID: newSession(), Message: "Zq9SeedQuestion", Stream: &stream}
			readAll(t, keyed.do(http.MethodPost, "/chat", message))
			readAll(t, globex.do(http.MethodPost, "/chat", message, "Authorization", "Bearer Zq9SeedOwn"))
		}
	}
	for _, body := range []string{
		`{"model":"fast","messages":"Zq9Seed`, `{"messages":[{"role":"user","content":"Zq9SeedQuestion"}],"stream":"Zq9Seed"}`,
		`{"message":["Zq9Seed"]}`, `{"message":1,"stream":"Zq9Seed"}`, `Zq9Seed`,
	} {
		readAll(t, keyed.do(http.MethodPost, completions, body))
		readAll(t, keyed.do(http.MethodPost, "/chat", body))
	}
	readAll(t, wrong.do(http.MethodGet, "/v1/models", nil))
	last := keyed.do(http.MethodGet, "/elsewhere", nil)
	readAll(t, last)
	c.accessLog(last.Header.Get("X-Trace-Id"))
}
