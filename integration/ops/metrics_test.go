package ops

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/caddy-chat/caddy-chat/integration/harness"
)

const (
	usageInDetail = `{"prompt_tokens":7,"completion_tokens":3,"total_tokens":10,"prompt_tokens_details":{"cached_tokens":4,"cache_write_tokens":2},"completion_tokens_details":{"reasoning_tokens":2}}`
	detailed      = `data: {"id":"c-1","choices":[],"usage":` + usageInDetail + "}\n\n"
)

// meteredSite has a price, passthrough names and a /metrics of its own.
func meteredSite(f *harness.Upstream) string {
	return fmt.Sprintf(`
	@rest not path /metrics
	tenant_resolve @rest
	chat_ratelimit @rest 1000 1h
	chat_session
	ai_gateway {
		provider openai {
			base_url %s
		}
		model fast {
			to openai/up-fast
			price 1000000 2000000
		}
		passthrough
		retries 0
		rescue off
		circuit_breaker off
	}
	metrics /metrics
`, f.URL)
}

func TestMetrics(t *testing.T) {
	up := harness.NewUpstream(t, harness.Stalls)
	c := harness.Start(t, harness.GatewayTenants, meteredSite(up))
	globex := harness.NewClient(c, "globex", "ann")

	t.Run("of a chat", func(t *testing.T) {
		up.Plays()
		pending := globex.Ask(harness.NewSession(), "hi")
		held := up.Call()
		held.Send(harness.Role, harness.Content("Hello"))
		stream := pending.Events()
		if ev, ok := stream.Next(); !ok || ev.Content != "Hello" {
			t.Fatalf("%+v", ev)
		}
		if open := c.Metrics()[`caddy_chat_open_streams{tenant="globex"}`]; open != 1 {
			t.Errorf("%v open streams, want 1", open)
		}
		held.End(harness.Sends(harness.Finished, detailed, harness.EndMark))
		stream.Rest()
		const call = `model="fast",provider="openai",tenant="globex"`
		c.WantMetrics(map[string]float64{
			`caddy_chat_open_streams{tenant="globex"}`:                            0,
			`caddy_chat_requests_total{code="200",tenant="globex"}`:               1,
			`caddy_ai_requests_total{code="200",` + call + `}`:                    1,
			`caddy_ai_attempts_total{model="fast",provider="openai",result="ok"}`: 1,
			`caddy_ai_request_duration_seconds_count{` + call + `}`:               1,
			`caddy_ai_request_duration_seconds_bucket{` + call + `,le="+Inf"}`:    1,
			`caddy_ai_time_to_first_token_seconds_count{` + call + `}`:            1,
			`caddy_ai_tokens_total{` + call + `,type="input"}`:                    7,
			`caddy_ai_tokens_total{` + call + `,type="output"}`:                   3,
			`caddy_ai_tokens_total{` + call + `,type="cached"}`:                   4,
			`caddy_ai_tokens_total{` + call + `,type="written"}`:                  2,
			`caddy_ai_tokens_total{` + call + `,type="reasoning"}`:                2,
			`caddy_ai_cost_usd_total{` + call + `}`:                               13,
		})
		if n := c.Metrics()["caddy_chat_store_bytes"]; n <= 0 {
			t.Errorf("the store has %v bytes", n)
		}
	})
	t.Run("of a stream of the gateway", func(t *testing.T) {
		up.Plays()
		pending := globex.StartCompletion(harness.NewQuestion("openai/up-any").Streamed())
		held := up.Call()
		held.Send(harness.Content("Hello"))
		resp := pending.Answer()
		if open := c.Metrics()[`caddy_chat_open_streams{tenant="globex"}`]; open != 1 {
			t.Errorf("%v open streams, want 1", open)
		}
		held.End(harness.Sends(harness.Finished))
		harness.ReadAll(t, resp)
		c.WantMetrics(map[string]float64{
			`caddy_chat_open_streams{tenant="globex"}`:                                                  0,
			`caddy_ai_requests_total{code="200",model="passthrough",provider="openai",tenant="globex"}`: 1,
			`caddy_ai_attempts_total{model="passthrough",provider="openai",result="ok"}`:                1,
		})
	})
	t.Run("of failures", func(t *testing.T) {
		up.Plays(harness.Document(http.StatusInternalServerError, "{}"))
		globex.Complete(harness.NewQuestion("fast"))
		globex.Complete(harness.NewQuestion("unknown"))
		harness.NewClient(c, "acme", "ann").Complete(harness.NewQuestion("openai/up-1"))
		harness.NewClient(c, "unknown", "ann").Complete(harness.NewQuestion("fast"))
		c.WantMetrics(map[string]float64{
			`caddy_chat_requests_total{code="502",tenant="globex"}`:                              1,
			`caddy_ai_requests_total{code="502",model="fast",provider="openai",tenant="globex"}`: 1,
			`caddy_ai_attempts_total{model="fast",provider="openai",result="error"}`:             1,
			`caddy_chat_requests_total{code="404",tenant="globex"}`:                              1,
			`caddy_chat_rejected_total{reason="model_unknown",tenant="globex"}`:                  1,
			`caddy_chat_rejected_total{reason="model_not_allowed",tenant="acme"}`:                1,
			`caddy_chat_rejected_total{reason="tenant_unknown",tenant=""}`:                       1,
		})
	})
	t.Run("on a site", func(t *testing.T) {
		want := harness.OurMetrics(c.Metrics())
		if got := harness.OurMetrics(c.MetricsAt(c.URL + "/metrics")); len(want) == 0 || !slices.Equal(got, want) {
			t.Errorf("got %v, want the same as the admin endpoint: %v", got, want)
		}
	})
	t.Run("survive a reload", func(t *testing.T) {
		up.Plays(harness.Document(http.StatusOK, harness.WholeAnswer))
		before := c.Metrics()
		c.WriteConfig(harness.GatewayTenants, meteredSite(up)+"\theader X-Config 2\n")
		c.Reload()
		globex.Complete(harness.NewQuestion("fast"))
		want := make(map[string]float64)
		for name, more := range map[string]float64{
			`caddy_chat_requests_total{code="200",tenant="globex"}`:                                   1,
			`caddy_chat_rejected_total{reason="tenant_unknown",tenant=""}`:                            0,
			`caddy_ai_requests_total{code="200",model="fast",provider="openai",tenant="globex"}`:      1,
			`caddy_ai_attempts_total{model="fast",provider="openai",result="ok"}`:                     1,
			`caddy_ai_tokens_total{model="fast",provider="openai",tenant="globex",type="output"}`:     3,
			`caddy_ai_request_duration_seconds_count{model="fast",provider="openai",tenant="globex"}`: 1,
		} {
			want[name] = before[name] + more
		}
		c.WantMetrics(want)
	})
}

// TestMetricLabels repeats requests with values that the client invents, none of
// which may become a label.
func TestMetricLabels(t *testing.T) {
	up := harness.NewUpstream(t, harness.Stalls)
	c := harness.Start(t, harness.GatewayTenants, meteredSite(up))
	var names []string // of the series after the first round
	sent := 0.0
	for i := range 5 {
		word := fmt.Sprintf("invented%d", i)
		up.Plays(harness.Document(http.StatusOK, strings.ReplaceAll(harness.WholeAnswer, "up-1", word)))
		globex := harness.NewClient(c, "globex", word)
		for _, cl := range []*harness.Client{globex, harness.NewClient(c, word, word), harness.NewClient(c, "", word)} {
			cl.Complete(harness.NewQuestion("fast"))
			cl.Complete(harness.NewQuestion(word))
			cl.Complete(harness.NewQuestion("openai/"+word), "X-Trace-Id", word, "User-Agent", word, "X-Session-Id", harness.NewSession())
			harness.ReadAll(t, cl.Do(http.MethodPost, "/chat", harness.ChatRequest{SessionID: harness.NewSession(), Message: word, UserID: word, Stream: new(false)}))
			harness.ReadAll(t, cl.Do(http.MethodPost, "/chat", harness.ChatRequest{SessionID: word, Message: word}))
			harness.ReadAll(t, cl.Do(http.MethodGet, "/chat/"+word+"/history", nil))
			harness.ReadAll(t, cl.Do(strings.ToUpper(word), "/chat", nil))
			sent += 7
		}
		globex.Key = word
		harness.ReadAll(t, globex.Do(http.MethodGet, "/v1/models", nil, "X-Tenant-Id", "keyed"))
		sent++

		var series map[string]float64
		harness.Eventually(t, "all requests are counted", func() bool {
			series = c.Metrics()
			return harness.RequestsIn(series) == sent
		})
		got := harness.OurMetrics(series)
		for _, name := range got {
			if strings.Contains(strings.ToLower(name), "invented") {
				t.Errorf("a request made the series %s", name)
			}
		}
		if i == 0 {
			names = got
		}
		if !slices.Equal(got, names) {
			t.Fatalf("%d series before, %d now: %v", len(names), len(got), got)
		}
	}
}
