package messages

import (
	"strings"
	"testing"

	"github.com/tidwall/gjson"

	"github.com/caddy-chat/caddy-chat/modules/provider"
)

// assembled are events of an answer with much that chat completions do not have.
var assembled = []string{
	`{"type":"message_start","message":{"id":"msg_1","type":"message","role":"assistant","model":"m","content":[],"stop_reason":null,"stop_sequence":null,"container":null,"usage":{"input_tokens":9,"cache_read_input_tokens":4,"output_tokens":1}}}`,
	`{"type":"content_block_start","index":0,"content_block":{"type":"thinking","thinking":"","signature":""}}`,
	`{"type":"ping"}`,
	`{"type":"content_block_delta","index":0,"delta":{"type":"thinking_delta","thinking":"h"}}`,
	`{"type":"content_block_delta","index":0,"delta":{"type":"thinking_delta","thinking":"m"}}`,
	`{"type":"content_block_delta","index":0,"delta":{"type":"signature_delta","signature":"c2ln"}}`,
	`{"type":"content_block_stop","index":0}`,
	`{"type":"content_block_start","index":1,"content_block":{"type":"server_tool_use","id":"srvtoolu_1","name":"web_search","input":{}}}`,
	`{"type":"content_block_delta","index":1,"delta":{"type":"input_json_delta","partial_json":""}}`,
	`{"type":"content_block_delta","index":1,"delta":{"type":"input_json_delta","partial_json":"{\"query\""}}`,
	`{"type":"content_block_delta","index":1,"delta":{"type":"input_json_delta","partial_json":":\"x\"}"}}`,
	`{"type":"content_block_stop","index":1}`,
	`{"type":"content_block_start","index":2,"content_block":{"type":"web_search_tool_result","tool_use_id":"srvtoolu_1","content":[{"type":"web_search_result","encrypted_content":"ZW5j"}]}}`,
	`{"type":"content_block_stop","index":2}`,
	`{"type":"content_block_start","index":3,"content_block":{"type":"text","text":"","citations":[]}}`,
	`{"type":"content_block_delta","index":3,"delta":{"type":"text_delta","text":"Hel\u006co"}}`,
	`{"type":"content_block_delta","index":3,"delta":{"type":"citations_delta","citation":{"type":"web_search_result_location","n":1.0}}}`,
	`{"type":"content_block_delta","index":3,"delta":{"type":"citations_delta","citation":{"n":2}}}`,
	`{"type":"content_block_stop","index":3}`,
	`{"type":"content_block_start","index":4,"content_block":{"type":"brand_new","words":"a","n":1}}`,
	`{"type":"content_block_delta","index":4,"delta":{"type":"brand_new_delta","words":"b","n":2}}`,
	`{"type":"content_block_stop","index":4}`,
	`{"type":"content_block_start","index":5,"content_block":{"type":"tool_use","id":"toolu_1","name":"f","input":{}}}`,
	`{"type":"content_block_stop","index":5}`,
	`{"type":"message_delta","delta":{"stop_reason":"tool_use","stop_sequence":null,"container":{"id":"c"}},"usage":{"output_tokens":7},"context_management":{"applied_edits":[]}}`,
	`{"type":"message_stop"}`,
}

const assembledDocument = `{"id":"msg_1","type":"message","role":"assistant","model":"m","content":[` +
	`{"signature":"c2ln","thinking":"hm","type":"thinking"},` +
	`{"id":"srvtoolu_1","input":{"query":"x"},"name":"web_search","type":"server_tool_use"},` +
	`{"content":[{"type":"web_search_result","encrypted_content":"ZW5j"}],"tool_use_id":"srvtoolu_1","type":"web_search_tool_result"},` +
	`{"citations":[{"type":"web_search_result_location","n":1.0},{"n":2}],"text":"Hello","type":"text"},` +
	`{"n":2,"type":"brand_new","words":"ab"},` +
	`{"id":"toolu_1","input":{},"name":"f","type":"tool_use"}],` +
	`"stop_reason":"tool_use","stop_sequence":null,"usage":{"cache_read_input_tokens":4,"input_tokens":9,"output_tokens":7},"container":{"id":"c"},"context_management":{"applied_edits":[]}}`

// assembleOf assembles events.
func assembleOf(events []string, u provider.Usage) string {
	a := new(call).Assembler()
	for _, data := range events {
		a.Add([]byte("event: " + gjson.Get(data, "type").Str + "\ndata: " + data + "\n\n"))
	}
	return string(a.Document(u))
}

// TestAssemble assembles a document of a stream, and of one that ends after any event.
func TestAssemble(t *testing.T) {
	if got := assembleOf(assembled, provider.Usage{}); got != assembledDocument {
		t.Errorf("got\n%s\nwant\n%s", got, assembledDocument)
	}
	whole := gjson.Get(assembledDocument, "content").Array()
	for n := 1; n < len(assembled)-2; n++ {
		got := assembleOf(assembled[:n], provider.Usage{Input: 9, Output: 5})
		doc := gjson.Parse(got)
		if !gjson.Valid(got) || doc.Get("stop_reason").Str != "max_tokens" || doc.Get("usage.output_tokens").Int() != 5 {
			t.Fatalf("after %d events:\n%s", n, got)
		}
		for i, block := range doc.Get("content").Array() {
			if begun := block.Get("text").Str + block.Get("thinking").Str; !strings.HasPrefix(whole[i].Get("text").Str+whole[i].Get("thinking").Str, begun) {
				t.Errorf("after %d events, block %d is %s", n, i, block)
			}
		}
	}
}
