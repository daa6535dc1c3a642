package budgets

import (
	"fmt"
	"math"
	"net/http"
	"strings"
	"testing"

	"github.com/caddy-chat/caddy-chat/integration/harness"
	"github.com/caddy-chat/caddy-chat/modules/price"
)

// vectors answers with embeddings, and counts tokens.
func vectors(in int) harness.Script {
	return harness.Document(http.StatusOK, fmt.Sprintf(`{"object":"list","data":[{"object":"embedding","index":0,"embedding":[0.5,-0.25]}],"model":"up","usage":{"prompt_tokens":%d,"total_tokens":%[1]d}}`, in))
}

// counting streams one token and the given usage.
func counting(usage string) harness.Script {
	return harness.SendsOf(func(w harness.Wire) []string {
		return []string{w.Role(), w.Text(tokenText), w.Finish("stop"), w.Envelope("[]", `,"usage":`+usage), harness.EndMark}
	})
}

const cachedUsage = `{"prompt_tokens":1000,"completion_tokens":100,"total_tokens":1100,"prompt_tokens_details":{"cached_tokens":600}}`

// TestBudgetPrices counts dollar budgets by configured and built-in prices.
func TestBudgetPrices(t *testing.T) {
	t.Parallel()
	inOneDay(t)
	up := harness.NewTarget(t, "up", counting(cachedUsage))
	var tenants strings.Builder
	for _, name := range manyTenants {
		fmt.Fprintf(&tenants, "tenant %s {\nbudget 0.02 usd/day\n}\n", name)
	}
	tenants.WriteString("tenant counted {\nbudget 20 tokens/day\n}\n")
	c := harness.Start(t, "chat {\n"+tenants.String()+"}", fmt.Sprintf(`
	log
	tenant_resolve
	ai_gateway {
		provider up openai {
			base_url %s
		}
		provider own ollama {
			base_url %[1]s
		}
		model said {
			to up/gpt-4o-mini
			price 3 7
		}
		model known {
			to up/gpt-4o-mini-2024-07-18
		}
		model unknown {
			to up/unpriced
		}
		model free {
			to up/unpriced-too
			price 0 0
		}
		model dear {
			to up/unpriced
			to up/gpt-4o-mini
		}
		model vectors {
			to up/text-embedding-3-small
		}
		passthrough up
		%s
	}
`, up.URL, harness.Patient))

	mini, ok := price.Of("openai", "gpt-4o-mini")
	if !ok || mini.Cached <= 0 || mini.Cached >= mini.Input {
		t.Fatalf("the price of gpt-4o-mini is %+v", mini)
	}
	for i, tc := range []struct {
		name, model, label string
		dollars            float64 // reported
		counted            float64 // against the budget
		unpriced           bool
	}{
		{"the Caddyfile's price wins", "said", "said", (1000*3 + 100*7) / 1e6, 0, false},
		{"a known model needs no price, and cached input is cheaper", "known", "known", (400*mini.Input + 600*mini.Cached + 100*mini.Output) / 1e6, 0, false},
		{"a known model without an alias", "up/gpt-4o-mini", "passthrough", (400*mini.Input + 600*mini.Cached + 100*mini.Output) / 1e6, 0, false},
		{"a free model", "free", "free", 0, 0, false},
		{"an unknown model counts at the highest price", "unknown", "unknown", 0, (500*15 + 100*75) / 1e6, true},
		{"an unknown model without an alias", "up/unpriced", "passthrough", 0, (500*15 + 100*75) / 1e6, true},
	} {
		t.Run(tc.name, func(t *testing.T) {
			cl := harness.NewClient(c, manyTenants[i], "ann")
			up.Plays(counting(cachedUsage))
			if tc.unpriced {
				up.Plays(counting(`{"prompt_tokens":500,"completion_tokens":100,"total_tokens":600}`))
			}
			trace := fmt.Sprint("price-", i)
			a := cl.Complete(budgetQuestion(tc.model, 0, true), "X-Trace-Id", trace)
			a.WantText(t, tokenText)
			if got, _ := c.AccessLog(trace)["cost_usd"].(float64); math.Abs(got-tc.dollars) > 1e-12 {
				t.Errorf("cost_usd is %v, want %v", got, tc.dollars)
			}
			// budgets count in millionths, rounded up
			wantUsed(c, cl.Tenant, "day", math.Ceil((tc.dollars+tc.counted)*1e6-1e-6)/1e6, 0.02)
			labels := fmt.Sprintf(`{model=%q,provider="up",tenant=%q}`, tc.label, cl.Tenant)
			series := c.Metrics()
			if got := series["caddy_ai_cost_usd_total"+labels]; math.Abs(got-tc.dollars) > 1e-12 {
				t.Errorf("the metric says %v dollars, want %v", got, tc.dollars)
			}
			if got := series["caddy_ai_unpriced_requests_total"+labels]; got != 0 != tc.unpriced {
				t.Errorf("the metric says %v unpriced", got)
			}
		})
	}
	t.Run("a model without a price is logged", func(t *testing.T) {
		log := c.Log.String()
		for name, want := range map[string]int{"unpriced": 3, "unpriced-too": 0, "gpt-4o-mini": 0} {
			// twice at provisioning, for two models, and once for the passthrough
			if n := strings.Count(log, fmt.Sprintf(`"upstream_model":%q}`, name)); n != want {
				t.Errorf("%d warnings about %s, want %d", n, name, want)
			}
		}
		if !strings.Contains(log, "no price is known for a model") {
			t.Error("the log does not say why")
		}
	})
	t.Run("an unknown model cannot pass a budget", func(t *testing.T) {
		cl := harness.NewClient(c, manyTenants[6], "ann")
		up.Plays(counting(`{"prompt_tokens":1000,"completion_tokens":1000,"total_tokens":2000}`))
		cl.Complete(budgetQuestion("unknown", 1000, true))
		wantUsed(c, cl.Tenant, "day", 0.02, 0.02)
		a := cl.Complete(budgetQuestion("unknown", 1, true))
		a.WantRefused(t, http.StatusTooManyRequests, "budget_exceeded")
		if a := cl.Complete(budgetQuestion("free", 1, true)); a.Status != http.StatusOK {
			t.Errorf("a free model is refused: %d %s", a.Status, a.Code)
		}
	})
	t.Run("a target that exceeds the remaining budget is skipped", func(t *testing.T) {
		cl := harness.NewClient(c, manyTenants[7], "ann")
		up.Plays(counting(`{"prompt_tokens":10,"completion_tokens":10,"total_tokens":20}`))
		a := cl.Complete(budgetQuestion("dear", 100, true))
		harness.WantHeader(t, a.Header, map[string]string{"X-Ai-Fallback": ""})
		wantUsed(c, cl.Tenant, "day", 0.0009, 0.02)
		before := up.Count()
		// 1,000 tokens would cost 75,000 millionths, more than is left
		a = cl.Complete(budgetQuestion("dear", 1000, true))
		harness.WantHeader(t, a.Header, map[string]string{"X-Ai-Fallback": "true", "X-Ai-Attempts": "1"})
		if a.Status != http.StatusOK || up.Count() != before+1 || !strings.Contains(up.Last().Body, `"gpt-4o-mini"`) {
			t.Errorf("status %d, the upstream got %s", a.Status, up.Last().Body)
		}
	})
	t.Run("embeddings", func(t *testing.T) {
		cl := harness.NewClient(c, manyTenants[8], "ann")
		up.Plays(vectors(500))
		const body = `{"model":"vectors","input":"hi"}`
		if text := harness.ReadAll(t, cl.Do(http.MethodPost, "/v1/embeddings", body)); !strings.Contains(text, `"embedding"`) {
			t.Fatal(text)
		}
		p, ok := price.Of("openai", "text-embedding-3-small")
		if !ok || p.Input <= 0 {
			t.Fatalf("the price of text-embedding-3-small is %+v", p)
		}
		wantUsed(c, cl.Tenant, "day", math.Ceil(500*p.Input-1e-6)/1e6, 0.02)

		// embeddings reserve no output
		cl = harness.NewClient(c, "counted", "ann")
		up.Plays(vectors(9))
		for _, used := range []float64{9, 18} {
			harness.ReadAll(t, cl.Do(http.MethodPost, "/v1/embeddings", body))
			wantUsed(c, "counted", "day", used, 20)
		}
		up.Plays(vectors(2))
		if resp := cl.Do(http.MethodPost, "/v1/embeddings", body); resp.StatusCode != http.StatusOK {
			t.Errorf("for the last two: %d %s", resp.StatusCode, harness.ReadAll(t, resp))
		}
		wantUsed(c, "counted", "day", 20, 20)
		harness.WantFailure(t, cl.Do(http.MethodPost, "/v1/embeddings", body), http.StatusTooManyRequests, "budget_exceeded")
	})
}
