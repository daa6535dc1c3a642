package dialect

import (
	"bytes"
	"encoding/json"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/caddy-chat/caddy-chat/modules/provider"
)

// The shapes below, rendered by encoding/json, are the oracle of the encoder.

type object struct {
	ID      string   `json:"id"`
	Object  string   `json:"object"`
	Created int64    `json:"created"`
	Model   string   `json:"model"`
	Choices []choice `json:"choices"`
	Usage   *usage   `json:"usage,omitempty"`
}

type choice struct {
	Index        int      `json:"index"`
	Delta        *delta   `json:"delta,omitempty"`
	Message      *message `json:"message,omitempty"`
	FinishReason *string  `json:"finish_reason"`
}

type delta struct {
	Role      string          `json:"role,omitempty"`
	Content   *string         `json:"content,omitempty"`
	Refusal   string          `json:"refusal,omitempty"`
	Reasoning string          `json:"reasoning_content,omitempty"`
	ToolCalls []callPart      `json:"tool_calls,omitempty"`
	Thinking  []ThinkingBlock `json:"thinking_blocks,omitempty"`
}

type callPart struct {
	Index    int      `json:"index"`
	ID       string   `json:"id,omitempty"`
	Type     string   `json:"type,omitempty"`
	Function function `json:"function"`
	Extra    any      `json:"extra_content,omitempty"`
}

type function struct {
	Name      string `json:"name,omitempty"`
	Arguments string `json:"arguments"`
}

type message struct {
	Role      string          `json:"role"`
	Content   *string         `json:"content"`
	Refusal   string          `json:"refusal,omitempty"`
	Reasoning string          `json:"reasoning_content,omitempty"`
	ToolCalls []callMade      `json:"tool_calls,omitempty"`
	Thinking  []ThinkingBlock `json:"thinking_blocks,omitempty"`
}

type callMade struct {
	ID       string   `json:"id"`
	Type     string   `json:"type"`
	Function function `json:"function"`
	Extra    any      `json:"extra_content,omitempty"`
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

func usageOf(u *provider.Usage) *usage {
	if u == nil {
		return nil
	}
	o := &usage{Prompt: u.Input, Completion: u.Output, Total: u.Total()}
	if u.Cached > 0 {
		o.PromptDetails = &inputDetail{u.Cached}
	}
	if u.Reasoning > 0 {
		o.OutputDetails = &outputDetail{u.Reasoning}
	}
	return o
}

func deltaOf(o Output, role bool) *delta {
	d := &delta{Refusal: o.Refusal, Reasoning: o.Reasoning, Thinking: o.Thinking}
	if role {
		d.Role = "assistant"
	}
	for _, c := range o.Calls {
		typ := ""
		if c.ID != "" || c.Name != "" {
			typ = "function"
		}
		d.ToolCalls = append(d.ToolCalls, callPart{c.Index, c.ID, typ, function{c.Name, c.Arguments}, c.Extra})
	}
	if o.Text != "" || reflect.DeepEqual(*d, delta{Role: "assistant"}) {
		d.Content = &o.Text
	}
	return d
}

func messageOf(o Output) *message {
	m := &message{Role: "assistant", Refusal: o.Refusal, Reasoning: o.Reasoning, Thinking: o.Thinking}
	for _, c := range o.Calls {
		m.ToolCalls = append(m.ToolCalls, callMade{c.ID, "function", function{c.Name, c.Arguments}, c.Extra})
	}
	if o.Text != "" || o.Refusal == "" && len(o.Calls) == 0 {
		m.Content = &o.Text
	}
	return m
}

// sameJSON compares two documents token by token, so that members must have the
// same order.
func sameJSON(t *testing.T, got []byte, want any) {
	t.Helper()
	rendered, err := json.Marshal(want)
	if err != nil {
		t.Fatal(err)
	}
	if a, b := tokens(t, got), tokens(t, rendered); !slices.Equal(a, b) {
		t.Errorf("\n got %s\nwant %s", got, rendered)
	}
}

func tokens(t *testing.T, doc []byte) (all []json.Token) {
	t.Helper()
	if !json.Valid(doc) || bytes.ContainsAny(doc, "\r\n") {
		t.Fatalf("not JSON on one line: %q", doc)
	}
	dec := json.NewDecoder(bytes.NewReader(doc))
	dec.UseNumber()
	for dec.More() {
		token, err := dec.Token()
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, token)
	}
	return all
}

// checkOutput compares chunks and completions of an output with encoding/json,
// and their facts with those that the parsers of other servers' answers read.
func checkOutput(t *testing.T, a *Answer, o Output, finish string, u *provider.Usage) {
	t.Helper()
	for range 2 { // the first chunk has the role
		var reason *string
		if finish != "" {
			reason = &finish
		}
		want := object{a.id, "chat.completion.chunk", a.created, a.model, []choice{{Delta: deltaOf(o, !a.begun), FinishReason: reason}}, nil}
		c := a.Chunk(o, finish)
		sameJSON(t, c.Raw, want)
		checkFacts(t, c.Raw, c.Facts, provider.ParseChunk)
		checkRegular(t, c)
	}
	if u != nil {
		c := a.UsageChunk(*u)
		sameJSON(t, c.Raw, object{a.id, "chat.completion.chunk", a.created, a.model, []choice{}, usageOf(u)})
		checkFacts(t, c.Raw, c.Facts, provider.ParseChunk)
		checkRegular(t, c)
	}
	var whole Whole
	whole.Add(o)
	c := a.Completion(&whole, finish, u)
	sameJSON(t, c.Body, object{a.id, "chat.completion", a.created, a.model, []choice{{Message: messageOf(o), FinishReason: &finish}}, usageOf(u)})
	checkFacts(t, c.Body, c.Facts, provider.ParseCompletion)
}

func checkFacts(t *testing.T, raw []byte, got provider.Facts, parse func([]byte) (provider.Facts, bool)) {
	t.Helper()
	if want, ok := parse(raw); !ok || !reflect.DeepEqual(got, want) {
		t.Errorf("%s:\n got %+v\nwant %+v", raw, got, want)
	}
}

// checkRegular holds Regular against Scan, which does not take an id or a model
// with an escape.
func checkRegular(t *testing.T, c *provider.Chunk) {
	t.Helper()
	var s provider.Scanner
	scanned, ok := s.Scan(c.Raw)
	ok = ok && scanned.FinishReason == ""
	if ok && !c.Regular || !ok && c.Regular && !bytes.ContainsRune(c.Raw, '\\') {
		t.Errorf("Regular is %t, and Scan says %t: %s", c.Regular, ok, c.Raw)
	}
}

var outputs = []Output{
	{},
	Text("Hello"),
	Text("a\r\nb\n\ndata: [DONE]\n\n\u2028\x00\\u0041\"<&>\x7f"),
	Text("Grüße \xff\xfe\xc3 🌍"),
	Reasoning("hm \xed\xa0\x80"),
	{Text: "yes", Reasoning: "because"},
	{Refusal: "no"},
	{Text: "well, ", Refusal: "no"},
	CallBegin(0, "call_a", "now"),
	CallBegin(0, "", "now"),
	CallArguments(0, `{"a":1}`),
	CallArguments(0, ""),
	{Text: "see", Calls: []Call{
		{Index: 0, ID: "call_a", Name: "weather", Arguments: `{"city":"Köln"}`, Extra: map[string]any{"google": map[string]string{"thought_signature": "<s>"}}},
		{Index: 1, ID: "call_b", Name: "n\xffw", Arguments: "{\xff}"},
	}},
	{Thinking: []ThinkingBlock{{Type: "thinking", Thinking: new(""), Signature: "s"}, {Type: "redacted_thinking", Data: "d"}}},
}

func TestAnswer(t *testing.T) {
	for i, o := range outputs {
		for _, finish := range []string{"", "stop"} {
			t.Run(fmt.Sprintf("%d%s", i, finish), func(t *testing.T) {
				checkOutput(t, NewAnswer("", "m", nil), o, finish, &provider.Usage{Input: 3, Output: 2})
				checkOutput(t, NewAnswer("id\"\n\xff", "mödel/\xff\\", nil), o, finish, &provider.Usage{Input: 9, Output: 8, Cached: 7, Reasoning: 6})
			})
		}
	}
	t.Run("a_model_is_known_late", func(t *testing.T) {
		a := NewAnswer("", "asked", nil)
		a.Chunk(Text("a"), "")
		a.SetModel("answered")
		checkOutput(t, a, Text("b"), "stop", nil)
	})
	t.Run("a_whole_answer_is_put_together_from_all_output", func(t *testing.T) {
		var whole Whole
		for _, o := range []Output{
			Reasoning("h"), Reasoning("m"), Text("a"), Text("b"),
			CallBegin(0, "call_a", "now"), CallBegin(1, "call_b", "then"), CallArguments(0, "{"), CallArguments(1, "{}"), CallArguments(0, "}"),
		} {
			whole.Add(o)
		}
		a := NewAnswer("", "m", nil)
		want := Output{Text: "ab", Reasoning: "hm", Calls: []Call{
			{Index: 0, ID: "call_a", Name: "now", Arguments: "{}"},
			{Index: 1, ID: "call_b", Name: "then", Arguments: "{}"},
		}}
		finish := "tool_calls"
		sameJSON(t, a.Completion(&whole, finish, nil).Body,
			object{a.id, "chat.completion", a.created, a.model, []choice{{Message: messageOf(want), FinishReason: &finish}}, nil})
	})
}

func FuzzAnswer(f *testing.F) {
	for _, s := range []string{"", "Hello", "\xff\"\n", "<ü\u2029🌍"} {
		f.Add(s, s, s, s, s, s, s, uint8(0))
		f.Add(s, "", "", "", "", "", "", uint8(0xff))
		f.Add("", "", "", s, s, s, "", uint8(7))
	}
	f.Fuzz(func(t *testing.T, text, refusal, reasoning, id, name, arguments, model string, with uint8) {
		o := Output{Text: text, Refusal: refusal, Reasoning: reasoning}
		for i := range int(with & 3) {
			o.Calls = append(o.Calls, Call{Index: i, ID: id, Name: name, Arguments: arguments})
		}
		if with&4 != 0 && len(o.Calls) > 0 {
			o.Calls[0].Extra = map[string]string{"signature": "s" + id}
		}
		if with&8 != 0 {
			o.Thinking = []ThinkingBlock{{Type: "thinking", Thinking: &reasoning, Signature: "s" + id}}
		}
		var u *provider.Usage
		if with&16 != 0 {
			u = &provider.Usage{Input: int64(len(text)), Output: int64(len(arguments)), Cached: int64(len(text) / 2), Reasoning: int64(len(arguments) / 2)}
		}
		finish := ""
		if with&32 != 0 {
			finish = "length"
		}
		checkOutput(t, NewAnswer(id, model, nil), o, finish, u)
	})
}

func TestAnswerAllocations(t *testing.T) {
	a := NewAnswer("", "m", nil)
	text := strings.Repeat(" word", 20)
	for name, o := range map[string]Output{"text": Text(text), "escaped": Text("\"" + text + "\n"), "reasoning": Reasoning(text)} {
		if n := testing.AllocsPerRun(100, func() { a.Chunk(o, "") }); n > 0 {
			t.Errorf("a chunk of %s costs %v allocations, want none", name, n)
		}
	}
}

func BenchmarkAnswer(b *testing.B) {
	b.Run("append", func(b *testing.B) {
		a := NewAnswer("", "some-model", nil)
		b.ReportAllocs()
		for b.Loop() {
			a.Chunk(Text(" word"), "")
		}
	})
	b.Run("marshal_and_parse", func(b *testing.B) {
		a := NewAnswer("", "some-model", nil)
		b.ReportAllocs()
		for b.Loop() {
			raw, _ := json.Marshal(object{a.id, "chat.completion.chunk", a.created, a.model, []choice{{Delta: deltaOf(Text(" word"), false)}}, nil})
			provider.ParseChunk(raw)
		}
	})
}
