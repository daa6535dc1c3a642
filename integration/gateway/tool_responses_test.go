package gateway

import (
	"fmt"
	"maps"
	"net/http"
	"strings"
	"testing"

	"github.com/tidwall/gjson"
	"github.com/tidwall/sjson"

	"github.com/caddy-chat/caddy-chat/integration/harness"
	"github.com/caddy-chat/caddy-chat/modules/provider"
	"github.com/caddy-chat/caddy-chat/modules/provider/providertest"
)

// agentAsks is what a coding agent sends: tools beside thinking.
const agentAsks = `{"model":"fast","max_tokens":99,"tools":[{"name":"f","input_schema":{"type":"object","properties":{}}}],"thinking":{"type":"adaptive"},"output_config":{"effort":"high"},"messages":[{"role":"user","content":"hi"}]}`

// agentReply calls a tool twice, and thinks before each call.
var agentReply = providertest.Reply{
	Model: "gpt-5.5", Finish: "tool_calls", Usage: &provider.Usage{Input: 9, Output: 7, Cached: 4, Reasoning: 3},
	Parts: []providertest.Part{
		{Reasoning: "first "}, {Reasoning: "thought"}, {Text: "I look."},
		{Call: 1, ID: "call_1", Name: "f", Arguments: `{"a":1}`}, {Reasoning: "second"}, {Call: 2, ID: "call_2", Name: "f", Arguments: "{}"},
	},
}

// toolResponsesSite is a gateway whose provider has Responses. more are lines of its block.
func toolResponsesSite(up *harness.Upstream, more ...string) string {
	return fmt.Sprintf(`
	@rest not path /metrics
	tenant_resolve @rest
	chat_session
	ai_gateway {
		provider openai {
			base_url %s
			responses on
		}
		model fast {
			to openai/gpt-5.5
			price 1000000 2000000
		}
		model other {
			to openai/gpt-5.6
		}
		retries 0
		rescue off
		circuit_breaker off
		%s
	}
	metrics /metrics
	log
`, up.URL, strings.Join(more, "\n"))
}

// messageOf returns the message in an answer of Messages, which a client has put together if
// it is a stream.
func messageOf(answer string) gjson.Result {
	if !strings.HasPrefix(answer, "event:") {
		return gjson.Parse(answer)
	}
	m, pieces := `{"content":[]}`, make(map[string]string)
	for line := range strings.Lines(answer) {
		data, _ := strings.CutPrefix(line, "data: ")
		event := gjson.Parse(data)
		at := "content." + event.Get("index").Raw
		switch event.Get("type").Str {
		case "content_block_start":
			m, _ = sjson.SetRaw(m, at, event.Get("content_block").Raw)
		case "content_block_delta":
			for _, name := range []string{"thinking", "text", "signature", "partial_json"} {
				pieces[at+"."+name] += event.Get("delta." + name).Str
			}
		case "message_delta":
			m, _ = sjson.SetRaw(m, "usage", event.Get("usage").Raw)
			m, _ = sjson.Set(m, "stop_reason", event.Get("delta.stop_reason").Str)
		}
	}
	for path, piece := range pieces {
		switch at, isInput := strings.CutSuffix(path, ".partial_json"); {
		case piece == "":
		case isInput:
			m, _ = sjson.SetRaw(m, at+".input", piece)
		default:
			m, _ = sjson.Set(m, path, piece)
		}
	}
	return gjson.Parse(m)
}

// goesOn returns a request with an answer, and with results of its calls.
func goesOn(t *testing.T, asked string, content gjson.Result) string {
	t.Helper()
	const results = `{"role":"user","content":[{"type":"tool_result","tool_use_id":"call_1","content":"sun"},{"type":"tool_result","tool_use_id":"call_2","content":"rain"}]}`
	messages := strings.TrimSuffix(gjson.Get(asked, "messages").Raw, "]")
	return set(t, asked, "messages", messages+`,{"role":"assistant","content":`+content.Raw+`},`+results+"]")
}

// wantThoughts checks that a request of Responses has the reasoning of the agentReply to its
// first message, as it was sealed, and each in front of what it came before.
func wantThoughts(t *testing.T, asked harness.Asked) {
	t.Helper()
	var got []string
	for _, item := range asked.Get("input").Array() {
		got = append(got, item.Get("role").Str+item.Get("id").Str+item.Get("call_id").Str)
	}
	want := []string{"user", "rs_1_0", "assistant", "call_1", "rs_1_3", "call_2", "call_1", "call_2"}
	harness.WantList(t, "items", got, want)
	for _, at := range []string{"1", "4"} {
		if sealed := asked.Get("input." + at + ".encrypted_content").Str; sealed != "gAAAAB" {
			t.Errorf("the reasoning came back as %q", sealed)
		}
	}
	if refused := providertest.RefuseResponse([]byte(asked.Body)); asked.Path != "/v1/responses" || refused != nil {
		t.Errorf("%s refuses: %s", asked.Path, refused)
	}
}

// TestToolsInResponses has a coding agent at a model that takes tools beside reasoning only in
// Responses, which its provider has: it reasons, is shown what it thinks, and goes on with its
// own reasoning in the next turn.
func TestToolsInResponses(t *testing.T) {
	t.Parallel()
	for _, offer := range toolOffers {
		up := harness.NewUpstream(t, refusesTools(offer, harness.Responses(agentReply)))
		c := harness.Start(t, harness.GatewayTenants, toolResponsesSite(up))
		cl := harness.NewClient(c, "globex", "ann")
		calls := 2 // the first is refused, which is remembered
		for _, streams := range []bool{false, true} {
			for _, remembered := range []bool{false, true} {
				name := fmt.Sprintf("%s streamed %t, in a session %t", offer, streams, remembered)
				t.Run(name, func(t *testing.T) {
					asked := set(t, agentAsks, "stream", fmt.Sprint(streams))
					header := []string{"X-Trace-Id", strings.ReplaceAll(fmt.Sprintf("t-%t-%t", streams, remembered), " ", "")}
					if remembered {
						header = append(header, "X-Session-Id", harness.NewSession())
					}
					before := up.Count()
					resp := cl.Do(http.MethodPost, "/v1/messages", asked, header...)
					text := harness.ReadAll(t, resp)
					if resp.StatusCode != http.StatusOK || up.Count()-before != calls || resp.Header.Get("X-Ai-Dropped") != "" {
						t.Fatalf("%d after %d calls, dropped %q: %s", resp.StatusCode, up.Count()-before, resp.Header.Get("X-Ai-Dropped"), text)
					}
					calls = 1
					sent := up.Last()
					if sent.Path != "/v1/responses" || sent.Get("reasoning").Raw != `{"effort":"high","summary":"auto"}` || sent.Get("store").Raw != "false" || sent.Get("tools.0.strict").Raw != "false" {
						t.Errorf("%s was sent %s", sent.Path, sent.Body)
					}
					m := messageOf(text)
					for path, want := range map[string]string{
						"stop_reason": "tool_use", "usage.input_tokens": "5", "usage.cache_read_input_tokens": "4", "usage.output_tokens": "7",
						"content.#(type==text).text": "I look.", "content.#(type==tool_use).input.a": "1", "content.#(type==thinking).thinking": "first thought",
						`content.#(type==thinking)#|#`: "2", `content.#(type==tool_use)#|#`: "2",
					} {
						if got := m.Get(path).String(); got != want {
							t.Errorf("%s is %q, want %q in %s", path, got, want, m.Raw)
						}
					}
					next := goesOn(t, asked, m.Get("content"))
					if remembered {
						next = set(t, asked, "messages", "["+gjson.Get(next, "messages.2").Raw+"]")
					}
					resp = cl.Do(http.MethodPost, "/v1/messages", next, header...)
					if text := harness.ReadAll(t, resp); resp.StatusCode != http.StatusOK || resp.Header.Get("X-Ai-Dropped") != "" {
						t.Fatalf("%d, dropped %q: %s", resp.StatusCode, resp.Header.Get("X-Ai-Dropped"), text)
					}
					wantThoughts(t, up.Last())
					if remembered {
						return
					}
					wantDropped(t, cl.Do(http.MethodPost, "/v1/messages", set(t, next, "model", `"other"`)), "messages.thinking_blocks")
					if strings.Contains(up.Last().Body, "gAAAAB") {
						t.Errorf("another model was sent %s", up.Last().Body)
					}
				})
			}
		}
		// a client of chat completions gets the refusal
		resp := cl.Do(http.MethodPost, harness.CompletionsPath, `{"model":"fast","messages":[{"role":"user","content":"hi"}],"tools":[{"type":"function","function":{"name":"f"}}],"reasoning_effort":"high"}`)
		if e := gjson.Parse(harness.ReadAll(t, resp)); resp.StatusCode != http.StatusBadRequest || e.Get("error.param").Str != "reasoning_effort" {
			t.Errorf("%d %s", resp.StatusCode, e.Raw)
		}
		// nothing is asked of the model's reasoning
		up.Plays(refusesTools(offer, harness.Document(http.StatusOK, harness.WholeAnswer)))
		harness.ReadAll(t, cl.Do(http.MethodPost, "/v1/messages", set(t, agentAsks, "thinking", `{"type":"disabled"}`)))
		if sent := up.Last(); sent.Path == "/v1/responses" || sent.Get("reasoning_effort").Str != "none" {
			t.Errorf("%s was sent %s", sent.Path, sent.Body)
		}
	}
}

// TestToolsInResponsesCut breaks such an answer off, and wants an error event.
func TestToolsInResponsesCut(t *testing.T) {
	t.Parallel()
	cut := func(c *harness.Call) {
		events := harness.EventsNumbered([]byte(c.Body), agentReply, nil)
		for i, event := range events {
			if strings.Contains(event, `"I look."`) {
				c.Send(events[:i+1]...)
				return
			}
		}
	}
	failed := agentReply
	failed.Finish, failed.Parts = "failed", agentReply.Parts[:3]
	for name, script := range map[string]harness.Script{"cut": cut, "failed": harness.Responses(failed)} {
		t.Run(name, func(t *testing.T) {
			up := harness.NewUpstream(t, refusesTools(toolOffers[0], script))
			cl := harness.NewClient(harness.Start(t, harness.GatewayTenants, toolResponsesSite(up)), "globex", "ann")
			text := harness.ReadAll(t, cl.Do(http.MethodPost, "/v1/messages", set(t, agentAsks, "stream", "true")))
			if !strings.Contains(text, "I look.") || !strings.Contains(text, "event: error\n") || strings.Contains(text, "message_stop") {
				t.Errorf("the stream is %s", text)
			}
		})
	}
}

// TestToolsInResponsesAreMetered has such answers counted, and ended by a budget.
func TestToolsInResponsesAreMetered(t *testing.T) {
	t.Parallel()
	tenants := strings.Replace(harness.GatewayTenants, "tenant initech {", "tenant initech {\nbudget 120 tokens/day", 1)
	up := harness.NewUpstream(t, refusesTools(toolOffers[0], harness.Responses(agentReply)))
	c := harness.Start(t, tenants, toolResponsesSite(up))
	for i, streams := range []bool{false, true} {
		trace := fmt.Sprint("metered-", streams)
		harness.ReadAll(t, harness.NewClient(c, "globex", "ann").Do(http.MethodPost, "/v1/messages", set(t, agentAsks, "stream", fmt.Sprint(streams)), "X-Trace-Id", trace))
		want := map[string]any{
			"tenant": "globex", "user": "ann", "trace_id": trace, "model": "fast", "provider": "openai", "attempts": float64(2 - i),
			"tokens_in": 9.0, "tokens_out": 7.0, "tokens_cached": 4.0, "cost_usd": 23.0, "ttft_ms": nil, "status": 200.0,
		}
		entry := c.AccessLog(trace)
		got := maps.Clone(want)
		for name := range want {
			got[name] = entry[name]
		}
		got["ttft_ms"] = nil
		if fmt.Sprint(got) != fmt.Sprint(want) {
			t.Errorf("the log has %v, want %v", got, want)
		}
	}
	const call = `model="fast",provider="openai",tenant="globex"`
	c.WantMetrics(map[string]float64{
		`caddy_ai_tokens_total{` + call + `,type="input"}`:     18,
		`caddy_ai_tokens_total{` + call + `,type="output"}`:    14,
		`caddy_ai_tokens_total{` + call + `,type="cached"}`:    8,
		`caddy_ai_tokens_total{` + call + `,type="reasoning"}`: 6,
		`caddy_ai_cost_usd_total{` + call + `}`:                46,
	})

	babble := providertest.Reply{Model: "gpt-5.5", Finish: "stop"}
	for range 1000 {
		babble.Parts = append(babble.Parts, providertest.Part{Text: "word"})
	}
	up.Plays(harness.Responses(babble))
	asked := set(t, set(t, agentAsks, "stream", "true"), "max_tokens", "100000")
	text := harness.ReadAll(t, harness.NewClient(c, "initech", "ann").Do(http.MethodPost, "/v1/messages", set(t, asked, "model", `"fast"`)))
	if up.Last().Path != "/v1/responses" || !strings.Contains(text, `"stop_reason":"max_tokens"`) || !strings.Contains(text, "message_stop") || strings.Count(text, `"word"`) > 120 {
		t.Errorf("%s gave %s", up.Last().Path, text)
	}
}

// TestNoThoughtRefused asks a model not to think that always does, and that takes tools only in
// Responses.
func TestNoThoughtRefused(t *testing.T) {
	t.Parallel()
	up := harness.NewUpstream(t, refusesTools(toolOffers[0], func(c *harness.Call) {
		if c.Get("reasoning_effort").Str == "none" {
			harness.Document(http.StatusBadRequest, `{"error":{"message":"Unsupported value: 'reasoning_effort' does not support 'none' with this model. Supported values are: 'low', 'medium', and 'high'.","type":"invalid_request_error","param":"reasoning_effort","code":"unsupported_value"}}`)(c)
			return
		}
		harness.Responses(agentReply)(c)
	}))
	cl := harness.NewClient(harness.Start(t, harness.GatewayTenants, toolResponsesSite(up)), "globex", "ann")
	for range 2 {
		resp := cl.Do(http.MethodPost, "/v1/messages", set(t, agentAsks, "thinking", `{"type":"disabled"}`))
		if got := harness.ReadAll(t, resp); resp.StatusCode != http.StatusOK || up.Last().Path != "/v1/responses" || up.Last().Get("reasoning").Exists() || !strings.Contains(resp.Header.Get("X-Ai-Dropped"), "output_config.effort") {
			t.Errorf("%d, dropped %q, sent %s: %s", resp.StatusCode, resp.Header.Get("X-Ai-Dropped"), up.Last().Body, got)
		}
	}
}
