package openai

import (
	"cmp"

	"github.com/go-json-experiment/json/jsontext"
	"github.com/tidwall/gjson"

	"github.com/caddy-chat/caddy-chat/modules/customtool"
	"github.com/caddy-chat/caddy-chat/modules/items"
	"github.com/caddy-chat/caddy-chat/modules/provider"
	"github.com/caddy-chat/caddy-chat/modules/provider/dialect"
	"github.com/caddy-chat/caddy-chat/modules/provider/native"
)

// fromResponse turns a response into a chat completion, or its events into what they add
// to one.
type fromResponse struct {
	names *dialect.Names

	// reasons has items of reasoning be told, so that they can go back to the model.
	reasons bool

	calls  map[int64]*responseCall // by their places in the output
	said   bool                    // there was text
	blocks int                     // items of reasoning that were told
}

// responseCall is a call of a tool.
type responseCall struct {
	index  int
	custom bool
	begun  bool // some of its arguments were read
}

// completion returns a response as a chat completion.
func (t *fromResponse) completion(came *provider.Completion) *provider.Completion {
	response := gjson.ParseBytes(came.Native)
	var whole dialect.Whole
	for i, item := range response.Get("output").Array() {
		whole.Add(t.begin(i, item))
		whole.Add(t.whole(item))
		whole.Add(t.end(i, item))
	}
	return dialect.NewAnswer(response.Get("id").Str, came.Model, t.names).Completion(&whole, came.FinishReason, came.Usage)
}

// responseChunks makes a chunk of each event of a response, and one of the usage.
type responseChunks struct {
	provider.Stream
	made   fromResponse
	answer *dialect.Answer
	usage  *provider.Usage // to come; nil for none
}

// next returns a chunk and the event that it was made of; no event if it has the usage.
func (s *responseChunks) next() (chunk, came *provider.Chunk, err error) {
	if s.usage != nil {
		u := *s.usage
		s.usage = nil
		return s.answer.UsageChunk(u), nil, nil
	}
	if came, err = s.Stream.Next(); err != nil {
		return nil, nil, err
	}
	if s.answer == nil {
		s.answer = dialect.NewAnswer(gjson.GetBytes(native.Data(came.Native), "response.id").Str, came.Model, s.made.names)
	}
	if came.Model != "" {
		s.answer.SetModel(came.Model)
	}
	s.usage = came.Usage
	out := dialect.Text(came.Text)
	if came.Plain {
		s.made.said = s.made.said || came.Text != ""
	} else {
		out = s.made.output(gjson.ParseBytes(native.Data(came.Native)))
	}
	return s.answer.Chunk(out, came.FinishReason), came, nil
}

// output returns what an event adds.
func (t *fromResponse) output(event gjson.Result) dialect.Output {
	at, delta := event.Get("output_index").Int(), event.Get("delta").Str
	switch event.Get("type").Str {
	case "response.output_text.delta":
		t.said = t.said || delta != ""
		return dialect.Text(delta)
	case "response.refusal.delta":
		t.said = t.said || delta != ""
		return dialect.Output{Refusal: delta}
	case "response.reasoning_summary_part.added":
		if event.Get("summary_index").Int() > 0 {
			return dialect.Reasoning(items.PartSeparator)
		}
	case "response.reasoning_summary_text.delta", "response.reasoning_text.delta":
		return dialect.Reasoning(delta)
	case "response.output_item.added":
		return t.begin(int(at), event.Get("item"))
	case "response.function_call_arguments.delta", "response.custom_tool_call_input.delta":
		return t.arguments(at, delta)
	case "response.output_item.done":
		return t.end(int(at), event.Get("item"))
	}
	return dialect.Output{}
}

// begin begins an item. The input of a custom tool becomes the only argument of a function.
func (t *fromResponse) begin(at int, item gjson.Result) dialect.Output {
	typ := item.Get("type").Str
	if typ != "function_call" && typ != "custom_tool_call" {
		return dialect.Output{}
	}
	if t.calls == nil {
		t.calls = make(map[int64]*responseCall)
	}
	c := &responseCall{index: len(t.calls), custom: typ == "custom_tool_call"}
	t.calls[int64(at)] = c
	return dialect.CallBegin(c.index, item.Get("call_id").Str, item.Get("name").Str)
}

// The beginning and the end of what customtool.Arguments returns, for an input that comes
// piece by piece.
const inputBegin, inputEnd = `{"input":"`, `"}`

// arguments adds to those of a call.
func (t *fromResponse) arguments(at int64, delta string) dialect.Output {
	c := t.calls[at]
	if c == nil || delta == "" {
		return dialect.Output{}
	}
	if c.custom {
		quoted, _ := jsontext.AppendQuote(nil, delta)
		delta = string(quoted[1 : len(quoted)-1])
		if !c.begun {
			delta = inputBegin + delta
		}
	}
	c.begun = true
	return dialect.CallArguments(c.index, delta)
}

// end ends an item. A call whose arguments have not come piece by piece has them now.
func (t *fromResponse) end(at int, item gjson.Result) dialect.Output {
	c := t.calls[int64(at)]
	switch {
	case t.reasons && isReasoning(item):
		return t.thought(item)
	case c == nil:
		return dialect.Output{}
	case c.custom && c.begun:
		return dialect.CallArguments(c.index, inputEnd)
	case c.custom:
		return dialect.CallArguments(c.index, customtool.Arguments(item.Get("input").Str))
	case !c.begun:
		return dialect.CallArguments(c.index, cmp.Or(item.Get("arguments").Str, "{}"))
	}
	return dialect.Output{}
}

// thought tells an item of reasoning and its place.
func (t *fromResponse) thought(item gjson.Result) dialect.Output {
	raw, ok := items.ReasoningOf(item)
	if !ok {
		return dialect.Output{}
	}
	t.blocks++
	return dialect.Output{Thinking: []dialect.ThinkingBlock{{
		Type: items.TypeReasoning, Reasoning: items.Reasoning{Index: t.blocks, Said: t.said, Calls: len(t.calls), Item: raw},
	}}}
}

// whole is what an item that came whole says, except for calls.
func (t *fromResponse) whole(item gjson.Result) (o dialect.Output) {
	switch item.Get("type").Str {
	case "reasoning":
		o.Reasoning = items.Readable(item)
	case "message":
		for _, part := range item.Get("content").Array() {
			o.Text += part.Get("text").Str
			o.Refusal += part.Get("refusal").Str
		}
		t.said = t.said || o.Text+o.Refusal != ""
	}
	return o
}
