package ops

import (
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/caddy-chat/caddy-chat/integration/harness"
)

func TestAccessLog(t *testing.T) {
	up := harness.NewUpstream(t, harness.Stalls)
	c := harness.Start(t, harness.GatewayTenants, meteredSite(up)+"\tlog\n")
	globex := harness.NewClient(c, "globex", "ann")
	stream := harness.Sends(harness.Role, harness.Content("Hello"), harness.Finished, harness.Counted, harness.EndMark)

	t.Run("of a chat", func(t *testing.T) {
		up.Plays(stream)
		session := harness.NewSession()
		harness.ReadEvents(t, globex.Do(http.MethodPost, "/chat", harness.ChatRequest{SessionID: session, Message: "hi"}, "X-Trace-Id", "trace-chat")).Rest()
		harness.WantFields(t, c.AccessLog("trace-chat"), map[string]any{
			"tenant": "globex", "user": "ann", "session": session, "trace_id": "trace-chat", "model": "fast", "provider": "openai",
			"attempts": 1.0, "tokens_in": 7.0, "tokens_out": 3.0, "cost_usd": 13.0, "ttft_ms": nil, "status": 200.0,
		})
	})
	t.Run("of the gateway", func(t *testing.T) {
		up.Plays(harness.Document(http.StatusOK, harness.WholeAnswer))
		for name, q := range map[string]harness.Question{"trace-whole": harness.NewQuestion("fast"), "trace-stream": harness.NewQuestion("fast").Streamed()} {
			globex.Complete(q, "X-Trace-Id", name)
			harness.WantFields(t, c.AccessLog(name), map[string]any{
				"tenant": "globex", "user": "ann", "trace_id": name, "model": "fast", "provider": "openai",
				"attempts": 1.0, "tokens_in": 7.0, "tokens_out": 3.0, "cost_usd": 13.0, "ttft_ms": nil, "status": 200.0,
			})
		}
	})
	t.Run("of a failed call", func(t *testing.T) {
		up.Plays(harness.Document(http.StatusInternalServerError, "{}"))
		globex.Complete(harness.NewQuestion("fast"), "X-Trace-Id", "trace-failed")
		harness.WantFields(t, c.AccessLog("trace-failed"), map[string]any{
			"tenant": "globex", "user": "ann", "trace_id": "trace-failed", "model": "fast", "provider": "openai", "error_code": "ai_error",
			"attempts": 1.0, "tokens_in": 0.0, "tokens_out": 0.0, "cost_usd": 0.0, "ttft_ms": 0.0, "status": 502.0,
		})
	})
	t.Run("of a stream that breaks off", func(t *testing.T) {
		up.Plays(harness.Sends(harness.Content("Hello")))
		session := harness.NewSession()
		globex.Complete(harness.NewQuestion("fast").Streamed(), "X-Trace-Id", "trace-cut-1")
		harness.ReadEvents(t, globex.Do(http.MethodPost, "/chat", harness.ChatRequest{SessionID: session, Message: "hi"}, "X-Trace-Id", "trace-cut-2")).Rest()
		for _, name := range []string{"trace-cut-1", "trace-cut-2"} {
			want := map[string]any{
				"tenant": "globex", "user": "ann", "trace_id": name, "model": "fast", "provider": "openai", "error_code": "ai_error",
				"attempts": 1.0, "tokens_in": nil, "tokens_out": 2.0, "tokens_estimated": true, "cost_usd": nil, "ttft_ms": nil, "status": 200.0,
			}
			if name == "trace-cut-2" {
				want["session"] = session
			}
			harness.WantFields(t, c.AccessLog(name), want)
		}
	})
	t.Run("of a refused request", func(t *testing.T) {
		globex.Complete(harness.NewQuestion("unknown"), "X-Trace-Id", "trace-refused")
		harness.WantFields(t, c.AccessLog("trace-refused"), map[string]any{
			"tenant": "globex", "user": "ann", "trace_id": "trace-refused", "error_code": "model_unknown", "status": 404.0,
		})
		harness.NewClient(c, "unknown", "ann").Complete(harness.NewQuestion("fast"), "X-Trace-Id", "trace-unknown")
		harness.WantFields(t, c.AccessLog("trace-unknown"), map[string]any{
			"trace_id": "trace-unknown", "error_code": "tenant_unknown", "status": 404.0,
		})
	})
}

// TestAccessLogIsFiltered checks that Caddy's log filters apply to our fields.
func TestAccessLogIsFiltered(t *testing.T) {
	up := harness.NewUpstream(t, harness.Stalls)
	c := harness.Start(t, harness.GatewayTenants, meteredSite(up)+"\tlog {\n\t\tformat filter {\n\t\t\tuser delete\n\t\t\tmodel replace hidden\n\t\t}\n\t}\n")
	up.Plays(harness.Document(http.StatusOK, harness.WholeAnswer))
	harness.NewClient(c, "globex", "ann").Complete(harness.NewQuestion("fast"), "X-Trace-Id", "trace-filtered")
	harness.WantFields(t, c.AccessLog("trace-filtered"), map[string]any{
		"tenant": "globex", "trace_id": "trace-filtered", "model": "hidden", "provider": "openai",
		"attempts": 1.0, "tokens_in": 7.0, "tokens_out": 3.0, "cost_usd": 13.0, "ttft_ms": nil,
	})
}

// TestAccessLogOfFallbacks has a model with targets at two providers, and asks for
// it under /v1 and /chat, streamed and not.
func TestAccessLogOfFallbacks(t *testing.T) {
	t.Parallel()
	down, up := harness.NewUpstream(t, harness.Stalls), harness.NewUpstream(t, harness.Stalls)
	c := harness.Start(t, harness.GatewayTenants, fmt.Sprintf(`
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
`, down.URL, up.URL))
	globex := harness.NewClient(c, "globex", "ann")
	whole, stream := harness.Document(http.StatusOK, harness.WholeAnswer), harness.Sends(harness.Role, harness.Content("Hello"), harness.Finished, harness.Counted, harness.EndMark)
	unauthorized := harness.Document(http.StatusUnauthorized, "{}")
	unavailable := []harness.Script{harness.Document(http.StatusServiceUnavailable, "{}")}
	cut := slices.Concat([]harness.Script{harness.Sends(harness.Role, harness.Content("Hel"))}, unavailable)

	// two calls to the first target and one to the second
	answered := map[string]any{"provider": "second", "attempts": 3.0, "tokens_in": 7.0, "tokens_out": 3.0, "cost_usd": 13.0, "ttft_ms": nil, "status": 200.0}
	for _, tc := range []struct {
		name  string
		down  []harness.Script
		up    harness.Script
		whole harness.Script // up's answer if it is not streamed
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
			"tokens_in": nil, "tokens_out": 1.0, "tokens_estimated": true, "cost_usd": nil, "ttft_ms": nil, "status": 200.0,
		}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			for _, streamed := range []bool{true, false} {
				for _, path := range []string{harness.CompletionsPath, "/chat"} {
					down.Plays(tc.down...)
					up.Plays(tc.up)
					if !streamed {
						if tc.whole == nil {
							continue // only a stream can be cut
						}
						up.Plays(tc.whole)
					}
					session := harness.NewSession()
					var body any = harness.Question{Model: "steady", Messages: []harness.Message{{Role: "user", Content: "hi"}}, Stream: streamed}
					if path == "/chat" {
						body = harness.ChatRequest{SessionID: session, Message: "hi", Stream: &streamed}
					}
					resp := globex.Do(http.MethodPost, path, body)
					harness.ReadAll(t, resp)
					id := resp.Header.Get("X-Trace-Id")
					want := map[string]any{"tenant": "globex", "user": "ann", "trace_id": id, "model": "steady"}
					maps.Copy(want, tc.want)
					if path == "/chat" {
						want["session"] = session
					}
					harness.WantFields(t, c.AccessLog(id), want)
				}
			}
		})
	}
}

// TestLogSecrets seeds messages and keys everywhere and looks for them in the
// debug log. Every secret contains Zq9Seed.
func TestLogSecrets(t *testing.T) {
	up := harness.NewUpstream(t, harness.Stalls)
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
	proxy := "\treverse_proxy " + up.Origin()
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
`, up.URL)
	for name, site := range map[string]string{"gateway": gateway + proxy, "reverse_proxy": proxy} {
		t.Run(name, func(t *testing.T) {
			c := harness.Start(t, options, "\tlog\n\ttenant_resolve\n\tchat_session\n"+site)
			sayEverything(t, c, up)
			c.Stop()
			log := c.Log.String()
			if !strings.Contains(log, `"level":"debug"`) || !strings.Contains(log, "request failed") {
				t.Fatal("the log lacks debug entries or failures")
			}
			for line := range strings.Lines(log) {
				if strings.Contains(line, "Zq9Seed") {
					t.Errorf("a secret is logged: %s", line)
				}
			}
		})
	}
}

// sayEverything makes requests that succeed and fail in every way, and returns
// once they are logged.
func sayEverything(t testing.TB, c *harness.Caddy, up *harness.Upstream) {
	keyed, wrong, globex := harness.NewClient(c, "", "ann"), harness.NewClient(c, "", "ann"), harness.NewClient(c, "globex", "ann")
	keyed.Key, wrong.Key = "Zq9SeedTenantKey", "Zq9SeedWrongKey"
	const refusal = `{"error":{"message":"Incorrect API key provided: Zq9SeedProviderKey, was sk-Zq9SeedOther","code":"invalid_api_key"}}`
	for _, answer := range []harness.Script{
		harness.Document(http.StatusOK, strings.Replace(harness.WholeAnswer, "Hello", "Zq9SeedAnswer", 1)),
		harness.Sends(harness.Role, harness.Content("Zq9SeedAnswer"), harness.Finished, harness.Counted, harness.EndMark),
		harness.Sends(harness.Role, harness.Content("Zq9SeedAnswer")),
		harness.Sends("data: Zq9SeedNoJSON\n\n", harness.Content("Zq9SeedAnswer"), "data: "+refusal+"\n\n"),
		harness.Document(http.StatusOK, "Zq9SeedNoJSON"),
		harness.Document(http.StatusOK, `{"odd":"Zq9SeedAnswer"}`),
		harness.Document(http.StatusOK, refusal),
		harness.Document(http.StatusInternalServerError, "<html>Zq9SeedAnswer"),
		harness.Document(http.StatusUnauthorized, refusal),
		harness.Document(http.StatusBadRequest, refusal),
	} {
		up.Plays(answer)
		for _, stream := range []bool{false, true} {
			q := harness.Question{Model: "fast", Messages: []harness.Message{{Role: "user", Content: "Zq9SeedQuestion"}}, Stream: stream}
			harness.ReadAll(t, keyed.Do(http.MethodPost, harness.CompletionsPath, q))
			message := harness.ChatRequest{SessionID: harness.NewSession(), Message: "Zq9SeedQuestion", Stream: &stream}
			harness.ReadAll(t, keyed.Do(http.MethodPost, "/chat", message))
			harness.ReadAll(t, globex.Do(http.MethodPost, "/chat", message, "Authorization", "Bearer Zq9SeedOwn"))
		}
	}
	for _, body := range []string{
		`{"model":"fast","messages":"Zq9Seed`, `{"messages":[{"role":"user","content":"Zq9SeedQuestion"}],"stream":"Zq9Seed"}`,
		`{"message":["Zq9Seed"]}`, `{"message":1,"stream":"Zq9Seed"}`, `Zq9Seed`,
	} {
		harness.ReadAll(t, keyed.Do(http.MethodPost, harness.CompletionsPath, body))
		harness.ReadAll(t, keyed.Do(http.MethodPost, "/chat", body))
	}
	harness.ReadAll(t, wrong.Do(http.MethodGet, "/v1/models", nil))
	last := keyed.Do(http.MethodGet, "/elsewhere", nil)
	harness.ReadAll(t, last)
	c.AccessLog(last.Header.Get("X-Trace-Id"))
}
