package failover

import (
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/tidwall/gjson"

	"github.com/caddy-chat/caddy-chat/integration/harness"
)

// TestProviderReason has providers refuse a request. An OpenAI client gets the
// provider's code and param; the log and the native API have our code.
func TestProviderReason(t *testing.T) {
	t.Parallel()
	up := harness.NewTarget(t, "up")
	var providers strings.Builder
	for typ, options := range keyedTypes() {
		fmt.Fprintf(&providers, "provider %s {\nbase_url %s\n%s\n}\n", typ, up.URL, options)
	}
	c := harness.Start(t, harness.GatewayTenants, "log\n"+fmt.Sprintf(`
	tenant_resolve
	chat_session
	ai_gateway {
		%s
		passthrough
		retries 0
		circuit_breaker off
	}
`, providers.String()))
	globex := harness.NewClient(c, "globex", "ann")

	long := strings.Repeat("messages[0].", 100)
	for _, tc := range []struct {
		name, typ   string
		status      int
		body        string
		code, param string // null if empty
	}{
		{"a value", "openai", 400, `{"error":{"message":"upstream-words","type":"x","param":"top_p","code":"invalid_value"}}`, "invalid_value", "top_p"},
		{"a type's name", "openai", 400, `{"error":{"message":"upstream-words","param":"messages[1].content","code":null}}`, "invalid_request", "messages[1].content"},
		{"neither", "openai", 400, `{"error":{"message":"upstream-words"}}`, "invalid_request", ""},
		{"the status again", "openai", 400, `{"object":"error","message":"upstream-words","param":"n","code":400}`, "invalid_request", "n"},
		{"a list", "openai", 422, `{"detail":[{"loc":["body","foo"],"msg":"upstream-words"}]}`, "invalid_request", "foo"},
		{"no text", "openai", 400, `{"error":{"message":"upstream-words","param":{"a":1},"code":["x"]}}`, "invalid_request", ""},
		{"a key for a code", "openai", 400, `{"error":{"message":"upstream-words","param":"sk-live-0123456789abcdef0123","code":"sk-live-0123456789abcdef0123"}}`, "invalid_request", "[redacted]"},
		{"a code without end", "openai", 400, `{"error":{"message":"upstream-words","param":"` + long + `","code":"` + long + `"}}`, "invalid_request", long[:500]},
		{"a code of several lines", "openai", 400, `{"error":{"message":"upstream-words","param":"a\nb\u0000","code":"a\nb"}}`, "invalid_request", "a b"},
		{"too long", "openai", 400, `{"error":{"message":"upstream-words: prompt is too long","code":"1261","param":"messages"}}`, "context_length_exceeded", "messages"},
		{"Anthropic", "anthropic", 400, `{"type":"error","error":{"type":"invalid_request_error","message":"top_p: upstream-words"}}`, "invalid_request", "top_p"},
		{"Gemini", "gemini", 400, `{"error":{"code":400,"message":"upstream-words","status":"INVALID_ARGUMENT","details":[{"fieldViolations":[{"field":"generation_config.top_p"}]}]}}`, "INVALID_ARGUMENT", "generation_config.top_p"},
		{"Bedrock", "bedrock", 400, `{"__type":"ValidationException","message":"upstream-words"}`, "ValidationException", ""},
		{"Cloudflare", "cloudflare", 400, `{"success":false,"errors":[{"code":5006,"message":"upstream-words"}]}`, "5006", ""},
		{"Ollama", "ollama", 400, `{"error":"upstream-words"}`, "invalid_request", ""},
	} {
		for _, stream := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s/stream %v", tc.name, stream), func(t *testing.T) {
				up.Plays(harness.Document(tc.status, tc.body))
				q := harness.NewQuestion(tc.typ + "/m")
				q.Stream = stream
				id := harness.NewSession()
				got := globex.Complete(q, "X-Trace-Id", id)
				got.WantRefused(t, http.StatusBadRequest, tc.code)
				harness.WantReason(t, got.Error, true)
				e := gjson.Get(strings.Join(got.Frames, ""), "error")
				if e.Get("type").Str != "invalid_request_error" || e.Get("param").Str != tc.param || tc.param == "" && e.Get("param").Raw != "null" {
					t.Errorf("the client got %s, want param %q", e, tc.param)
				}
				if code := c.AccessLog(id)["error_code"]; code != "invalid_request" {
					t.Errorf("%v is logged", code)
				}
				ask := harness.ChatRequest{SessionID: harness.NewSession(), Message: "hi", ModelID: tc.typ + "/m", Stream: &stream}
				f := harness.WantFailure(t, globex.Do(http.MethodPost, "/chat", ask), http.StatusBadRequest, "invalid_request")
				harness.WantReason(t, f.Error.Message, true)
			})
		}
	}
}

// TestSharedReason has requests that share one call get the provider's reason
// alike: by the cache, and by an Idempotency-Key.
func TestSharedReason(t *testing.T) {
	t.Parallel()
	targets := harness.NewTargets(t, "one")
	s := newFaultSite(t, harness.TargetConfig{Targets: targets, Gateway: harness.Patient + "\ncache 10m"})
	for name, header := range map[string][]string{"cache": nil, "key": {"Idempotency-Key", "k"}} {
		for _, stream := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s/stream %v", name, stream), func(t *testing.T) {
				answer := make(chan struct{})
				targets[0].Plays(harness.Steps(harness.Waits(answer), told(400, `"upstream-words"`, `,"param":"top_p","code":"invalid_value"`)))
				q := harness.NewQuestion("fast")
				q.Stream = stream
				before := targets[0].Count()
				var list []*harness.Pending
				for range 3 {
					list = append(list, s.Globex.Start(s.Globex.Request(http.MethodPost, harness.CompletionsPath, q, header...)))
				}
				harness.Eventually(t, "the target is called", func() bool { return targets[0].Count() > before })
				close(answer)
				for _, a := range list {
					got := harness.ReadCompletion(t, a.Answer())
					got.WantRefused(t, http.StatusBadRequest, "invalid_value")
					harness.WantReason(t, got.Error, true)
					if param := gjson.Get(strings.Join(got.Frames, ""), "error.param").Str; param != "top_p" {
						t.Errorf("param %q", param)
					}
				}
			})
		}
	}
}
