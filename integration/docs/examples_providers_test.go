package docs

import (
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/caddy-chat/caddy-chat/integration/harness"
)

// tryOllama has a server with Ollama's native API, which answers line by line.
func tryOllama(t *testing.T) {
	ollama := harness.NewUpstream(t, func(c *harness.Call) {
		harness.Heads("Content-Type", "application/x-ndjson")(c)
		for _, word := range []string{"Hello", " from", " afar"} {
			c.Send(fmt.Sprintf("{\"model\":\"llama3.2\",\"message\":{\"role\":\"assistant\",\"content\":%q},\"done\":false}\n", word))
		}
		c.Send(`{"model":"llama3.2","message":{"role":"assistant","content":""},"done":true,"done_reason":"stop","prompt_eval_count":5,"eval_count":3}` + "\n")
	})
	c := harness.StartExample(t, "ollama", "http://127.0.0.1:11434", ollama.Origin())
	wantAnswer(t, harness.NewClient(c, "", ""))
	if got := ollama.Last(); got.Path != "/api/chat" || got.Get("model").Str != "llama3.2" || got.Header.Get("Authorization") != "" {
		t.Errorf("upstream got %+v", got)
	}
}

// tryFallbacks has an OpenAI that is unreachable, and a Gemini that answers.
func tryFallbacks(t *testing.T) {
	gemini := harness.NewUpstream(t, harness.Document(http.StatusOK, `{"candidates":[{"content":{"role":"model","parts":[{"text":"Hello from afar"}]},"finishReason":"STOP"}],`+
		`"usageMetadata":{"promptTokenCount":5,"candidatesTokenCount":3,"totalTokenCount":8}}`))
	c := harness.StartExample(t, "fallbacks",
		"provider openai {", "provider openai {\n base_url http://127.0.0.1:1/v1",
		"provider gemini {", "provider gemini {\n base_url "+gemini.Origin())
	acme, globex, stranger := harness.NewClient(c, "", ""), harness.NewClient(c, "", ""), harness.NewClient(c, "", "")
	acme.Key, globex.Key = "acme-key", "globex-key"

	const path = "/v1/chat/completions"
	body := func(model string) string {
		return fmt.Sprintf(`{"model":%q,"messages":[{"role":"user","content":"hi"}]}`, model)
	}
	for _, cached := range []string{"miss", "hit"} {
		resp := acme.Do(http.MethodPost, path, body("fast"))
		harness.WantHeader(t, resp.Header, map[string]string{"X-Ai-Provider": "gemini", "X-Ai-Fallback": "true", "X-Ai-Cache": cached})
		if answer := harness.ReadAll(t, resp); !strings.Contains(answer, "Hello from afar") {
			t.Errorf("%s: %d %s", cached, resp.StatusCode, answer)
		}
	}
	// The second answer is cached.
	asked := gemini.Only()
	// The call is a stream if a budget may have to end it.
	if want := "/models/gemini-2.5-flash:"; !strings.HasPrefix(asked.Path, want) {
		t.Errorf("the upstream got %s, want %s", asked.Path, want)
	}
	if key := asked.Header.Get("X-Goog-Api-Key"); key != "gemini-the-providers" {
		t.Errorf("upstream got the key %q", key)
	}
	if used, ok := c.Metrics()[`caddy_ai_budget_used_ratio{period="day",tenant="acme"}`]; !ok || used <= 0 {
		t.Errorf("used ratio of acme's budget is %v (%v)", used, ok)
	}
	harness.WantFailure(t, globex.Do(http.MethodPost, path, body("smart")), http.StatusForbidden, "model_not_allowed")
	harness.WantFailure(t, stranger.Do(http.MethodPost, path, body("fast")), http.StatusBadRequest, "tenant_required")
	if status := stranger.Call(http.MethodGet, "/health", nil, new(any)); status != http.StatusOK {
		t.Errorf("health: %d", status)
	}
}
