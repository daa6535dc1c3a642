package harness

import (
	"encoding/json"
	"fmt"
	"strings"
)

// Quote returns a string as JSON.
func Quote(s string) string {
	b, err := json.Marshal(s)
	if err != nil {
		panic(err)
	}
	return string(b)
}

// Wire writes one answer of OpenAI's API.
type Wire struct{ ID, Model string }

// Chunk returns a chunk with a delta and, unless empty, a finish reason.
func (w Wire) Chunk(delta, finish string) string {
	reason := "null"
	if finish != "" {
		reason = Quote(finish)
	}
	return w.chunk(fmt.Sprintf(`[{"index":0,"delta":%s,"finish_reason":%s}]`, delta, reason), "")
}

func (w Wire) chunk(choices, more string) string {
	return fmt.Sprintf(`{"id":%s,"object":"chat.completion.chunk","created":1700000000,"model":%s,"choices":%s%s}`,
		Quote(w.ID), Quote(w.Model), choices, more)
}

// Event returns a Chunk as an event.
func (w Wire) Event(delta, finish string) string { return "data: " + w.Chunk(delta, finish) + "\n\n" }

// Envelope returns an event with these choices and more members.
func (w Wire) Envelope(choices, more string) string {
	return "data: " + w.chunk(choices, more) + "\n\n"
}

func (w Wire) Role() string                { return w.Event(`{"role":"assistant","content":""}`, "") }
func (w Wire) Text(s string) string        { return w.Event(`{"content":`+Quote(s)+`}`, "") }
func (w Wire) Finish(reason string) string { return w.Event(`{}`, reason) }
func (w Wire) Usage(in, out int) string    { return w.Envelope("[]", `,"usage":`+UsageOf(in, out)) }

// Tool returns a part of a tool call. Only the first part has an id and a name.
func (w Wire) Tool(index int, id, name, arguments string) string {
	call := fmt.Sprintf(`{"index":%d,"function":{"arguments":%s}}`, index, Quote(arguments))
	if id != "" {
		call = fmt.Sprintf(`{"index":%d,"id":%s,"type":"function","function":{"name":%s,"arguments":%s}}`, index, Quote(id), Quote(name), Quote(arguments))
	}
	return w.Event(`{"tool_calls":[`+call+`]}`, "")
}

// Whole returns the events of a complete answer.
func (w Wire) Whole(in, out int, pieces ...string) []string {
	list := []string{w.Role()}
	for _, p := range pieces {
		list = append(list, w.Text(p))
	}
	return append(list, w.Finish("stop"), w.Usage(in, out), EndMark)
}

// Document returns a complete answer that is not streamed.
func (w Wire) Document(in, out int, text string) string {
	return w.Completion(`{"role":"assistant","content":`+Quote(text)+`}`, "stop", UsageOf(in, out))
}

// Completion returns an answer that is not streamed.
func (w Wire) Completion(message, reason, usage string) string {
	return fmt.Sprintf(`{"id":%s,"object":"chat.completion","created":1700000000,"model":%s,"choices":[{"index":0,"message":%s,"finish_reason":%s}],"usage":%s}`,
		Quote(w.ID), Quote(w.Model), message, Quote(reason), usage)
}

// UsageOf returns a usage as JSON.
func UsageOf(in, out int) string {
	return fmt.Sprintf(`{"prompt_tokens":%d,"completion_tokens":%d,"total_tokens":%d,"x":[1]}`, in, out, in+out)
}

// WithUsage adds a usage to an event.
func WithUsage(event, usage string) string {
	return strings.Replace(event, `"choices"`, `"usage":`+usage+`,"choices"`, 1)
}

// sample is an answer with fixed names, for tests that compare bytes.
var sample = Wire{ID: "c-1", Model: "up-1"}

// The events of the sample answer, and the same answer as a document.
var (
	Role        = sample.Role()
	Finished    = sample.Finish("stop")
	Counted     = sample.Envelope("[]", `,"usage":`+sampleUsage)
	WholeAnswer = sample.Completion(`{"role":"assistant","content":"Hello"}`, "stop", sampleUsage)
)

const sampleUsage = `{"prompt_tokens":7,"completion_tokens":3,"total_tokens":10}`

// EndMark is the event that ends a stream.
const EndMark = "data: [DONE]\n\n"

// Delta returns an event of the sample answer.
func Delta(delta string) string { return sample.Event(delta, "") }

// Content returns an event of the sample answer with text.
func Content(text string) string { return sample.Text(text) }

// ChunkOf returns a chunk of the sample answer, without the event around it.
func ChunkOf(delta string) string { return sample.Chunk(delta, "") }

// EndOf returns the chunk with the finish reason.
func EndOf(reason string) string { return sample.Chunk("{}", reason) }

// WholeOf returns the sample answer as a document with that message.
func WholeOf(message, reason string) string {
	return sample.Completion(message, reason, `{"prompt_tokens":11,"completion_tokens":7,"total_tokens":18}`)
}
