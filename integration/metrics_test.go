package integration

import (
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// Metrics are the series on the admin endpoint, as they are written there.
func (c *Caddy) Metrics() map[string]float64 {
	c.T.Helper()
	return c.MetricsAt(c.Admin + "/metrics")
}

func (c *Caddy) MetricsAt(url string) map[string]float64 {
	c.T.Helper()
	resp, err := http.Get(url)
	if err != nil {
		c.T.Fatal(err)
	}
	series := make(map[string]float64)
	for line := range strings.Lines(ReadAll(c.T, resp)) {
		line = strings.TrimSpace(line)
		at := strings.LastIndexByte(line, ' ')
		if line == "" || line[0] == '#' {
			continue
		}
		value, err := strconv.ParseFloat(line[at+1:], 64)
		if err != nil {
			c.T.Fatalf("metrics: %q: %v", line, err)
		}
		series[line[:at]] = value
	}
	return series
}

// WantMetrics waits for series to have their values: a request is counted
// when it is over, which its client may know first.
func (c *Caddy) WantMetrics(want map[string]float64) {
	c.T.Helper()
	for name, value := range want {
		Eventually(c.T, fmt.Sprintf("%s is %v", name, value), func() bool {
			got, ok := c.Metrics()[name]
			return ok && got == value
		})
	}
}

// OurMetrics are the names of the series that this project exports.
func OurMetrics(series map[string]float64) []string {
	return slices.DeleteFunc(slices.Sorted(maps.Keys(series)), func(name string) bool {
		return !strings.HasPrefix(name, "caddy_chat_") && !strings.HasPrefix(name, "caddy_ai_")
	})
}

const (
	usageInDetail = `{"prompt_tokens":7,"completion_tokens":3,"total_tokens":10,"prompt_tokens_details":{"cached_tokens":4},"completion_tokens_details":{"reasoning_tokens":2}}`
	detailed      = `data: {"id":"c-1","choices":[],"usage":` + usageInDetail + "}\n\n"
)

// meteredSite has a price, the site's own /metrics and names that pass
// through.
func meteredSite(f *FakeProvider) string {
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
	up := NewFakeProvider(t, Silent)
	c := Start(t, GatewayTenants, meteredSite(up))
	globex := NewClient(c, "globex", "ann")

	t.Run("of a chat", func(t *testing.T) {
		g := NewGate()
		up.Answers(g.Serve)
		go func() {
			for _, ev := range []string{Role, Content("Hello")} {
				g.Events <- ev
			}
		}()
		stream := ReadEvents(t, globex.Do(http.MethodPost, "/chat", ChatRequest{SessionID: NewSession(), Message: "hi"}))
		if ev, ok := stream.Next(); !ok || ev.Content != "Hello" {
			t.Fatalf("%+v", ev)
		}
		if open := c.Metrics()[`caddy_chat_open_streams{tenant="globex"}`]; open != 1 {
			t.Errorf("%v open streams, want 1", open)
		}
		g.Say(t, Finished)
		g.Say(t, detailed)
		g.Say(t, EndMark)
		close(g.Events)
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
			`caddy_ai_tokens_total{` + call + `,type="reasoning"}`:                2,
			`caddy_ai_cost_usd_total{` + call + `}`:                               13,
		})
		if n := c.Metrics()["caddy_chat_store_bytes"]; n <= 0 {
			t.Errorf("the store has %v bytes", n)
		}
	})
	t.Run("of a stream of the gateway", func(t *testing.T) {
		g := NewGate()
		up.Answers(g.Serve)
		go func() { g.Events <- Content("Hello") }()
		resp := globex.Do(http.MethodPost, CompletionsPath, NewQuestion("openai/up-any").Streamed())
		if open := c.Metrics()[`caddy_chat_open_streams{tenant="globex"}`]; open != 1 {
			t.Errorf("%v open streams, want 1", open)
		}
		g.Say(t, Finished)
		close(g.Events)
		ReadAll(t, resp)
		c.WantMetrics(map[string]float64{
			`caddy_chat_open_streams{tenant="globex"}`:                                                  0,
			`caddy_ai_requests_total{code="200",model="passthrough",provider="openai",tenant="globex"}`: 1,
			`caddy_ai_attempts_total{model="passthrough",provider="openai",result="ok"}`:                1,
		})
	})
	t.Run("of failures", func(t *testing.T) {
		up.Answers(Document(http.StatusInternalServerError, "{}"))
		globex.Complete(NewQuestion("fast"))
		globex.Complete(NewQuestion("nobody"))
		NewClient(c, "acme", "ann").Complete(NewQuestion("openai/up-1"))
		NewClient(c, "nobody", "ann").Complete(NewQuestion("fast"))
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
		want := OurMetrics(c.Metrics())
		if got := OurMetrics(c.MetricsAt(c.URL + "/metrics")); len(want) == 0 || !slices.Equal(got, want) {
			t.Errorf("got %v, want what the admin endpoint has: %v", got, want)
		}
	})
	t.Run("survive a reload", func(t *testing.T) {
		up.Answers(Document(http.StatusOK, WholeAnswer))
		before := c.Metrics()
		c.WriteConfig(GatewayTenants, meteredSite(up)+"\theader X-Config 2\n")
		c.Reload()
		globex.Complete(NewQuestion("fast"))
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

// TestMetricLabels repeats requests with values of the client's own
// invention, of which none may become a label.
func TestMetricLabels(t *testing.T) {
	up := NewFakeProvider(t, Silent)
	c := Start(t, GatewayTenants, meteredSite(up))
	var names []string // of the series after the first round
	sent := 0.0
	for i := range 5 {
		word := fmt.Sprintf("invented%d", i)
		up.Answers(Document(http.StatusOK, strings.ReplaceAll(WholeAnswer, "up-1", word)))
		globex := NewClient(c, "globex", word)
		for _, cl := range []*Client{globex, NewClient(c, word, word), NewClient(c, "", word)} {
			cl.Complete(NewQuestion("fast"))
			cl.Complete(NewQuestion(word))
			cl.Complete(NewQuestion("openai/"+word), "X-Trace-Id", word, "User-Agent", word, "X-Session-Id", NewSession())
			ReadAll(t, cl.Do(http.MethodPost, "/chat", ChatRequest{SessionID: NewSession(), Message: word, UserID: word, Stream: new(false)}))
			ReadAll(t, cl.Do(http.MethodPost, "/chat", ChatRequest{SessionID: word, Message: word}))
			ReadAll(t, cl.Do(http.MethodGet, "/chat/"+word+"/history", nil))
			ReadAll(t, cl.Do(strings.ToUpper(word), "/chat", nil))
			sent += 7
		}
		globex.Key = word
		ReadAll(t, globex.Do(http.MethodGet, "/v1/models", nil, "X-Tenant-Id", "keyed"))
		sent++

		var series map[string]float64
		Eventually(t, "all requests are counted", func() bool {
			series = c.Metrics()
			return RequestsIn(series) == sent
		})
		got := OurMetrics(series)
		for _, name := range got {
			if strings.Contains(strings.ToLower(name), "invented") {
				t.Errorf("a request made the series %s", name)
			}
		}
		if i == 0 {
			names = got
		}
		if !slices.Equal(got, names) {
			t.Fatalf("there were %d series, now there are %d: %v", len(names), len(got), got)
		}
	}
}

// RequestsIn is how many requests were counted: under their tenants, and as
// refused where they have none.
func RequestsIn(series map[string]float64) float64 {
	var n float64
	for name, value := range series {
		if strings.HasPrefix(name, "caddy_chat_requests_total{") ||
			strings.HasPrefix(name, "caddy_chat_rejected_total{") && strings.Contains(name, `tenant=""`) {
			n += value
		}
	}
	return n
}
