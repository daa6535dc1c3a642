package providertest

import (
	"fmt"
	"strings"

	"github.com/tidwall/gjson"

	"github.com/caddy-chat/caddy-chat/modules/provider"
)

const toolSchema = `{"type":"object","properties":{"city":{"type":"string"}}}`

// askMessages writes a request of Anthropic's API.
func askMessages(image bool, answer string) string {
	content, more := `"hi"`, ""
	if image {
		content = `[{"type":"text","text":"look"},{"type":"image","source":{"type":"base64","media_type":"image/png","data":"` + pixel + `"}}]`
	}
	if answer != "" {
		blocks := gjson.Get(answer, "content")
		more = `,{"role":"assistant","content":` + blocks.Raw + `}`
		var results []string
		for _, b := range blocks.Array() {
			if b.Get("type").Str == "tool_use" {
				results = append(results, fmt.Sprintf(`{"type":"tool_result","tool_use_id":%s,"content":"done"}`, b.Get("id").Raw))
			}
		}
		if results == nil {
			results = []string{`{"type":"text","text":"and?"}`}
		}
		more += `,{"role":"user","content":[` + strings.Join(results, ",") + `]}`
	}
	return `{"model":"alias","max_tokens":20000,"messages":[{"role":"user","content":` + content + `}` + more + `],"tools":[` +
		`{"name":"weather","input_schema":` + toolSchema + `},{"name":"now","input_schema":{"type":"object"}}]}`
}

const instructedMessages = `{"model":"alias","max_tokens":20000,"messages":[{"role":"user","content":"<hi>"},
{"role":"system","content":"<kind>"},{"role":"system","content":[{"type":"text","text":"<true>"}]},
{"role":"assistant","content":[{"type":"tool_use","id":"a","name":"now","input":{}},{"type":"tool_use","id":"b","name":"now","input":{}}]},
{"role":"system","content":"<quick>"},
{"role":"user","content":[{"type":"tool_result","tool_use_id":"a","content":"<one>"},{"type":"tool_result","tool_use_id":"b","content":"<two>"}]},
{"role":"system","content":"<brief>"},{"role":"assistant","content":"<so>"},{"role":"user","content":"<and>"},{"role":"system","content":"<on>"}],
"tools":[{"name":"now","input_schema":{"type":"object"}}]}`

// readMessage reads a message of Anthropic's API.
func readMessage(m gjson.Result) Answer {
	a := Answer{Counted: new(provider.Usage)}
	for _, b := range m.Get("content").Array() {
		a.Text += b.Get("text").Str
		a.Reasoning += b.Get("thinking").Str
		if b.Get("type").Str == "tool_use" {
			a.ToolCalls = append(a.ToolCalls, ToolCall{ID: b.Get("id").Str, Name: b.Get("name").Str, Arguments: b.Get("input").Raw})
		}
	}
	a.Finish = map[string]string{"end_turn": "stop", "max_tokens": "length", "tool_use": "tool_calls", "refusal": "content_filter"}[m.Get("stop_reason").Str]
	u := m.Get("usage")
	a.Counted.Cached, a.Counted.Written = u.Get("cache_read_input_tokens").Int(), u.Get("cache_creation_input_tokens").Int()
	a.Counted.Input, a.Counted.Output = u.Get("input_tokens").Int()+a.Counted.Cached+a.Counted.Written, u.Get("output_tokens").Int()
	return a
}

// lastMessage puts a message together from its events.
func lastMessage(stream []byte) (doc gjson.Result, text, reasoning string) {
	var blocks []map[string]string
	var ending, usage string
	ended := false
	events(stream, func(e gjson.Result) {
		i, delta := int(e.Get("index").Int()), e.Get("delta")
		switch e.Get("type").Str {
		case "content_block_start":
			block := make(map[string]string)
			e.Get("content_block").ForEach(func(name, v gjson.Result) bool {
				block[name.Str] = v.Raw
				return true
			})
			delete(block, "input")
			blocks = append(blocks, block)
			for _, name := range []string{"text", "thinking", "signature"} {
				if block[name] != "" {
					block[name] = gjson.Parse(block[name]).Str
				}
			}
		case "content_block_delta":
			text += delta.Get("text").Str
			reasoning += delta.Get("thinking").Str
			for _, name := range []string{"text", "thinking", "signature"} {
				blocks[i][name] += delta.Get(name).Str
			}
			blocks[i]["input"] += delta.Get("partial_json").Str
		case "message_delta":
			ending, usage = delta.Get("stop_reason").Raw, e.Get("usage").Raw
		case "message_stop":
			ended = true
		}
	})
	if !ended {
		return doc, text, reasoning
	}
	var content []string
	for _, b := range blocks {
		var members []string
		for name, v := range b {
			switch name {
			case "text", "thinking", "signature":
				if v == "" && !strings.Contains(b["type"], name) {
					continue
				}
				v = string(JSON(v))
			case "input":
				if b["type"] != `"tool_use"` {
					continue
				}
				if v == "" {
					v = "{}"
				}
			}
			members = append(members, `"`+name+`":`+v)
		}
		if _, ok := b["input"]; !ok && b["type"] == `"tool_use"` {
			members = append(members, `"input":{}`)
		}
		content = append(content, "{"+strings.Join(members, ",")+"}")
	}
	return gjson.Parse(`{"content":[` + strings.Join(content, ",") + `],"stop_reason":` + ending + `,"usage":` + usage + `}`), text, reasoning
}
