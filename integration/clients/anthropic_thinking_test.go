package clients

import (
	"net/http"
	"strings"
	"testing"

	"github.com/anthropics/anthropic-sdk-go"
	"github.com/tidwall/gjson"

	"github.com/caddy-chat/caddy-chat/integration/harness"
)

// thoughtfulCall is a message of Anthropic's that thinks before it calls a tool.
const thoughtfulCall = `{"id":"msg_1","type":"message","role":"assistant","model":"upstream-claude","content":[
	{"type":"thinking","thinking":"Look first.","signature":"c2lnbmVk"},
	{"type":"redacted_thinking","data":"aGlkZGVu"},
	{"type":"tool_use","id":"toolu_1","name":"weather","input":{"city":"Tokyo"}}],
	"stop_reason":"tool_use","stop_sequence":null,"usage":{"input_tokens":20,"output_tokens":9}}`

// TestAnthropicGoThinking takes two turns with thinking: what the client sends back is
// what its provider wants.
func TestAnthropicGoThinking(t *testing.T) {
	t.Parallel()
	up := harness.NewUpstream(t, harness.ByModel(map[string]harness.Script{
		"upstream-claude": claudeThinks(t),
		"upstream-open":   openThinks(t),
	}))
	c := harness.Start(t, "chat {\n tenant acme {\n api_key acme-client-key\n }\n }\n", `
		tenant_resolve
		ai_gateway {
			provider openai {
				base_url `+up.URL+`
			}
			provider anthropic {
				base_url `+up.Origin()+`
				api_key upstream-key
			}
			model claude {
				to anthropic/upstream-claude
			}
			model open {
				to openai/upstream-open
			}
		}
	`)
	for model, tokens := range map[string]int64{"claude": 42, "open": 0} {
		t.Run(model, func(t *testing.T) {
			g := newAnthropicGo(t, clientCase{BaseURL: c.URL + "/v1", Model: model, Key: "acme-client-key", Tools: []string{"weather"}})
			p := g.params()
			p.Thinking = anthropic.ThinkingConfigParamOfEnabled(2048)
			called, err := g.client.Messages.New(t.Context(), p)
			if err != nil {
				t.Fatal(err)
			}
			var s sight
			if s.takeMessage(called); s.Reasoning != "Look first." || len(s.ToolCalls) != 1 {
				t.Errorf("the first answer is %s", called.RawJSON())
			}
			call := called.Content[len(called.Content)-1]
			p.Messages = append(p.Messages, called.ToParam(), anthropic.NewUserMessage(anthropic.NewToolResultBlock(call.ID, toolResult, false)))
			if _, err := g.accumulate(p, &s); err != nil || s.Text != "It is warm." {
				t.Errorf("the second answer is %q, %v", s.Text, err)
			}
			count, err := g.client.Messages.CountTokens(t.Context(), anthropic.MessageCountTokensParams{Model: model, Messages: p.Messages})
			if err != nil || count.InputTokens == 0 || tokens != 0 && count.InputTokens != tokens {
				t.Errorf("counted %+v, %v", count, err)
			}
		})
	}
}

// claudeThinks wants its thinking back as it was.
func claudeThinks(t *testing.T) harness.Script {
	said := gjson.Get(thoughtfulCall, "content|@ugly").Raw
	events := []string{
		`{"type":"message_start","message":{"id":"msg_2","type":"message","role":"assistant","model":"upstream-claude","content":[],"stop_reason":null,"stop_sequence":null,"usage":{"input_tokens":30,"output_tokens":1}}}`,
		`{"type":"content_block_start","index":0,"content_block":{"type":"text","text":""}}`,
		`{"type":"content_block_delta","index":0,"delta":{"type":"text_delta","text":"It is warm."}}`,
		`{"type":"content_block_stop","index":0}`,
		`{"type":"message_delta","delta":{"stop_reason":"end_turn","stop_sequence":null},"usage":{"output_tokens":4}}`,
		`{"type":"message_stop"}`,
	}
	return func(c *harness.Call) {
		if strings.HasSuffix(c.Path, "/count_tokens") {
			harness.Document(http.StatusOK, `{"input_tokens":42}`)(c)
			return
		}
		if !strings.Contains(c.Body, toolResult) {
			harness.Document(http.StatusOK, thoughtfulCall)(c)
			return
		}
		if got := gjson.Get(c.Body, "messages.1.content|@ugly").Raw; !sameJSON(got, said) {
			t.Errorf("the provider gets back %s, want %s", got, said)
		}
		for _, data := range events {
			c.Send("event: " + gjson.Get(data, "type").Str + "\ndata: " + data + "\n\n")
		}
	}
}

// openThinks wants its reasoning back in the way of chat completions.
func openThinks(t *testing.T) harness.Script {
	return func(c *harness.Call) {
		if !strings.Contains(c.Body, toolResult) {
			harness.Document(http.StatusOK, c.Completion(`{"role":"assistant","content":null,"reasoning_content":"Look first.",
				"tool_calls":[{"id":"call_1","type":"function","function":{"name":"weather","arguments":"{\"city\":\"Tokyo\"}"}}]}`, "tool_calls", harness.UsageOf(20, 9)))(c)
			return
		}
		if got := gjson.Get(c.Body, "messages.1"); got.Get("reasoning_content").Str != "Look first." || got.Get("tool_calls.0.id").Str != "call_1" {
			t.Errorf("the provider gets back %s", got.Raw)
		}
		harness.Says(30, 4, "It is warm.")(c)
	}
}
