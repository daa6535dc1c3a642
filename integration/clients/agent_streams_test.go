package clients

import (
	"cmp"
	"fmt"
	"strings"

	"github.com/caddy-chat/caddy-chat/integration/harness"
	"github.com/caddy-chat/caddy-chat/modules/provider/providertest"
)

// agentCall is a call of an agent's tool.
type agentCall struct {
	item            string // its type in Responses
	tool, namespace string
	input           string // text of a custom tool, else JSON
}

func functionCall(tool string, arguments map[string]any) agentCall {
	return agentCall{item: "function_call", tool: tool, input: string(providertest.JSON(arguments))}
}

// arguments returns the input as that of a function.
func (c agentCall) arguments() string {
	if c.item == "custom_tool_call" {
		return `{"input":` + harness.Quote(c.input) + `}`
	}
	return c.input
}

// nativeResponses is a provider that has the API of Codex.
var nativeResponses = clientProvider{name: "responses", typ: "openai", block: "base_url %s/v1\nresponses on"}

// agentStreams return two streams of a provider: calls of tools, and a text.
var agentStreams = map[string]func(calls []agentCall, text string) (called, said providertest.Recording){
	nativeResponses.name: responsesAgent,
	"openai":             openAIAgent,
	"anthropic":          anthropicAgent,
	"gemini":             geminiAgent,
	"ollama":             ollamaAgent,
}

func responsesAgent(calls []agentCall, text string) (called, said providertest.Recording) {
	stream := func(items ...string) providertest.Recording {
		events := []string{`{"type":"response.created","response":{"id":"resp_1","object":"response","status":"in_progress","model":"up-1","output":[]}}`}
		for i, item := range items {
			for _, typ := range []string{"added", "done"} {
				events = append(events, fmt.Sprintf(`{"type":"response.output_item.%s","output_index":%d,"item":%s}`, typ, i, item))
			}
		}
		return eventStream(append(events, `{"type":"response.completed","response":{"id":"resp_1","object":"response","status":"completed","model":"up-1","output":[`+
			strings.Join(items, ",")+`],"usage":{"input_tokens":100,"output_tokens":20,"total_tokens":120}}}`))
	}
	items := []string{`{"id":"rs_1","type":"reasoning","summary":[],"encrypted_content":"gAAAAB"}`}
	for i, c := range calls {
		prefix := map[string]string{"tool_search_call": "tsc", "custom_tool_call": "ctc"}[c.item]
		item := fmt.Sprintf(`{"id":"%[1]s_%[2]d","type":"%[3]s","status":"completed","call_id":"call_%[2]d"`, cmp.Or(prefix, "fc"), i, c.item)
		switch c.item {
		case "tool_search_call":
			item += `,"execution":"client","arguments":` + c.input
		case "custom_tool_call":
			item += `,"name":"` + c.tool + `","input":` + harness.Quote(c.input)
		default:
			item += `,"name":"` + c.tool + `","arguments":` + harness.Quote(c.input)
		}
		if c.namespace != "" {
			item += `,"namespace":"` + c.namespace + `"`
		}
		items = append(items, item+"}")
	}
	return stream(items...), stream(`{"id":"msg_1","type":"message","role":"assistant","status":"completed","content":[{"type":"output_text","text":` + harness.Quote(text) + `,"annotations":[]}]}`)
}

// eventStream returns a stream of events whose names are the types in their data.
func eventStream(events []string) providertest.Recording {
	var b strings.Builder
	for _, data := range events {
		typ, _, _ := strings.Cut(strings.TrimPrefix(data, `{"type":"`), `"`)
		fmt.Fprintf(&b, "event: %s\ndata: %s\n\n", typ, data)
	}
	return played("text/event-stream", b.String())
}

func openAIAgent(calls []agentCall, text string) (called, said providertest.Recording) {
	w := harness.Wire{ID: "c-1", Model: "up-1"}
	events := []string{w.Role(), w.Event(`{"reasoning_content":"A file it is."}`, ""), w.Text("Writing.")}
	for i, c := range calls {
		input := c.arguments()
		events = append(events, w.Tool(i, fmt.Sprint("call_", i), c.tool, input[:5]), w.Tool(i, "", "", input[5:]))
	}
	events = append(events, w.Finish("tool_calls"), w.Usage(100, 20), harness.EndMark)
	return played("text/event-stream", events...), played("text/event-stream", w.Whole(130, 4, text)...)
}

func anthropicAgent(calls []agentCall, text string) (called, said providertest.Recording) {
	stream := func(stop string, blocks ...string) providertest.Recording {
		events := []string{`{"type":"message_start","message":{"id":"msg_1","type":"message","role":"assistant","model":"up-1","content":[],"stop_reason":null,"stop_sequence":null,"usage":{"input_tokens":100,"output_tokens":1}}}`}
		for i, block := range blocks {
			events = append(events, strings.Split(strings.ReplaceAll(block, "AT", fmt.Sprint(i)), "\n")...)
			events = append(events, fmt.Sprintf(`{"type":"content_block_stop","index":%d}`, i))
		}
		events = append(events, `{"type":"message_delta","delta":{"stop_reason":"`+stop+`","stop_sequence":null},"usage":{"output_tokens":20}}`, `{"type":"message_stop"}`)
		return eventStream(events)
	}
	blocks := []string{`{"type":"content_block_start","index":AT,"content_block":{"type":"thinking","thinking":"","signature":""}}
{"type":"content_block_delta","index":AT,"delta":{"type":"thinking_delta","thinking":"A file it is."}}
{"type":"content_block_delta","index":AT,"delta":{"type":"signature_delta","signature":"c2lnbmVk"}}`}
	for i, c := range calls {
		blocks = append(blocks, `{"type":"content_block_start","index":AT,"content_block":{"type":"tool_use","id":"toolu_`+fmt.Sprint(i)+`","name":"`+c.tool+`","input":{}}}
{"type":"content_block_delta","index":AT,"delta":{"type":"input_json_delta","partial_json":`+harness.Quote(c.arguments())+`}}`)
	}
	says := `{"type":"content_block_start","index":AT,"content_block":{"type":"text","text":""}}
{"type":"content_block_delta","index":AT,"delta":{"type":"text_delta","text":` + harness.Quote(text) + `}}`
	return stream("tool_use", blocks...), stream("end_turn", says)
}

func geminiAgent(calls []agentCall, text string) (called, said providertest.Recording) {
	stream := func(parts ...string) providertest.Recording {
		return played("text/event-stream", `data: {"candidates":[{"content":{"role":"model","parts":[`+strings.Join(parts, ",")+`]},"finishReason":"STOP","index":0}],"usageMetadata":{"promptTokenCount":100,"candidatesTokenCount":20,"totalTokenCount":120},"modelVersion":"up-1"}`+"\r\n\r\n")
	}
	var parts []string
	for _, c := range calls {
		parts = append(parts, `{"functionCall":{"name":"`+c.tool+`","args":`+c.arguments()+`},"thoughtSignature":"c2lnbmVk"}`)
	}
	return stream(parts...), stream(`{"text":` + harness.Quote(text) + `}`)
}

func ollamaAgent(calls []agentCall, text string) (called, said providertest.Recording) {
	stream := func(message string) providertest.Recording {
		return played("application/x-ndjson", `{"model":"up-1","created_at":"2025-07-07T20:32:53.844124Z","message":{"role":"assistant",`+message+`},"done":false}`+"\n",
			`{"model":"up-1","created_at":"2025-07-07T20:32:53.844124Z","message":{"role":"assistant","content":""},"done":true,"done_reason":"stop","prompt_eval_count":100,"eval_count":20}`+"\n")
	}
	var list []string
	for _, c := range calls {
		list = append(list, `{"function":{"name":"`+c.tool+`","arguments":`+c.arguments()+`}}`)
	}
	return stream(`"content":"","tool_calls":[` + strings.Join(list, ",") + `]`), stream(`"content":` + harness.Quote(text))
}
