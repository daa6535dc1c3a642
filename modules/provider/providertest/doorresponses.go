package providertest

import (
	"fmt"

	"github.com/tidwall/gjson"

	"github.com/caddy-chat/caddy-chat/modules/provider"
)

// askResponses writes a request of OpenAI's Responses API.
func askResponses(image bool, answer string) string {
	content, more := `"hi"`, ""
	if image {
		content = `[{"type":"input_text","text":"look"},{"type":"input_image","image_url":"data:image/png;base64,` + pixel + `"}]`
	}
	if answer != "" {
		called := false
		for _, item := range gjson.Get(answer, "output").Array() {
			more += "," + item.Raw
		}
		for _, item := range gjson.Get(answer, "output").Array() {
			if item.Get("type").Str == "function_call" {
				called = true
				more += fmt.Sprintf(`,{"type":"function_call_output","call_id":%s,"output":"done"}`, item.Get("call_id").Raw)
			}
		}
		if !called {
			more += `,{"role":"user","content":"and?"}`
		}
	}
	return `{"model":"alias","store":false,"include":["reasoning.encrypted_content"],"input":[{"role":"user","content":` + content + `}` + more + `],"tools":[` +
		`{"type":"function","name":"weather","parameters":` + toolSchema + `},{"type":"function","name":"now","parameters":{"type":"object"}}]}`
}

const instructedResponses = `{"model":"alias","store":false,"input":[{"role":"user","content":"<hi>"},
{"role":"developer","content":"<kind>"},{"role":"system","content":[{"type":"input_text","text":"<true>"}]},
{"type":"function_call","call_id":"a","name":"now","arguments":"{}"},{"role":"developer","content":"<quick>"},
{"type":"function_call","call_id":"b","name":"now","arguments":"{}"},{"type":"function_call_output","call_id":"a","output":"<one>"},
{"role":"developer","content":"<brief>"},{"type":"function_call_output","call_id":"b","output":"<two>"},
{"role":"assistant","content":"<so>"},{"role":"user","content":"<and>"},{"role":"developer","content":"<on>"}],
"tools":[{"type":"function","name":"now","parameters":{"type":"object"}}]}`

// readResponse reads a response of OpenAI's API.
func readResponse(r gjson.Result) Answer {
	a := Answer{Counted: new(provider.Usage)}
	a.Finish = "stop"
	for _, item := range r.Get("output").Array() {
		for _, part := range item.Get("content").Array() {
			a.Text += part.Get("text").Str
		}
		for _, part := range item.Get("summary").Array() {
			a.Reasoning += part.Get("text").Str
		}
		if item.Get("type").Str == "function_call" {
			a.Finish = "tool_calls"
			a.ToolCalls = append(a.ToolCalls, ToolCall{ID: item.Get("call_id").Str, Name: item.Get("name").Str, Arguments: item.Get("arguments").Str})
		}
	}
	if reason := r.Get("incomplete_details.reason").Str; reason != "" {
		a.Finish = map[string]string{"max_output_tokens": "length", "content_filter": "content_filter"}[reason]
	}
	u := r.Get("usage")
	*a.Counted = provider.Usage{
		Input: u.Get("input_tokens").Int(), Output: u.Get("output_tokens").Int(),
		Cached: u.Get("input_tokens_details.cached_tokens").Int(), Reasoning: u.Get("output_tokens_details.reasoning_tokens").Int(),
	}
	return a
}

func lastResponse(stream []byte) (doc gjson.Result, text, reasoning string) {
	events(stream, func(e gjson.Result) {
		switch e.Get("type").Str {
		case "response.output_text.delta":
			text += e.Get("delta").Str
		case "response.reasoning_summary_text.delta":
			reasoning += e.Get("delta").Str
		case "response.completed", "response.incomplete":
			doc = e.Get("response")
		}
	})
	return doc, text, reasoning
}
