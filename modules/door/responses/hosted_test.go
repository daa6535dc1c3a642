package responses_test

import (
	"bytes"
	"fmt"
	"strings"
	"testing"

	"github.com/tidwall/gjson"

	"github.com/caddy-chat/caddy-chat/modules/door/responses"
	"github.com/caddy-chat/caddy-chat/modules/provider"
	"github.com/caddy-chat/caddy-chat/modules/provider/providertest"
)

// TestHostedBreaksOff ends answers within the call of a server's own tool: it ends, too, and
// the server takes it when it comes back.
func TestHostedBreaksOff(t *testing.T) {
	for typ, c := range map[string]struct{ begun, answer string }{
		"web_search_call":       {`"id":"ws_1"`, ""},
		"file_search_call":      {`"id":"fs_1"`, ""},
		"code_interpreter_call": {`"id":"ci_1","container_id":"cntr_1","code":""`, ""},
		"mcp_call":              {`"id":"mcp_1","name":"f","server_label":"s"`, ""},
		"local_shell_call":      {`"id":"lsh_1","call_id":"call_1","action":{"type":"exec"}`, ""},
		"computer_call":         {`"id":"cu_1","call_id":"call_1","action":{"type":"screenshot"}`, `"output":{"type":"computer_screenshot"}`},
		"shell_call":            {`"id":"sh_1","call_id":"call_1","action":{"commands":[]}`, `"output":[]`},
		"apply_patch_call":      {`"id":"apc_1","call_id":"call_1","operation":{"type":"create_file","path":"a","diff":""}`, `"status":"failed"`},
	} {
		t.Run(typ, func(t *testing.T) {
			opened, err := responses.Door{}.Open([]byte(`{"model":"gpt-5","input":"hi"}`))
			if err != nil {
				t.Fatal(err)
			}
			events := fmt.Sprintf("data: {\"type\":\"response.created\",\"sequence_number\":0,\"response\":{\"id\":\"resp_1\"}}\n\n"+
				"data: {\"type\":\"response.output_item.added\",\"sequence_number\":1,\"output_index\":0,\"item\":{\"type\":%q,\"status\":\"in_progress\",%s}}\n\n", typ, c.begun)
			s, whole := opened.Stream(), opened.Assembler()
			s.Chunk(nil, &provider.Chunk{Native: []byte(events)})
			whole.Add([]byte(events))
			s.Chunk(nil, &provider.Chunk{Raw: []byte(`{"choices":[{"finish_reason":"length"}]}`), Facts: provider.Facts{FinishReason: "length"}})
			end := s.End(nil, provider.Usage{})
			if n := bytes.Count(end, []byte("event: response.output_item.done\n")); n != 1 || !strings.Contains(string(end), `"sequence_number":2,`) {
				t.Errorf("the stream ends with\n%s", end)
			}
			_, data, _ := strings.Cut(string(end), "event: response.incomplete\ndata: ")
			items := gjson.Get(data, "response.output")
			if doc := gjson.GetBytes(whole.Document(provider.Usage{}), "output"); doc.Raw != items.Raw {
				t.Errorf("a stream has %s, and a document %s", items, doc)
			}
			input := strings.TrimSuffix(items.Raw, "]") + `,{"role":"user","content":"more"}]`
			if c.answer != "" {
				input = strings.TrimSuffix(items.Raw, "]") + fmt.Sprintf(`,{"type":"%s_output","call_id":"call_1",%s}]`, typ, c.answer)
			}
			if refused := providertest.RefuseResponse([]byte(`{"model":"gpt-5","store":false,"input":` + input + `}`)); refused != nil {
				t.Errorf("%s for %s", refused, input)
			}
			if back := s.End(nil, provider.Usage{}); len(back) > 0 {
				t.Errorf("it goes on with %s", back)
			}
		})
	}
}

// TestHostedIsOver does not end once more what has ended.
func TestHostedIsOver(t *testing.T) {
	opened, err := responses.Door{}.Open([]byte(`{"model":"gpt-5","input":"hi"}`))
	if err != nil {
		t.Fatal(err)
	}
	s := opened.Stream()
	for n, event := range []string{
		`{"type":"response.output_item.added","sequence_number":%d,"output_index":0,"item":{"type":"web_search_call","id":"ws_1","status":"in_progress"}}`,
		`{"type":"response.output_item.done","sequence_number":%d,"output_index":0,"item":{"type":"web_search_call","id":"ws_1","status":"completed","action":{"type":"search","query":"x"}}}`,
	} {
		s.Chunk(nil, &provider.Chunk{Native: fmt.Appendf(nil, "data: "+event+"\n\n", n)})
	}
	if end := string(s.End(nil, provider.Usage{})); strings.Contains(end, "item.done") || !strings.Contains(end, `"status":"completed","action"`) {
		t.Errorf("the stream ends with\n%s", end)
	}
}
