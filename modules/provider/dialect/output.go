package dialect

import (
	"strconv"
	"unicode/utf8"

	"github.com/go-json-experiment/json/jsontext"

	"github.com/caddy-chat/caddy-chat/modules/items"
	"github.com/caddy-chat/caddy-chat/modules/provider"
)

// Output is what a model produced: what one chunk adds to an answer, or all of
// an answer.
type Output struct {
	Text      string
	Refusal   string
	Reasoning string
	Calls     []Call

	// Thinking is reasoning that goes back to the model: Claude's of the whole answer in
	// one chunk, items of Responses one by one.
	Thinking []ThinkingBlock
}

// Call is a tool call or a part of one. Calls are numbered from 0 in the order
// in which they begin. The first part of a call has its ID and Name, the others
// more of its arguments.
type Call struct {
	Index     int
	ID        string
	Name      string
	Arguments string

	// Extra is what the provider wants back together with the call. Only the
	// first part of a call has it.
	Extra any
}

// ThinkingBlock is a piece of reasoning that the model signed, or that only the
// model can read. Claude wants it back, untouched, with the results of its tool
// calls; the member's name and shape are LiteLLM's. Such a block has a signature or
// data. Models behind OpenAI's Responses want back whole items.
type ThinkingBlock struct {
	Type      string  `json:"type"` // thinking, redacted_thinking or items.TypeReasoning
	Thinking  *string `json:"thinking,omitempty"`
	Signature string  `json:"signature,omitempty"`
	Data      string  `json:"data,omitempty"` // of redacted_thinking
	items.Reasoning
}

// Text is an output of visible text.
func Text(s string) Output { return Output{Text: s} }

// Reasoning is an output of the model's thinking.
func Reasoning(s string) Output { return Output{Reasoning: s} }

// CallBegin is the output that begins the tool call of an index.
func CallBegin(index int, id, name string) Output {
	return Output{Calls: []Call{{Index: index, ID: id, Name: name}}}
}

// CallArguments is an output with more of a tool call's arguments.
func CallArguments(index int, part string) Output {
	return Output{Calls: []Call{{Index: index, Arguments: part}}}
}

// isText says whether there is nothing but text and reasoning.
func (o *Output) isText() bool {
	return o.Refusal == "" && len(o.Calls) == 0 && len(o.Thinking) == 0
}

// facts are those that provider.ParseChunk and provider.ParseCompletion read
// of the output.
func (o *Output) facts() provider.Facts {
	f := provider.Facts{Text: valid(o.Text), Reasoning: valid(o.Reasoning)}
	if o.Reasoning != "" {
		f.ReasoningIn = "reasoning_content"
	}
	if o.Refusal != "" {
		f.Refusal = true
		f.Text += valid(o.Refusal)
	}
	f.OutputBytes = len(f.Text) + len(f.Reasoning)
	for _, c := range o.Calls {
		n := len(valid(c.Name)) + len(valid(c.Arguments))
		f.OutputBytes += n
		f.ToolCalls = f.ToolCalls || n > 0 || c.ID != "" || c.Extra != nil
	}
	f.Content = f.OutputBytes > 0 || f.ToolCalls || len(o.Thinking) > 0
	f.More = f.Refusal || f.ToolCalls || len(o.Thinking) > 0
	return f
}

// appendDelta appends the output as a chunk's delta. A delta that would have
// nothing but its role has an empty content, as OpenAI's have.
func (o *Output) appendDelta(b []byte, role bool) []byte {
	b = append(b, '{')
	if role {
		b = append(b, `"role":"assistant",`...)
	}
	if o.Text != "" || role && o.isText() && o.Reasoning == "" {
		b = append(b, `"content":`...)
		b = append(appendString(b, o.Text), ',')
	}
	return o.appendRest(b, false)
}

// appendMessage appends the output as the message of a whole answer. Its
// content is null if there is something else in its place.
func (o *Output) appendMessage(b []byte) []byte {
	b = append(b, `{"role":"assistant","content":`...)
	if o.Text == "" && (len(o.Calls) > 0 || o.Refusal != "") {
		b = append(b, "null,"...)
	} else {
		b = append(appendString(b, o.Text), ',')
	}
	return o.appendRest(b, true)
}

// appendRest appends all members but role and content, and ends the object. b
// ends with its opening brace or with a comma.
func (o *Output) appendRest(b []byte, whole bool) []byte {
	if o.Refusal != "" {
		b = append(b, `"refusal":`...)
		b = append(appendString(b, o.Refusal), ',')
	}
	if o.Reasoning != "" {
		b = append(b, `"reasoning_content":`...)
		b = append(appendString(b, o.Reasoning), ',')
	}
	if len(o.Calls) > 0 {
		b = append(b, `"tool_calls":[`...)
		for i := range o.Calls {
			b = append(o.Calls[i].append(b, whole), ',')
		}
		b[len(b)-1] = ']'
		b = append(b, ',')
	}
	if len(o.Thinking) > 0 {
		b = append(b, `"thinking_blocks":`...)
		b = append(append(b, provider.Encode(o.Thinking)...), ',')
	}
	if b[len(b)-1] == ',' {
		b = b[:len(b)-1]
	}
	return append(b, '}')
}

// append appends a call. Only the parts of one have an index, and only the
// first of them a type.
func (c *Call) append(b []byte, whole bool) []byte {
	b = append(b, '{')
	if !whole {
		b = append(b, `"index":`...)
		b = append(strconv.AppendInt(b, int64(c.Index), 10), ',')
	}
	if whole || c.ID != "" {
		b = append(b, `"id":`...)
		b = append(appendString(b, c.ID), ',')
	}
	if whole || c.ID != "" || c.Name != "" {
		b = append(b, `"type":"function",`...)
	}
	b = append(b, `"function":{`...)
	if c.Name != "" {
		b = append(b, `"name":`...)
		b = append(appendString(b, c.Name), ',')
	}
	b = append(b, `"arguments":`...)
	b = append(appendString(b, c.Arguments), '}')
	if c.Extra != nil {
		b = append(b, `,"extra_content":`...)
		b = append(b, provider.Encode(c.Extra)...)
	}
	return append(b, '}')
}

// appendString appends s as JSON, with replacement characters for what is not
// UTF-8.
func appendString(b []byte, s string) []byte {
	b, _ = jsontext.AppendQuote(b, s) // its only error is that it replaced some
	return b
}

func appendStringOrNull(b []byte, s string) []byte {
	if s == "" {
		return append(b, "null"...)
	}
	return appendString(b, s)
}

// valid returns s as it is in JSON: with a replacement character for each byte
// that is not UTF-8.
func valid(s string) string {
	if utf8.ValidString(s) {
		return s
	}
	return string([]rune(s))
}
