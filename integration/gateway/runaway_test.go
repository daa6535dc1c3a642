package gateway

import (
	"net/http"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/caddy-chat/caddy-chat/integration/harness"
)

// TestRunawayStream has upstreams whose streams do not end. The writers of other APIs gather
// what they have written, so that these end.
func TestRunawayStream(t *testing.T) {
	const most = 72 << 20 // 64 MiB, and what is under way
	filler := strings.Repeat("x", 64<<10)
	for name, test := range map[string]struct {
		path, body string
		events     []string
		ends       string
	}{
		"messages": {
			"/v1/messages", `{"model":"fast","max_tokens":9,"messages":[{"role":"user","content":"hi"}],"stream":true}`,
			[]string{harness.Content(filler)}, "event: error\n",
		},
		"messages as they came": {
			"/v1/messages", `{"model":"claude","max_tokens":9,"messages":[{"role":"user","content":"hi"}],"stream":true}`,
			[]string{
				"event: message_start\ndata: {\"type\":\"message_start\",\"message\":{\"id\":\"m\",\"type\":\"message\",\"role\":\"assistant\",\"model\":\"x\",\"content\":[],\"usage\":{\"input_tokens\":1,\"output_tokens\":1}}}\n\n",
				"event: content_block_start\ndata: {\"type\":\"content_block_start\",\"index\":0,\"content_block\":{\"type\":\"text\",\"text\":\"\"}}\n\n",
				"event: content_block_delta\ndata: {\"type\":\"content_block_delta\",\"index\":0,\"delta\":{\"type\":\"text_delta\",\"text\":\"" + filler + "\"}}\n\n",
			}, "event: error\n",
		},
		"responses": {
			"/v1/responses", `{"model":"fast","input":"hi","stream":true,"store":false}`,
			[]string{harness.Delta(`{"reasoning_content":"` + filler + `"}`)}, "event: response.failed\n",
		},
		"responses as they came": {
			"/v1/responses", `{"model":"native","input":"hi","stream":true,"store":false}`,
			[]string{
				"event: response.created\ndata: {\"type\":\"response.created\",\"response\":{\"id\":\"r\",\"status\":\"in_progress\",\"error\":null,\"output\":[]}}\n\n",
				"event: response.output_item.added\ndata: {\"type\":\"response.output_item.added\",\"output_index\":0,\"item\":{\"id\":\"m\",\"type\":\"message\",\"role\":\"assistant\",\"content\":[]}}\n\n",
				"event: response.output_text.delta\ndata: {\"type\":\"response.output_text.delta\",\"item_id\":\"m\",\"output_index\":0,\"content_index\":0,\"delta\":\"" + filler + "\"}\n\n",
			}, "event: response.failed\n",
		},
	} {
		t.Run(name, func(t *testing.T) {
			var taken atomic.Int64
			up := harness.NewUpstream(t, harness.Runaway(&taken, test.events...))
			c := harness.Start(t, harness.GatewayTenants, "tenant_resolve\nai_gateway {\n"+
				"provider openai {\nbase_url "+up.URL+"\n}\nprovider native openai {\nbase_url "+up.URL+"\nresponses on\n}\nprovider anthropic {\nbase_url "+up.Origin()+"\n}\n"+
				"model fast {\nto openai/a\n}\nmodel native {\nto native/a\n}\nmodel claude {\nto anthropic/a\n}\nretries 0\n}\n")
			stream := harness.ReadAll(t, harness.NewClient(c, "globex", "ann").Do(http.MethodPost, test.path, test.body))
			if !strings.Contains(stream, test.ends) || !strings.Contains(stream, "longer than 64 MiB") {
				t.Errorf("%d bytes end with %.300s", len(stream), stream[max(0, len(stream)-300):])
			}
			if n := taken.Load(); n > most || up.Count() != 1 {
				t.Errorf("the upstream was asked %d times and sent %d MiB", up.Count(), n>>20)
			}
		})
	}
}
