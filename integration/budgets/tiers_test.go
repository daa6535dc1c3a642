package budgets

import (
	"fmt"
	"math"
	"net/http"
	"strings"
	"testing"

	"github.com/caddy-chat/caddy-chat/integration/harness"
	"github.com/caddy-chat/caddy-chat/modules/price"
	"github.com/caddy-chat/caddy-chat/modules/provider"
)

// TestServiceTiers has providers answer in service tiers whose prices are in no list. The
// access log and a warning name the tier, the cost is at the usual price, and budgets count
// no less than the tier may cost.
func TestServiceTiers(t *testing.T) {
	t.Parallel()
	inOneDay(t)
	up := harness.NewUpstream(t)
	var tenants strings.Builder
	for _, name := range manyTenants {
		fmt.Fprintf(&tenants, "tenant %s {\nbudget 1 usd/day\n}\n", name)
	}
	c := harness.Start(t, "chat {\n"+tenants.String()+"}", fmt.Sprintf(`
	log
	tenant_resolve
	ai_gateway {
		provider up openai {
			base_url %s
			responses on
		}
		provider claude anthropic {
			base_url %[1]s
		}
		model mini {
			to up/gpt-4o-mini
		}
		model haiku {
			to claude/claude-haiku-4-5
		}
	}
`, up.URL))
	chat := func(tier string) string {
		return `{"object":"chat.completion","model":"m",` + tier + `"choices":[{"index":0,"message":{"role":"assistant","content":"hi"},"finish_reason":"stop"}],"usage":{"prompt_tokens":1000,"completion_tokens":500}}`
	}
	response := func(tier string) string {
		return `{"id":"r","object":"response","status":"completed",` + tier + `"output":[{"type":"message","content":[{"type":"output_text","text":"hi"}]}],"usage":{"input_tokens":1000,"output_tokens":500}}`
	}
	message := func(members string) string {
		return `{"id":"m","type":"message","role":"assistant","model":"claude","content":[{"type":"text","text":"hi"}],"stop_reason":"end_turn","usage":{"input_tokens":1000,` + members + `"output_tokens":500}}`
	}
	stream := func(members string) string {
		var b strings.Builder
		for _, ev := range []string{
			`{"type":"message_start","message":{"id":"m","type":"message","role":"assistant","model":"claude","content":[],"usage":{"input_tokens":1000,` + members + `"output_tokens":1}}}`,
			`{"type":"content_block_start","index":0,"content_block":{"type":"text","text":""}}`,
			`{"type":"content_block_delta","index":0,"delta":{"type":"text_delta","text":"hi"}}`,
			`{"type":"content_block_stop","index":0}`,
			`{"type":"message_delta","delta":{"stop_reason":"end_turn"},"usage":{"output_tokens":500}}`,
			`{"type":"message_stop"}`,
		} {
			_, name, _ := strings.Cut(ev, `"type":"`)
			name, _, _ = strings.Cut(name, `"`)
			fmt.Fprintf(&b, "event: %s\ndata: %s\n\n", name, ev)
		}
		return b.String()
	}
	const user = `"messages":[{"role":"user","content":"hi"}],`
	const completions, responses, messages = "/v1/chat/completions", "/v1/responses", "/v1/messages"
	const json, sse = "application/json", "text/event-stream"
	for i, tc := range []struct {
		name, path, asks, typ, answers string
		tier                           string // in the log
		times                          float64
	}{
		{"priority", completions, user + `"service_tier":"priority"`, json, chat(`"service_tier":"priority",`), "priority", 2},
		{"a tier without a request for it", completions, user + `"service_tier":"auto"`, json, chat(`"service_tier":"priority",`), "priority", 2},
		{"asked for in vain", completions, user + `"service_tier":"priority"`, json, chat(`"service_tier":"default",`), "", 1},
		{"flex", completions, user + `"service_tier":"flex"`, json, chat(`"service_tier":"flex",`), "flex", 1},
		{"an unknown one", completions, user + `"user":"u"`, json, chat(`"service_tier":"turbo",`), "other", 1},
		{"of a response", responses, `"input":"hi","max_output_tokens":1000,"store":false,"service_tier":"priority"`, json, response(`"service_tier":"priority",`), "priority", 2},
		{"fast", messages, user + `"max_tokens":1000,"speed":"fast"`, json, message(`"service_tier":"standard","speed":"fast",`), "fast", 2},
		{"a fast stream", messages, user + `"max_tokens":1000,"stream":true,"speed":"fast"`, sse, stream(`"service_tier":"standard","speed":"fast",`), "fast", 2},
		{"a standard stream", messages, user + `"max_tokens":1000,"stream":true`, sse, stream(`"service_tier":"standard","speed":"standard",`), "", 1},
		{"translated", completions, user + `"max_tokens":1000`, sse, stream(`"service_tier":"batch",`), "batch", 1},
		{"Anthropic's priority, which is paid in advance", messages, user + `"max_tokens":1000`, json, message(`"service_tier":"priority",`), "priority", 1},
	} {
		t.Run(tc.name, func(t *testing.T) {
			cl := harness.NewClient(c, manyTenants[i], "ann")
			model, typ, upstream := "mini", "openai", "gpt-4o-mini"
			if tc.path == messages || tc.name == "translated" {
				model, typ, upstream = "haiku", "anthropic", "claude-haiku-4-5"
			}
			p, _ := price.Of(typ, upstream)
			cost := p.Cost(provider.Usage{Input: 1000, Output: 500})
			up.Plays(harness.Document(http.StatusOK, tc.answers, "Content-Type", tc.typ))
			trace := fmt.Sprint("tier-", i)
			resp := cl.Do(http.MethodPost, tc.path, `{"model":"`+model+`",`+tc.asks+`}`, "X-Trace-Id", trace)
			body := harness.ReadAll(t, resp)
			if resp.StatusCode != http.StatusOK {
				t.Fatalf("%d %s", resp.StatusCode, body)
			}
			entry := c.AccessLog(trace)
			if got, _ := entry["service_tier"].(string); got != tc.tier {
				t.Errorf("the log names the tier %q, want %q", got, tc.tier)
			}
			if got, _ := entry["cost_usd"].(float64); math.Abs(got-cost) > 1e-12 {
				t.Errorf("cost_usd is %v, want %v", got, cost)
			}
			wantUsed(c, cl.Tenant, "day", math.Ceil(tc.times*cost*1e6-1e-6)/1e6, 1)
		})
	}
	for tier, want := range map[string]int{"priority": 2, "fast": 1, "flex": 1} { // once of each provider
		if n := strings.Count(c.Log.String(), `"service_tier":"`+tier+`","provider"`); n != want {
			t.Errorf("%d warnings about %s, want %d", n, tier, want)
		}
	}
}
