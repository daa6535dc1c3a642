package ops

import (
	"fmt"
	"maps"
	"net/http"
	"strings"
	"testing"

	"github.com/caddy-chat/caddy-chat/integration/harness"
	"github.com/caddy-chat/caddy-chat/modules/provider"
	"github.com/caddy-chat/caddy-chat/modules/provider/providertest"
)

// TestResponsesAreMetered has calls of Responses that pass as they came counted and logged,
// each once and under its tenant.
func TestResponsesAreMetered(t *testing.T) {
	up := harness.NewUpstream(t)
	site := strings.Replace(meteredSite(up), "base_url", "responses on\n\t\t\tbase_url", 1)
	c := harness.Start(t, harness.GatewayTenants, site+"\tlog\n")
	reply := providertest.Reply{
		Model: "up-fast", Finish: "tool_calls", Usage: &provider.Usage{Input: 9, Output: 7, Cached: 4, Written: 2, Reasoning: 3},
		Parts: []providertest.Part{{Reasoning: "hm"}, {Text: "Hello"}, {Call: 1, ID: "call_1", Name: "f", Arguments: "{}"}},
	}
	ask := func(tenant string, streams bool, traceID string) string {
		body := fmt.Sprintf(`{"model":"fast","store":false,"stream":%v,"reasoning":{"summary":"auto"},"input":"hi","tools":[{"type":"function","name":"f"}]}`, streams)
		return harness.ReadAll(t, harness.NewClient(c, tenant, "ann").Do(http.MethodPost, "/v1/responses", body, "X-Trace-Id", traceID))
	}
	logged := func(tenant, traceID string, more map[string]any) {
		t.Helper()
		want := map[string]any{
			"tenant": tenant, "user": "ann", "trace_id": traceID, "model": "fast", "provider": "openai", "attempts": 1.0,
			"tokens_in": 9.0, "tokens_out": 7.0, "tokens_cached": 4.0, "tokens_written": 2.0, "cost_usd": 23.0, "ttft_ms": nil, "status": 200.0,
		}
		maps.Copy(want, more)
		harness.WantFields(t, c.AccessLog(traceID), want)
	}
	attempts := 0.0
	for tenant, times := range map[string]float64{"globex": 2, "initech": 1} {
		for _, streams := range []bool{false, true} {
			for n := 1.0; n <= times; n++ {
				up.Plays(harness.Responses(reply))
				traceID := fmt.Sprintf("trace-%s-%v-%v", tenant, streams, n)
				if got := ask(tenant, streams, traceID); !strings.Contains(got, `"resp_0"`) || up.Last().Path != "/v1/responses" {
					t.Fatalf("did not pass as it came: %s", got)
				}
				logged(tenant, traceID, nil)
				attempts++
			}
		}
		call := fmt.Sprintf(`model="fast",provider="openai",tenant=%q`, tenant)
		calls := 2 * times // streamed and not
		c.WantMetrics(map[string]float64{
			fmt.Sprintf(`caddy_chat_requests_total{code="200",tenant=%q}`, tenant): calls,
			fmt.Sprintf(`caddy_chat_open_streams{tenant=%q}`, tenant):              0,
			`caddy_ai_requests_total{code="200",` + call + `}`:                     calls,
			`caddy_ai_request_duration_seconds_count{` + call + `}`:                calls,
			`caddy_ai_time_to_first_token_seconds_count{` + call + `}`:             calls,
			`caddy_ai_tokens_total{` + call + `,type="input"}`:                     9 * calls,
			`caddy_ai_tokens_total{` + call + `,type="output"}`:                    7 * calls,
			`caddy_ai_tokens_total{` + call + `,type="cached"}`:                    4 * calls,
			`caddy_ai_tokens_total{` + call + `,type="written"}`:                   2 * calls,
			`caddy_ai_tokens_total{` + call + `,type="reasoning"}`:                 3 * calls,
			`caddy_ai_cost_usd_total{` + call + `}`:                                23 * calls,
			`caddy_ai_attempts_total{model="fast",provider="openai",result="ok"}`:  attempts,
		})
	}

	t.Run("an answer without room", func(t *testing.T) {
		cut := reply
		cut.Finish = "length"
		for _, streams := range []bool{false, true} {
			up.Plays(harness.Responses(cut))
			traceID := fmt.Sprint("trace-incomplete-", streams)
			if got := ask("initech", streams, traceID); !strings.Contains(got, `"max_output_tokens"`) {
				t.Errorf("got %s", got)
			}
			logged("initech", traceID, nil)
		}
	})
	t.Run("an answer that fails", func(t *testing.T) {
		for _, streams := range []bool{false, true} {
			up.Plays(harness.Responses(providertest.Reply{Model: "up-fast", Finish: "failed"}))
			traceID := fmt.Sprint("trace-failed-", streams)
			ask("globex", streams, traceID)
			logged("globex", traceID, map[string]any{
				"tokens_in": 0.0, "tokens_out": 0.0, "tokens_cached": nil, "tokens_written": nil, "cost_usd": 0.0, "status": 502.0, "error_code": "ai_error",
			})
		}
		up.Plays(harness.Responses(providertest.Reply{Model: "up-fast", Finish: "failed", Parts: reply.Parts[:2]}))
		ask("globex", true, "trace-failed-midway")
		entry := c.AccessLog("trace-failed-midway")
		out, _ := entry["tokens_out"].(float64)
		if in, _ := entry["tokens_in"].(float64); in < 1 || out < 1 || entry["cost_usd"] != in+2*out || entry["error_code"] != "ai_error" || entry["status"] != 200.0 {
			t.Errorf("the log has %v", entry)
		}
		c.WantMetrics(map[string]float64{
			`caddy_chat_requests_total{code="502",tenant="globex"}`:                               2,
			`caddy_ai_requests_total{code="502",model="fast",provider="openai",tenant="globex"}`:  2,
			`caddy_ai_requests_total{code="200",model="fast",provider="openai",tenant="globex"}`:  5,
			`caddy_ai_attempts_total{model="fast",provider="openai",result="error"}`:              3,
			`caddy_ai_tokens_total{model="fast",provider="openai",tenant="globex",type="output"}`: 28 + out,
		})
	})
}
