package responses

import (
	"bytes"
	"encoding/json"
	"slices"

	"github.com/tidwall/gjson"

	"github.com/caddy-chat/caddy-chat/modules/author"
	"github.com/caddy-chat/caddy-chat/modules/door"
	"github.com/caddy-chat/caddy-chat/modules/provider"
)

// stream writes the events of a response. Text and reasoning are items of which one
// is open at a time. Tool calls stay open until the end, since a provider may come
// back to any of them.
type stream struct {
	c        *call
	sequence int64
	response *response // nil before the first event
	ended    bool
	finish   string
	output   []json.RawMessage // finished items, in the places of all that have begun
	last     []byte            // the end of a kept response as it came, for End; nil before it

	open    *openItem // nil between items
	tracker provider.CallTracker
	calls   []*openCall
	hosted  []openHosted

	// pieces holds the signed reasoning, and thoughts what else the provider wants
	// back, as far as no item has it yet.
	pieces   provider.Message
	thoughts thoughts
	by       string // the model that has written the reasoning
}

func newStream(c *call) *stream { return &stream{c: c} }

// Chunk implements door.Stream.
func (s *stream) Chunk(b []byte, c *provider.Chunk) []byte {
	if c.FinishReason != "" {
		s.finish = c.FinishReason
	}
	if c.Native != nil {
		if c.Text != "" && !c.More && s.followText(c.Native, c.Text) {
			return append(b, c.Native...)
		}
		s.follow(c.Native)
		return s.pass(b, c.Native)
	}
	b = s.begin(b, c.Model)
	if c.Reasoning != "" {
		if s.by == "" {
			s.by = author.Of(firstChoice(c.Raw).Get("delta"))
		}
		b = s.think(b, c.Reasoning)
	}
	if !c.More && !s.c.logprobs {
		if c.Text != "" {
			b = s.say(b, c.Text, "")
		}
		return b
	}
	return s.more(b, c)
}

// begin appends the events before the first item, unless they were sent.
func (s *stream) begin(b []byte, model string) []byte {
	if s.response != nil {
		return b
	}
	s.response = s.c.response(s.c.modelOf(model))
	b = s.send(b, "response.created", event{Response: s.response})
	return s.send(b, "response.in_progress", event{Response: s.response})
}

// more appends what is not only text and reasoning.
func (s *stream) more(b []byte, c *provider.Chunk) []byte {
	choice := firstChoice(c.Raw)
	delta, text, refusal := choice.Get("delta"), c.Text, ""
	if c.Refusal {
		text, refusal = provider.TextOf(delta.Get("content")), delta.Get("refusal").Str
	}
	if text != "" {
		b = s.say(b, text, logprobsOf(choice))
	}
	if refusal != "" {
		b = s.refuse(b, refusal)
	}
	for _, source := range sourcesOf(delta.Get("annotations")) {
		b = s.cite(b, source)
	}
	if pieces := delta.Get("thinking_blocks"); pieces.IsArray() {
		s.pieces.Add(gjson.Parse(`{"thinking_blocks":` + pieces.Raw + `}`))
	}
	first := true
	for _, v := range delta.Get("tool_calls").Array() {
		b = s.call(b, v, first)
		first = false
	}
	return b
}

// firstChoice returns the choice of index 0 of a chunk.
func firstChoice(raw []byte) gjson.Result {
	var first gjson.Result
	gjson.GetBytes(raw, "choices").ForEach(func(_, choice gjson.Result) bool {
		if choice.Get("index").Int() == 0 {
			first = choice
		}
		return !first.Exists()
	})
	return first
}

// logprobsOf returns a choice's log probabilities as JSON; empty without any. They
// look the same in both APIs.
func logprobsOf(choice gjson.Result) string {
	if v := choice.Get("logprobs.content"); v.IsArray() {
		return v.Raw
	}
	return ""
}

// End implements door.Stream.
func (s *stream) End(b []byte, u provider.Usage) []byte {
	if s.last != nil {
		return append(b, s.last...)
	}
	if s.ended {
		return b
	}
	s.ended = true
	b = s.begin(b, "")
	b = s.close(b, statusOf(s.finish))
	for _, c := range s.calls {
		b = s.endCall(b, c)
	}
	b = s.endHosted(b)
	b = s.rest(b)
	s.response.end(s.finish, s.finished(), &u)
	return s.send(b, "response."+s.response.Status, event{Response: s.response})
}

// Fail implements door.Stream. For many clients response.failed is only one more end
// of an answer, so that an event of its own says what has failed.
func (s *stream) Fail(b []byte, f door.Failure) []byte {
	if s.ended && s.last == nil {
		return b
	}
	s.ended = true
	s.sequence -= int64(bytes.Count(s.last, []byte("\n\n"))) // of events that were not sent
	if s.response == nil {
		s.response = s.c.response(s.c.modelOf(""))
	}
	s.response.Status, s.response.Error = statusFailed, &failure{f.Code, f.Message}
	s.response.Output = s.brokenOff()
	b = s.send(b, "error", event{Error: &streamFailure{Type: f.Type, Code: f.Code, Message: f.Message}})
	return s.send(b, "response.failed", event{Response: s.response})
}

// place returns the place of a new item.
func (s *stream) place() int {
	s.output = append(s.output, nil)
	return len(s.output) - 1
}

// done appends the end of an item.
func (s *stream) done(b []byte, i *item, at int) []byte {
	s.output[at] = provider.Encode(i)
	return s.send(b, itemDone, event{OutputIndex: &at, Item: i})
}

// finished returns the finished items.
func (s *stream) finished() []json.RawMessage {
	list := slices.DeleteFunc(slices.Clone(s.output), func(raw json.RawMessage) bool { return raw == nil })
	if list == nil {
		return []json.RawMessage{}
	}
	return list
}

// brokenOff returns the finished items, and those that are open, as incomplete. No event
// tells of their ends: clients run a call once it has one.
func (s *stream) brokenOff() []json.RawMessage {
	number := s.sequence
	s.finish = "length"
	s.close(nil, statusIncomplete)
	for _, c := range s.calls {
		if c.item != nil {
			s.endCall(nil, c)
		}
	}
	s.sequence = number
	return s.finished()
}

// rest appends an item with what the provider wants back and has sent last.
func (s *stream) rest(b []byte) []byte {
	s.thoughts.Blocks = s.pieces.Member("thinking_blocks")
	i := s.c.newItem(typeReasoning, len(s.output))
	i.Summary = []part{}
	if !s.c.seal(i, s.thoughts) {
		return b
	}
	at := s.place()
	b = s.send(b, "response.output_item.added", event{OutputIndex: &at, Item: i})
	return s.done(b, i, at)
}
