package clients

import (
	"bytes"
	"net/http"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws/protocol/eventstream"

	"github.com/caddy-chat/caddy-chat/modules/provider/providertest"
)

// played returns an answer without a recording.
func played(contentType string, body ...string) providertest.Recording {
	rec := providertest.Recording{Body: []byte(strings.Join(body, ""))}
	rec.Response.Status = http.StatusOK
	rec.Response.Headers = http.Header{"Content-Type": {contentType}}
	return rec
}

// made returns a handwritten stream, for dialects without recordings.
func made(name, contentType string, says providertest.Expected, events ...string) providertest.Recording {
	rec := played(contentType, events...)
	rec.Name, rec.Kind, rec.Expected = name, "stream", &says
	return rec
}

// What the two streams of each such dialect say.
var (
	madeText = providertest.Expected{
		Text:   "It is warm in Tokyo, and dry.",
		Finish: "stop",
		Usage:  &providertest.Usage{Prompt: 26, Completion: 9, Total: 35},
	}
	madeCall = providertest.Expected{
		ToolCalls: []providertest.ToolCall{{Name: "get_weather", Arguments: `{"city":"Tokyo"}`}},
		Finish:    "tool_calls",
		Usage:     &providertest.Usage{Prompt: 26, Completion: 9, Total: 35},
	}
)

// ollamaStreams returns streams as in Ollama's documentation.
func ollamaStreams(testing.TB) []providertest.Recording {
	line := func(message, more string) string {
		return `{"model":"llama3.2","created_at":"2025-07-07T20:32:53.844124Z","message":{"role":"assistant",` + message + `},` + more + "}\n"
	}
	const (
		more = `"done":false`
		last = `"done":true,"done_reason":"stop","total_duration":1,"prompt_eval_count":26,"eval_count":9`
	)
	return []providertest.Recording{
		made("text", "application/x-ndjson", madeText,
			line(`"content":"It is warm"`, more), line(`"content":" in Tokyo,"`, more), line(`"content":" and dry."`, more), line(`"content":""`, last)),
		made("call", "application/x-ndjson", madeCall,
			line(`"content":"","tool_calls":[{"function":{"name":"get_weather","arguments":{"city":"Tokyo"}}}]`, more), line(`"content":""`, last)),
	}
}

// bedrockStreams returns streams of ConverseStream, framed by AWS's own encoder.
func bedrockStreams(t testing.TB) []providertest.Recording {
	event := func(typ, payload string) string {
		var m eventstream.Message
		m.Headers.Set(":message-type", eventstream.StringValue("event"))
		m.Headers.Set(":event-type", eventstream.StringValue(typ))
		m.Headers.Set(":content-type", eventstream.StringValue("application/json"))
		m.Payload = []byte(payload)
		var b bytes.Buffer
		if err := eventstream.NewEncoder().Encode(&b, m); err != nil {
			t.Fatalf("encoding an event: %v", err)
		}
		return b.String()
	}
	delta := func(d string) string {
		return event("contentBlockDelta", `{"contentBlockIndex":0,"delta":`+d+`}`)
	}
	const kind = "application/vnd.amazon.eventstream"
	begin := event("messageStart", `{"role":"assistant"}`)
	stop := event("contentBlockStop", `{"contentBlockIndex":0}`)
	usage := event("metadata", `{"usage":{"inputTokens":26,"outputTokens":9,"totalTokens":35},"metrics":{"latencyMs":1}}`)
	call := madeCall
	call.ToolCalls = []providertest.ToolCall{{ID: "tooluse_1", Name: "get_weather", Arguments: `{"city":"Tokyo"}`}}
	return []providertest.Recording{
		made("text", kind, madeText, begin, delta(`{"text":"It is warm"}`), delta(`{"text":" in Tokyo,"}`), delta(`{"text":" and dry."}`),
			stop, event("messageStop", `{"stopReason":"end_turn"}`), usage),
		made("call", kind, call, begin, event("contentBlockStart", `{"contentBlockIndex":0,"start":{"toolUse":{"toolUseId":"tooluse_1","name":"get_weather"}}}`),
			delta(`{"toolUse":{"input":"{\"city\":"}}`), delta(`{"toolUse":{"input":"\"Tokyo\"}"}}`),
			stop, event("messageStop", `{"stopReason":"tool_use"}`), usage),
	}
}
