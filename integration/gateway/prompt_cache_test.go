package gateway

import (
	"fmt"
	"math"
	"net/http"
	"strings"
	"testing"

	"github.com/tidwall/gjson"

	"github.com/caddy-chat/caddy-chat/integration/harness"
)

// cachedMessage is an answer of Anthropic's for which a prompt cache was read and written.
const (
	cachedUsage   = `"usage":{"input_tokens":10,"cache_read_input_tokens":2000,"cache_creation_input_tokens":1000,"cache_creation":{"ephemeral_5m_input_tokens":600,"ephemeral_1h_input_tokens":400},"output_tokens":5}`
	cachedMessage = `{"id":"msg_1","type":"message","role":"assistant","model":"claude-sonnet-4-5","content":[{"type":"text","text":"Hello"}],"stop_reason":"end_turn",` + cachedUsage + `}`
)

// TestPromptCacheUsage has an answer's prompt cache tokens told and priced through each
// API, whoever translates.
func TestPromptCacheUsage(t *testing.T) {
	up := harness.NewUpstream(t)
	c := harness.Start(t, harness.GatewayTenants, claudeSite(up, ""))
	cl := harness.NewClient(c, "globex", "ann")
	stream := strings.Join([]string{
		`event: message_start` + "\n" + `data: {"type":"message_start","message":{"id":"msg_1","type":"message","role":"assistant","model":"claude-sonnet-4-5","content":[],` + cachedUsage + `}}`,
		`event: content_block_start` + "\n" + `data: {"type":"content_block_start","index":0,"content_block":{"type":"text","text":"Hello"}}`,
		`event: content_block_stop` + "\n" + `data: {"type":"content_block_stop","index":0}`,
		`event: message_delta` + "\n" + `data: {"type":"message_delta","delta":{"stop_reason":"end_turn"},"usage":{"output_tokens":5}}`,
		`event: message_stop` + "\n" + `data: {"type":"message_stop"}`, "",
	}, "\n\n")

	for path, members := range map[string][2]string{
		"/v1/messages":         {"cache_read_input_tokens", "cache_creation_input_tokens"},
		"/v1/chat/completions": {"prompt_tokens_details.cached_tokens", "prompt_tokens_details.cache_write_tokens"},
		"/v1/responses":        {"input_tokens_details.cached_tokens", "input_tokens_details.cache_write_tokens"},
	} {
		for _, streams := range []bool{false, true} {
			t.Run(fmt.Sprint(path, " ", streams), func(t *testing.T) {
				up.Plays(harness.Document(200, cachedMessage))
				if streams {
					up.Plays(harness.Sends(stream))
				}
				resp := cl.Do(http.MethodPost, path, askedThrough(path, streams))
				text := harness.ReadAll(t, resp)
				usage := gjson.Get(text, "usage")
				if streams {
					usage = lastUsage(text)
				}
				if usage.Get(members[0]).Int() != 2000 || usage.Get(members[1]).Int() != 1000 {
					t.Errorf("usage is %s in\n%s", usage, text)
				}
				entry := c.AccessLog(resp.Header.Get("X-Trace-Id"))
				// 10 at 3, 2,000 at 0.3, 600 at 3.75, 400 at 6 and 5 at 15 dollars a million
				const cost = (30 + 600 + 2250 + 2400 + 75) / 1e6
				if got, _ := entry["cost_usd"].(float64); math.Abs(got-cost) > 1e-9 || entry["tokens_cached"] != 2000.0 || entry["tokens_written"] != 1000.0 || entry["tokens_in"] != 3010.0 {
					t.Errorf("the log has %v, want a cost of %v", entry, cost)
				}
			})
		}
	}
}

// claudeSite has Claude at an upstream, with more options of the provider.
func claudeSite(up *harness.Upstream, options string) string {
	return fmt.Sprintf(`
	log
	tenant_resolve
	ai_gateway {
		provider anthropic {
			base_url %s
			api_key upstream-key
			%s
		}
		model fast {
			to anthropic/claude-sonnet-4-5
		}
		retries 0
		circuit_breaker off
	}
`, up.Origin(), options)
}

// askedThrough returns a question for a route.
func askedThrough(path string, streams bool) map[string]any {
	body := map[string]any{"model": "fast", "stream": streams, "messages": []any{map[string]any{"role": "user", "content": "hi"}}}
	switch path {
	case "/v1/messages":
		body["max_tokens"] = 100
	case "/v1/chat/completions":
		if streams {
			body["stream_options"] = map[string]any{"include_usage": true}
		}
	case "/v1/responses":
		body["input"] = body["messages"]
		delete(body, "messages")
	}
	return body
}

// lastUsage returns the last counts of a stream, of which Messages tells some at its
// beginning.
func lastUsage(stream string) (usage gjson.Result) {
	for line := range strings.Lines(stream) {
		data, _ := strings.CutPrefix(line, "data: ")
		for _, name := range []string{"usage", "message.usage", "response.usage"} {
			if u := gjson.Get(data, name); u.IsObject() && len(u.Raw) > len(usage.Raw) {
				usage = u
			}
		}
	}
	return usage
}

// TestCachePrompts has the gateway set marks for the prompt cache.
func TestCachePrompts(t *testing.T) {
	up := harness.NewUpstream(t)
	cl := harness.NewClient(harness.Start(t, harness.GatewayTenants, claudeSite(up, "cache_prompts on")), "globex", "ann")
	ask := func(path, body string) harness.Asked {
		t.Helper()
		up.Plays(harness.Document(200, cachedMessage))
		if resp := cl.Do(http.MethodPost, path, body); resp.StatusCode != http.StatusOK {
			t.Errorf("%s: %d %s", path, resp.StatusCode, harness.ReadAll(t, resp))
		}
		return up.Last()
	}
	const mark = `{"type":"ephemeral"}`
	for path, body := range map[string]string{
		"/v1/messages":         `{"model":"fast","max_tokens":9,"system":"be kind","messages":[{"role":"user","content":"hi"}]}`,
		"/v1/chat/completions": `{"model":"fast","messages":[{"role":"system","content":"be kind"},{"role":"user","content":"hi"}]}`,
		"/v1/responses":        `{"model":"fast","instructions":"be kind","input":"hi"}`,
	} {
		asked := ask(path, body)
		if asked.Get("system.0.text").Str != "be kind" || asked.Get("system.0.cache_control").Raw != mark || asked.Get("cache_control").Raw != mark {
			t.Errorf("%s: the upstream got %s", path, asked.Body)
		}
	}
	own := ask("/v1/messages", `{"model":"fast","max_tokens":9,"system":"be kind","messages":[{"role":"user","content":[{"type":"text","text":"hi","cache_control":{"type":"ephemeral","ttl":"1h"}}]}]}`)
	if own.Get("cache_control").Exists() || own.Get("system").Str != "be kind" {
		t.Errorf("marks beside the client's own: %s", own.Body)
	}
}
