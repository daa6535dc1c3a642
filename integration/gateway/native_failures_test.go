package gateway

import (
	"net/http"
	"strings"
	"testing"

	"github.com/caddy-chat/caddy-chat/integration/harness"
)

// TestNativeFailures has streams that pass as they came tell a failure in many ways, at the
// beginning and behind text. The next target is asked, or the stream ends with a failure;
// what the provider says of it does not come out.
func TestNativeFailures(t *testing.T) {
	t.Parallel()
	const secret = "key sk-secret of org-1"
	stream := func(events ...string) harness.Script {
		return harness.Steps(harness.Heads("Content-Type", "text/event-stream"), func(c *harness.Call) {
			for _, ev := range events {
				c.Send(ev)
			}
		})
	}
	for _, api := range []struct {
		path, body, begun, text string
		failures                []string
		fails                   string // the event that ends a failed stream
	}{
		{
			"/v1/responses", `{"model":"fast","input":"hi","stream":true,"store":false}`,
			"event: response.created\ndata: {\"type\":\"response.created\",\"response\":{\"id\":\"r\",\"status\":\"in_progress\",\"error\":null,\"output\":[]}}\n\n",
			"event: response.output_text.delta\ndata: {\"type\":\"response.output_text.delta\",\"item_id\":\"m\",\"output_index\":0,\"content_index\":0,\"delta\":\"part\"}\n\n",
			[]string{
				"event: response.completed\ndata: {\"type\":\"response.completed\",\"response\":{\"status\":\"failed\",\"error\":{\"message\":\"" + secret + "\"},\"output\":[]}}\n\n",
				"event: response.incomplete\ndata: {\"type\":\"response.incomplete\",\"response\":{\"status\":\"failed\",\"error\":\"" + secret + "\",\"output\":[]}}\n\n",
				"event: response.cancelled\ndata: {\"type\":\"response.cancelled\",\"response\":{\"status\":\"cancelled\",\"error\":{\"message\":\"" + secret + "\"}}}\n\n",
				"event: response.error\ndata: {\"type\":\"response.error\",\"message\":\"" + secret + "\"}\n\n",
				"data: {\"type\":\"server_error\",\"error\":{\"message\":\"" + secret + "\"}}\n\n",
				"data: {\"type\":\"internal_error\",\"message\":\"" + secret + "\"}\n\n",
				"data: {\"type\":\"response.new\",\"error\":{\"message\":\"" + secret + "\"}}\n\n",
			},
			"event: response.failed",
		},
		{
			"/v1/messages", `{"model":"claude","max_tokens":9,"messages":[{"role":"user","content":"hi"}],"stream":true}`,
			"event: message_start\ndata: {\"type\":\"message_start\",\"message\":{\"id\":\"m\",\"type\":\"message\",\"role\":\"assistant\",\"model\":\"x\",\"content\":[],\"usage\":{\"input_tokens\":1,\"output_tokens\":1}}}\n\n",
			"event: content_block_start\ndata: {\"type\":\"content_block_start\",\"index\":0,\"content_block\":{\"type\":\"text\",\"text\":\"\"}}\n\nevent: content_block_delta\ndata: {\"type\":\"content_block_delta\",\"index\":0,\"delta\":{\"type\":\"text_delta\",\"text\":\"part\"}}\n\n",
			[]string{
				"event: overloaded_error\ndata: {\"type\":\"overloaded_error\",\"message\":\"" + secret + "\"}\n\n",
				"event: api_error\ndata: {\"message\":\"" + secret + "\"}\n\n",
				"event: message_delta\ndata: {\"type\":\"message_delta\",\"delta\":{},\"error\":{\"message\":\"" + secret + "\"}}\n\n",
				"event: error\ndata: " + secret + "\n\n",
			},
			"event: error",
		},
	} {
		one, two := harness.NewUpstream(t), harness.NewTarget(t, "two", harness.Echoes)
		c := harness.Start(t, harness.GatewayTenants, "tenant_resolve\nai_gateway {\n"+
			"provider openai {\nbase_url "+one.URL+"\nresponses on\n}\nprovider anthropic {\nbase_url "+one.Origin()+"\n}\nprovider two openai {\nbase_url "+two.URL+"\n}\n"+
			"model fast {\nto openai/a\nto two/b\n}\nmodel claude {\nto anthropic/a\nto two/b\n}\nretries 0\nrescue off\ncircuit_breaker off\n}\n")
		cl := harness.NewClient(c, "globex", "ann")
		for _, failure := range api.failures {
			for _, sent := range [][]string{{api.begun, failure}, {api.begun, api.text, failure}} {
				one.Plays(stream(sent...))
				got := harness.ReadAll(t, cl.Do(http.MethodPost, api.path, api.body))
				begun := len(sent) > 2
				if strings.Contains(got, "sk-secret") || strings.Contains(got, api.fails) != begun || strings.Contains(got, "re: hi") == begun {
					t.Errorf("%s: behind text %t, %q gave\n%s", api.path, begun, failure, got)
				}
			}
		}
	}
}
