package docs

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/caddy-chat/caddy-chat/integration/harness"
)

// tryOllama has a server with Ollama's own API, which answers line by line.
func tryOllama(t *testing.T) {
	var asked atomic.Value
	ollama := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked.Store(r.URL.Path + " " + modelAsked(r) + r.Header.Get("Authorization"))
		w.Header().Set("Content-Type", "application/x-ndjson")
		for _, word := range []string{"Hello", " from", " afar"} {
			fmt.Fprintf(w, "{\"model\":\"llama3.2\",\"message\":{\"role\":\"assistant\",\"content\":%q},\"done\":false}\n", word)
		}
		fmt.Fprintln(w, `{"model":"llama3.2","message":{"role":"assistant","content":""},"done":true,"done_reason":"stop","prompt_eval_count":5,"eval_count":3}`)
	}))
	t.Cleanup(ollama.Close)
	c := harness.StartExample(t, "ollama", "http://127.0.0.1:11434", ollama.URL)
	wantAnswer(t, harness.NewClient(c, "", ""))
	if got := asked.Load().(string); got != "/api/chat llama3.2" {
		t.Errorf("upstream got %q", got)
	}
}

// tryFallbacks has an OpenAI that is gone, and a Gemini that answers.
func tryFallbacks(t *testing.T) {
	var calls atomic.Int32
	gemini := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		calls.Add(1)
		// as a stream where a budget may have to end it
		if got, want := r.URL.Path, "/models/gemini-2.5-flash:"; !strings.HasPrefix(got, want) {
			t.Errorf("upstream is asked for %s, want %s", got, want)
		}
		if key := r.Header.Get("X-Goog-Api-Key"); key != "gemini-the-providers" {
			t.Errorf("upstream got the key %q", key)
		}
		w.Header().Set("Content-Type", "application/json")
		fmt.Fprint(w, `{"candidates":[{"content":{"role":"model","parts":[{"text":"Hello from afar"}]},"finishReason":"STOP"}],`+
			`"usageMetadata":{"promptTokenCount":5,"candidatesTokenCount":3,"totalTokenCount":8}}`)
	}))
	t.Cleanup(gemini.Close)
	c := harness.StartExample(t, "fallbacks",
		"provider openai {", "provider openai {\n base_url http://127.0.0.1:1/v1",
		"provider gemini {", "provider gemini {\n base_url "+gemini.URL)
	acme, globex, nobody := harness.NewClient(c, "", ""), harness.NewClient(c, "", ""), harness.NewClient(c, "", "")
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
	if n := calls.Load(); n != 1 {
		t.Errorf("%d calls upstream, want 1: the second answer is cached", n)
	}
	if used, ok := c.Metrics()[`caddy_ai_budget_used_ratio{period="day",tenant="acme"}`]; !ok || used <= 0 {
		t.Errorf("of acme's budget %v (%v) is used", used, ok)
	}
	harness.WantFailure(t, globex.Do(http.MethodPost, path, body("smart")), http.StatusForbidden, "model_not_allowed")
	harness.WantFailure(t, nobody.Do(http.MethodPost, path, body("fast")), http.StatusBadRequest, "tenant_required")
	if status := nobody.Call(http.MethodGet, "/health", nil, new(any)); status != http.StatusOK {
		t.Errorf("health: %d", status)
	}
}

// modelAsked returns the model that a request asks for.
func modelAsked(r *http.Request) string {
	var req modelRequest
	if err := json.NewDecoder(r.Body).Decode(&req); err != nil {
		return err.Error()
	}
	return req.Model
}
