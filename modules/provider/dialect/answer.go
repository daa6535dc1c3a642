package dialect

import (
	"encoding/json"
	"time"

	"github.com/google/uuid"

	"github.com/caddy-chat/caddy-chat/modules/provider"
)

// Answer makes the chunks of one streamed answer, or one whole answer, in
// OpenAI's shape. Its chunks are valid until the next one is made.
type Answer struct {
	id      string
	created int64
	model   string
	begun   bool // a chunk has told the role
}

// NewAnswer begins an answer. An empty id is made up; model is the upstream
// model by the provider's own name.
func NewAnswer(id, model string) *Answer {
	if id == "" {
		id = "chatcmpl-" + uuid.NewString()
	}
	return &Answer{id: id, created: time.Now().Unix(), model: model}
}

// SetModel changes the model's name for the chunks to come.
func (a *Answer) SetModel(model string) { a.model = model }

// Delta is what one chunk adds to an answer.
type Delta struct {
	Role      string      `json:"role,omitempty"` // set by Answer
	Text      *string     `json:"content,omitempty"`
	Refusal   string      `json:"refusal,omitempty"`
	Reasoning string      `json:"reasoning_content,omitempty"`
	ToolCalls []CallDelta `json:"tool_calls,omitempty"`

	// Thinking is the reasoning of the whole answer, in one delta.
	Thinking []ThinkingBlock `json:"thinking_blocks,omitempty"`
}

// ThinkingBlock is a piece of reasoning that the model signed, or that is
// there for the model alone. Claude wants to see it again, untouched, with the
// results of its tool calls; the member's name and shape are LiteLLM's.
type ThinkingBlock struct {
	Type      string  `json:"type"` // thinking or redacted_thinking
	Thinking  *string `json:"thinking,omitempty"`
	Signature string  `json:"signature,omitempty"`
	Data      string  `json:"data,omitempty"` // of redacted_thinking
}

// CallDelta is a part of a tool call: the first one of a call has its id and
// name, the others more of its arguments.
type CallDelta struct {
	Index    int    `json:"index"`
	ID       string `json:"id,omitempty"`
	Type     string `json:"type,omitempty"`
	Function CallFn `json:"function"`

	// Extra is what the provider wants to see again with the call.
	Extra any `json:"extra_content,omitempty"`
}

// CallFn is the function of a call.
type CallFn struct {
	Name      string `json:"name,omitempty"`
	Arguments string `json:"arguments"`
}

// Text is a delta of visible text.
func Text(s string) Delta { return Delta{Text: &s} }

// Reasoning is a delta of the model's thinking.
func Reasoning(s string) Delta { return Delta{Reasoning: s} }

// CallBegin is the delta that begins the tool call of an index.
func CallBegin(index int, id, name string) Delta {
	return Delta{ToolCalls: []CallDelta{{Index: index, ID: id, Type: "function", Function: CallFn{Name: name}}}}
}

// CallArguments is a delta with more of a tool call's arguments.
func CallArguments(index int, part string) Delta {
	return Delta{ToolCalls: []CallDelta{{Index: index, Function: CallFn{Arguments: part}}}}
}

// Whole is the message of a whole answer.
type Whole struct {
	Role      string     `json:"role"` // set by Answer
	Text      *string    `json:"content"`
	Refusal   string     `json:"refusal,omitempty"`
	Reasoning string     `json:"reasoning_content,omitempty"`
	ToolCalls []CallMade `json:"tool_calls,omitempty"`

	Thinking []ThinkingBlock `json:"thinking_blocks,omitempty"`
}

// CallMade is a whole tool call.
type CallMade struct {
	ID       string `json:"id"`
	Type     string `json:"type"`
	Function CallFn `json:"function"`
	Extra    any    `json:"extra_content,omitempty"`
}

type object struct {
	ID      string   `json:"id"`
	Object  string   `json:"object"`
	Created int64    `json:"created"`
	Model   string   `json:"model"`
	Choices []choice `json:"choices"`
	Usage   *usage   `json:"usage,omitempty"`
}

type choice struct {
	Index        int     `json:"index"`
	Delta        *Delta  `json:"delta,omitempty"`
	Message      *Whole  `json:"message,omitempty"`
	FinishReason *string `json:"finish_reason"`
}

type usage struct {
	Prompt        int64         `json:"prompt_tokens"`
	Completion    int64         `json:"completion_tokens"`
	Total         int64         `json:"total_tokens"`
	PromptDetails *inputDetail  `json:"prompt_tokens_details,omitempty"`
	OutputDetails *outputDetail `json:"completion_tokens_details,omitempty"`
}

type inputDetail struct {
	Cached int64 `json:"cached_tokens"`
}

type outputDetail struct {
	Reasoning int64 `json:"reasoning_tokens"`
}

func usageOf(u provider.Usage) *usage {
	o := &usage{Prompt: u.Input, Completion: u.Output, Total: u.Total()}
	if u.Cached > 0 {
		o.PromptDetails = &inputDetail{u.Cached}
	}
	if u.Reasoning > 0 {
		o.OutputDetails = &outputDetail{u.Reasoning}
	}
	return o
}

// Chunk makes a chunk. finish is empty but in the last one of the choice.
func (a *Answer) Chunk(d Delta, finish string) *provider.Chunk {
	if !a.begun {
		a.begun = true
		d.Role = RoleAssistant
	}
	c := choice{Delta: &d}
	if finish != "" {
		c.FinishReason = &finish
	}
	return a.chunk([]choice{c}, nil)
}

// UsageChunk makes the chunk that has the usage and no choices.
func (a *Answer) UsageChunk(u provider.Usage) *provider.Chunk {
	return a.chunk([]choice{}, usageOf(u))
}

func (a *Answer) chunk(choices []choice, u *usage) *provider.Chunk {
	raw := encode(object{a.id, "chat.completion.chunk", a.created, a.model, choices, u})
	f, _ := provider.ParseChunk(raw)
	return &provider.Chunk{Raw: raw, Facts: f}
}

// Completion makes a whole answer. u is nil where nobody counted.
func (a *Answer) Completion(m Whole, finish string, u *provider.Usage) *provider.Completion {
	m.Role = RoleAssistant
	o := object{a.id, "chat.completion", a.created, a.model, []choice{{Message: &m, FinishReason: &finish}}, nil}
	if u != nil {
		o.Usage = usageOf(*u)
	}
	body := encode(o)
	f, _ := provider.ParseCompletion(body)
	return &provider.Completion{Body: body, Facts: f}
}

// encode renders one of our own types, which cannot fail: what a provider
// sent is in it as strings only, and Extra as what was decoded from JSON.
func encode(v any) []byte {
	b, _ := json.Marshal(v)
	return b
}
