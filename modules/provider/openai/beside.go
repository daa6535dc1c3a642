package openai

import (
	"cmp"
	"context"

	"github.com/go-json-experiment/json/jsontext"
	"github.com/tidwall/gjson"

	"github.com/caddy-chat/caddy-chat/modules/customtool"
	"github.com/caddy-chat/caddy-chat/modules/provider"
	"github.com/caddy-chat/caddy-chat/modules/provider/dialect"
	"github.com/caddy-chat/caddy-chat/modules/provider/native"
)

// completeBeside answers a request of Responses with a chat completion that holds the
// response.
func (o *OpenAI) completeBeside(ctx context.Context, preq *provider.Request) (*provider.Completion, error) {
	came, err := o.completeResponse(ctx, preq, preq.Beside)
	if err != nil {
		return nil, err
	}
	response := gjson.ParseBytes(came.Native)
	var whole dialect.Whole
	var t besideItems
	for i, item := range response.Get("output").Array() {
		whole.Add(t.begin(i, item))
		whole.Add(t.whole(item))
		whole.Add(t.end(i, item))
	}
	c := dialect.NewAnswer(response.Get("id").Str, came.Model, nil).Completion(&whole, came.FinishReason, came.Usage)
	c.Body = native.Beside(c.Body, came.Native)
	c.Facts.Content, c.Facts.OutputBytes = came.Content, came.OutputBytes
	return c, nil
}

// streamBeside answers a request of Responses with chunks that hold its events.
func (o *OpenAI) streamBeside(ctx context.Context, preq *provider.Request) (provider.Stream, error) {
	s, err := o.streamResponse(ctx, preq, preq.Beside)
	if err != nil {
		return nil, err
	}
	return &besideStream{Stream: s}, nil
}

// besideStream makes a chunk of each event, and one of the usage.
type besideStream struct {
	provider.Stream
	answer *dialect.Answer
	made   besideItems
	usage  *provider.Usage // to come; nil for none
}

// Next implements provider.Stream.
func (s *besideStream) Next() (*provider.Chunk, error) {
	if s.usage != nil {
		u := *s.usage
		s.usage = nil
		return s.answer.UsageChunk(u), nil
	}
	came, err := s.Stream.Next()
	if err != nil {
		return nil, err
	}
	data := native.Data(came.Native)
	if s.answer == nil {
		s.answer = dialect.NewAnswer(gjson.GetBytes(data, "response.id").Str, came.Model, nil)
	}
	if came.Model != "" {
		s.answer.SetModel(came.Model)
	}
	s.usage = came.Usage
	out := dialect.Text(came.Text)
	if !came.Plain {
		out = s.made.output(gjson.ParseBytes(data))
	}
	chunk := s.answer.Chunk(out, came.FinishReason)
	chunk.Raw, chunk.Event = native.Beside(chunk.Raw, data), came.Native
	// what has no place in a chat completion counts, too
	chunk.Content, chunk.OutputBytes = came.Content, came.OutputBytes
	return chunk, nil
}

// besideItems turns events of a response into what they add to a chat completion.
type besideItems struct {
	calls map[int64]*besideCall // by their places in the output
}

// besideCall is a call of a tool.
type besideCall struct {
	index  int
	custom bool
	begun  bool // some of its arguments were read
}

func (t *besideItems) output(event gjson.Result) dialect.Output {
	at, delta := event.Get("output_index").Int(), event.Get("delta").Str
	switch event.Get("type").Str {
	case "response.output_text.delta":
		return dialect.Text(delta)
	case "response.refusal.delta":
		return dialect.Output{Refusal: delta}
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
func (t *besideItems) begin(at int, item gjson.Result) dialect.Output {
	typ := item.Get("type").Str
	if typ != "function_call" && typ != "custom_tool_call" {
		return dialect.Output{}
	}
	if t.calls == nil {
		t.calls = make(map[int64]*besideCall)
	}
	c := &besideCall{index: len(t.calls), custom: typ == "custom_tool_call"}
	t.calls[int64(at)] = c
	return dialect.CallBegin(c.index, item.Get("call_id").Str, item.Get("name").Str)
}

// The beginning and the end of what customtool.Arguments returns, for an input that comes
// piece by piece.
const inputBegin, inputEnd = `{"input":"`, `"}`

// arguments adds to those of a call.
func (t *besideItems) arguments(at int64, delta string) dialect.Output {
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
func (t *besideItems) end(at int, item gjson.Result) dialect.Output {
	c := t.calls[int64(at)]
	switch {
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

// whole is what an item that came whole says, except for calls.
func (t *besideItems) whole(item gjson.Result) (o dialect.Output) {
	for _, list := range [...]string{"content", "summary"} {
		for _, part := range item.Get(list).Array() {
			switch {
			case item.Get("type").Str == "reasoning":
				o.Reasoning += part.Get("text").Str
			case item.Get("type").Str == "message":
				o.Text += part.Get("text").Str
				o.Refusal += part.Get("refusal").Str
			}
		}
	}
	return o
}
