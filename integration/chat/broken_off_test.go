package chat

import (
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/tidwall/gjson"

	"github.com/caddy-chat/caddy-chat/integration/harness"
	"github.com/caddy-chat/caddy-chat/modules/provider/providertest"
)

// TestHostedCancelled cancels a response while the server searches, and goes on from it.
func TestHostedCancelled(t *testing.T) {
	up := harness.NewUpstream(t)
	site := strings.Replace(up.Sessions(""), "base_url", "responses on\n\t\tbase_url", 1)
	a := asks{t, harness.NewClient(harness.Start(t, harness.PlainTenants, site), "acme", "ann")}
	up.Plays(func(c *harness.Call) {
		for n, event := range []string{
			`{"type":"response.created","sequence_number":%d,"response":{"id":"resp_x","object":"response","created_at":1700000000,"status":"in_progress","model":"gpt-5","output":[]}}`,
			`{"type":"response.output_item.added","sequence_number":%d,"output_index":0,"item":{"id":"msg_x","type":"message","role":"assistant","status":"in_progress","content":[]}}`,
			`{"type":"response.content_part.added","sequence_number":%d,"output_index":0,"content_index":0,"item_id":"msg_x","part":{"type":"output_text","text":""}}`,
			`{"type":"response.output_text.delta","sequence_number":%d,"output_index":0,"content_index":0,"item_id":"msg_x","delta":"Let me see."}`,
			`{"type":"response.output_text.done","sequence_number":%d,"output_index":0,"content_index":0,"item_id":"msg_x","text":"Let me see."}`,
			`{"type":"response.content_part.done","sequence_number":%d,"output_index":0,"content_index":0,"item_id":"msg_x","part":{"type":"output_text","text":"Let me see.","annotations":[]}}`,
			`{"type":"response.output_item.done","sequence_number":%d,"output_index":0,"item":{"id":"msg_x","type":"message","role":"assistant","status":"completed","content":[{"type":"output_text","text":"Let me see.","annotations":[]}]}}`,
			`{"type":"response.output_item.added","sequence_number":%d,"output_index":1,"item":{"id":"ws_x","type":"web_search_call","status":"in_progress"}}`,
			`{"type":"response.web_search_call.searching","sequence_number":%d,"output_index":1,"item_id":"ws_x"}`,
		} {
			c.Send(fmt.Sprintf("event: %s\ndata: "+event+"\n\n", gjson.Get(event, "type").Str, n))
		}
		<-c.R.Context().Done()
	})
	tools := []any{map[string]any{"type": "web_search"}}
	body := map[string]any{"model": "fast", "input": "hi", "background": true, "stream": true, "tools": tools}
	stream := a.cl.Start(a.cl.Request(http.MethodPost, "/v1/responses", body)).Raw().UpTo(`call.searching"`)
	_, data, _ := strings.Cut(stream.Text, "data: ")
	id := gjson.Get(data, "response.id").Str
	got := a.call(http.MethodPost, "/v1/responses/"+id+"/cancel", nil)
	if item := got.Get("output.1"); got.Get("output.#").Int() != 2 || item.Get("id").Str != "ws_x" || item.Get("status").Str != "failed" {
		t.Errorf("it is kept as %s", got)
	}
	if events := stream.Rest(); strings.Count(events, "output_item.done\n") != 2 {
		t.Errorf("its stream is\n%s", events)
	}
	if events := harness.ReadAll(t, a.cl.Do(http.MethodGet, "/v1/responses/"+id+"?stream=true", nil)); strings.Count(events, "output_item.done\n") != 2 {
		t.Errorf("a follower gets\n%s", events)
	}
	for name, next := range map[string]map[string]any{
		"from it":                {"previous_response_id": id, "input": "go on"},
		"with its items":         {"input": append(got.Get("output").Value().([]any), map[string]any{"role": "user", "content": "go on"})},
		"with its items by name": {"input": []any{map[string]any{"type": "item_reference", "id": "msg_x"}, map[string]any{"type": "item_reference", "id": "ws_x"}, map[string]any{"role": "user", "content": "go on"}}},
	} {
		up.Plays(harness.Responses(providertest.Reply{Model: "gpt-5", Finish: "stop", Parts: []providertest.Part{{Text: "next"}}}))
		next["tools"] = tools
		if got := a.create(next); got.Get("output.0.content.0.text").Str != "next" || up.Last().Path != "/v1/responses" {
			t.Errorf("going on %s: %s for %s", name, got, up.Last().Body)
		}
	}
}

// TestSearchWithinBudget has a budget end an answer within the call of a server's own tool,
// which comes back with the next turn.
func TestSearchWithinBudget(t *testing.T) {
	up := harness.NewUpstream(t)
	long := strings.Repeat("long ", 2000)
	cut := []string{
		`{"type":"message_start","message":{"id":"msg_1","type":"message","role":"assistant","model":"claude-up","content":[],"stop_reason":null,"stop_sequence":null,"usage":{"input_tokens":9,"output_tokens":1}}}`,
		`{"type":"content_block_start","index":0,"content_block":{"type":"text","text":"Let me see."}}`,
		`{"type":"content_block_stop","index":0}`,
		`{"type":"content_block_start","index":1,"content_block":{"type":"server_tool_use","id":"srvtoolu_1","name":"web_search","input":{}}}`,
		`{"type":"content_block_delta","index":1,"delta":{"type":"input_json_delta","partial_json":"{\"query\":\"x\"}"}}`,
		`{"type":"content_block_delta","index":1,"delta":{"type":"input_json_delta","partial_json":"` + long + `"}}`,
		`{"type":"content_block_delta","index":1,"delta":{"type":"input_json_delta","partial_json":"` + long + `"}}`,
	}
	c := harness.Start(t, "\nchat {\n\ttenant poor {\n\t\tbudget 1000 tokens/day\n\t}\n\ttenant poorer {\n\t\tbudget 1000 tokens/day\n\t}\n\ttenant rich\n}\n", messagesSite(up))
	for tenant, stream := range map[string]bool{"poor": true, "poorer": false} {
		t.Run(fmt.Sprint("stream ", stream), func(t *testing.T) {
			up.Plays(func(c *harness.Call) {
				for _, event := range cut {
					c.Send(fmt.Sprintf("event: %s\ndata: %s\n\n", gjson.Get(event, "type").Str, event))
				}
			})
			got := harness.ReadAll(t, harness.NewClient(c, tenant, "ann").Do(http.MethodPost, "/v1/messages",
				fmt.Sprintf(`{"model":"fast","max_tokens":9000,"stream":%v,"tools":[{"type":"web_search_20250305","name":"web_search"}],"messages":[{"role":"user","content":"hi"}]}`, stream), "X-Session-Id", harness.NewSession()))
			content, usage := gjson.Get(got, "content").Raw, gjson.Get(got, "usage")
			if stream {
				var blocks []string
				for event := range strings.SplitSeq(got, "\n\n") {
					_, data, _ := strings.Cut(event, "data: ")
					if u := gjson.Get(data, "usage"); u.Exists() {
						usage = u
					}
					if strings.Contains(data, "content_block_start") {
						blocks = append(blocks, gjson.Get(data, "content_block").Raw)
					}
				}
				content = "[" + strings.Join(blocks, ",") + "]"
			}
			if strings.Contains(content, "long") || gjson.Get(content, "#").Int() != 3 || gjson.Get(content, "2.content.error_code").Str != "unavailable" || !strings.Contains(got, `"max_tokens"`) {
				t.Fatalf("ended by its budget, the answer is %.3000s", got)
			}
			if usage.Get("input_tokens").Int() != 9 || !usage.Get("estimated").Bool() {
				t.Errorf("the usage is %s, want the input as the provider has counted it", usage.Raw)
			}
			up.Plays(harness.Messages("end_turn", `[{"type":"text","text":"next"}]`))
			s := messagesSession{asks{t, harness.NewClient(c, "rich", "ann")}, harness.NewSession()}
			s.ask(`{"role":"user","content":"hi"},{"role":"assistant","content":` + content + `},{"role":"user","content":"go on"}`)
			s.ask(`{"role":"user","content":"more"}`)
		})
	}
}
