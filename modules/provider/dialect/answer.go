package dialect

import (
	"strconv"
	"time"

	"github.com/google/uuid"

	"github.com/caddy-chat/caddy-chat/modules/provider"
)

// Answer writes the chunks of one streamed answer, or one whole answer, in
// OpenAI's shape. A chunk is valid until the next one is made.
type Answer struct {
	id      string
	created int64
	model   string
	names   *Names

	head  []byte         // what all chunks begin with; empty until the next is made
	begun bool           // a chunk has the role
	chunk provider.Chunk // the last one, whose bytes the next one takes over
}

// NewAnswer begins an answer. An empty id is replaced by a new one; model is
// the upstream model by the provider's own name. names tells the names of the
// called tools back.
func NewAnswer(id, model string, names *Names) *Answer {
	if id == "" {
		id = "chatcmpl-" + uuid.NewString()
	}
	return &Answer{id: valid(id), created: time.Now().Unix(), model: valid(model), names: names}
}

// SetModel changes the model's name for the chunks to come.
func (a *Answer) SetModel(model string) {
	if model = valid(model); model != a.model {
		a.model = model
		a.head = a.head[:0]
	}
}

// Chunk makes a chunk that adds o to the answer. Only the last chunk of the
// choice has a finish reason.
func (a *Answer) Chunk(o Output, finish string) *provider.Chunk {
	o.Calls = a.names.tellBack(o.Calls)
	b := append(a.begin(), `"choices":[{"index":0,"delta":`...)
	b = o.appendDelta(b, !a.begun)
	b = append(b, `,"finish_reason":`...)
	b = appendStringOrNull(b, finish)
	b = append(b, "}]}"...)

	a.begun = true
	a.chunk = provider.Chunk{Raw: b, Facts: o.facts(), Regular: finish == "" && o.isText()}
	a.chunk.Model, a.chunk.Choices, a.chunk.FinishReason = a.model, 1, finish
	if finish != "" {
		a.chunk.Finishes = 1
	}
	return &a.chunk
}

// UsageChunk makes the chunk that has the usage and no choices.
func (a *Answer) UsageChunk(u provider.Usage) *provider.Chunk {
	b := append(a.begin(), `"choices":[],`...)
	b = appendUsage(b, u)
	b = append(b, '}')

	a.chunk = provider.Chunk{Raw: b, Facts: provider.Facts{Model: a.model, Usage: &u}}
	return &a.chunk
}

// begin begins a chunk in the bytes of the last one.
func (a *Answer) begin() []byte {
	if len(a.head) == 0 {
		a.head = a.appendHead(a.head, "chat.completion.chunk")
	}
	return append(a.chunk.Raw[:0], a.head...)
}

// Completion makes a whole answer. u is nil if the provider counted nothing.
func (a *Answer) Completion(w *Whole, finish string, u *provider.Usage) *provider.Completion {
	o := w.output()
	o.Calls = a.names.tellBack(o.Calls)
	b := append(a.appendHead(nil, "chat.completion"), `"choices":[{"index":0,"message":`...)
	b = o.appendMessage(b)
	b = append(b, `,"finish_reason":`...)
	b = appendString(b, finish)
	b = append(b, "}]"...)
	if u != nil {
		b = appendUsage(append(b, ','), *u)
	}
	b = append(b, '}')

	c := &provider.Completion{Body: b, Facts: o.facts()}
	c.Model, c.Choices, c.FinishReason, c.Usage = a.model, 1, finish, u
	if finish != "" {
		c.Finishes = 1
	}
	return c
}

// appendHead appends what stands before the choices.
func (a *Answer) appendHead(b []byte, object string) []byte {
	b = append(b, `{"id":`...)
	b = appendString(b, a.id)
	b = append(b, `,"object":"`...)
	b = append(b, object...)
	b = append(b, `","created":`...)
	b = strconv.AppendInt(b, a.created, 10)
	b = append(b, `,"model":`...)
	b = appendString(b, a.model)
	return append(b, ',')
}

// appendUsage appends the member usage.
func appendUsage(b []byte, u provider.Usage) []byte {
	b = append(b, `"usage":{"prompt_tokens":`...)
	b = strconv.AppendInt(b, u.Input, 10)
	b = append(b, `,"completion_tokens":`...)
	b = strconv.AppendInt(b, u.Output, 10)
	b = append(b, `,"total_tokens":`...)
	b = strconv.AppendInt(b, u.Total(), 10)
	if u.Cached > 0 || u.Written > 0 {
		b = append(b, `,"prompt_tokens_details":{"cached_tokens":`...)
		b = strconv.AppendInt(b, u.Cached, 10)
		if u.Written > 0 {
			b = append(b, `,"cache_write_tokens":`...) // as OpenRouter has it; OpenAI does not count them
			b = strconv.AppendInt(b, u.Written, 10)
		}
		b = append(b, '}')
	}
	if u.Reasoning > 0 {
		b = append(b, `,"completion_tokens_details":{"reasoning_tokens":`...)
		b = append(strconv.AppendInt(b, u.Reasoning, 10), '}')
	}
	return append(b, '}')
}
