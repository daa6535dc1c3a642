package responses

import (
	"bytes"
	"encoding/json"
	"slices"

	"github.com/tidwall/gjson"
)

// follow reads events that pass as they came, so that the answer can go on with
// others: with the next sequence number, and within the item that is open.
func (s *stream) follow(events []byte) {
	if s.response == nil {
		s.response = s.c.response(s.c.modelOf(""))
	}
	for line := range bytes.Lines(events) {
		if data, ok := bytes.CutPrefix(line, []byte("data:")); ok {
			s.followEvent(gjson.ParseBytes(data))
		}
	}
}

var sequenceName = []byte(`"sequence_number":`)

// followText reads an event with a piece of text, which is known. It saves the parsing of
// nearly all events. It returns false for an event that cannot pass as it came.
func (s *stream) followText(event []byte, text string) bool {
	n, ok := numberIn(event)
	if !ok || s.open == nil || s.c.Stored && n != s.sequence {
		return false
	}
	s.sequence = n + 1
	s.open.text = append(s.open.text, text...)
	return true
}

// numberIn returns the number of an event with a piece of text.
func numberIn(event []byte) (n int64, ok bool) {
	// a quote within a string has a backslash before it, so that this is a name
	_, rest, ok := bytes.Cut(event, sequenceName)
	if !ok {
		return 0, false
	}
	digits := 0
	for _, c := range bytes.TrimLeft(rest, " ") {
		if c < '0' || c > '9' {
			break
		}
		n, digits = n*10+int64(c-'0'), digits+1
	}
	return n, digits > 0 && digits <= maxDigits
}

// maxDigits is how many digits a number may have that surely fits.
const maxDigits = 15

func (s *stream) followEvent(v gjson.Result) {
	if n := v.Get("sequence_number"); n.Exists() && !s.c.Stored {
		s.sequence = n.Int() + 1
	}
	switch v.Get("type").Str {
	case "response.created":
		r := v.Get("response")
		s.response.ID, s.response.CreatedAt, s.response.Model = r.Get("id").Str, r.Get("created_at").Int(), r.Get("model").Str
	case "response.output_item.added":
		s.followItem(int(v.Get("output_index").Int()), v.Get("item"))
	case argumentsDelta, inputDelta:
		if i := s.callAt(int(v.Get("output_index").Int())); i >= 0 {
			s.calls[i].arguments = append(s.calls[i].arguments, v.Get("delta").Str...)
		}
	case itemDone:
		s.closeHosted(int(v.Get("output_index").Int()))
		if i := s.callAt(int(v.Get("output_index").Int())); i >= 0 {
			s.calls = slices.Delete(s.calls, i, i+1)
		}
		if at := int(v.Get("output_index").Int()); at >= 0 && at < len(s.output) {
			s.output[at] = json.RawMessage(v.Get("item").Raw)
			s.open = nil
		}
	case "response.content_part.added", "response.reasoning_summary_part.added":
		if s.open != nil {
			s.open.begins(v.Get("part.type").Str)
		}
	case "response.content_part.done", "response.reasoning_summary_part.done":
		s.followPart(v.Get("part"))
	case "response.output_text.delta", "response.refusal.delta", "response.reasoning_summary_text.delta":
		if s.open != nil {
			s.open.text = append(s.open.text, v.Get("delta").Str...)
		}
	case "response.completed", "response.incomplete", "response.failed":
		s.ended = true
	}
}

// callAt returns which of the open calls is the item at a place, or -1.
func (s *stream) callAt(at int) int {
	return slices.IndexFunc(s.calls, func(c *openCall) bool { return c.at == at })
}

// followItem opens an item. An answer that has begun a tool call is not continued, but
// may have to end within it.
func (s *stream) followItem(at int, v gjson.Result) {
	const most = 1 << 16
	if at < 0 || at > most {
		return
	}
	for len(s.output) <= at {
		s.output = append(s.output, nil)
	}
	s.open = nil
	i := &item{ID: v.Get("id").Str, Type: v.Get("type").Str}
	switch i.Type {
	case typeMessage:
		i.Role, i.Content = "assistant", []part{}
	case typeReasoning:
		i.Summary = []part{}
	case typeFunction:
		i.CallID, i.Namespace, i.Name, i.Arguments = v.Get("call_id").Str, v.Get("namespace").Str, v.Get("name").Str, ""
		s.calls = append(s.calls, &openCall{item: i, at: at, deltas: deltasOf(argumentsDelta, i.ID, at, "", 0, ""), passed: true})
		return
	case typeCustom:
		i.CallID, i.Namespace, i.Name, i.Input = v.Get("call_id").Str, v.Get("namespace").Str, v.Get("name").Str, new("")
		s.calls = append(s.calls, &openCall{item: i, at: at, passed: true})
		return
	default:
		s.followHosted(at, v)
		return
	}
	s.open = &openItem{item: i, at: at}
}

// followPart ends a part.
func (s *stream) followPart(v gjson.Result) {
	if s.open == nil || s.open.part == "" {
		return
	}
	s.open.text = append(s.open.text[:0], v.Get("text").Str+v.Get("refusal").Str...)
	p := s.open.partOf(string(slices.Clone(s.open.text)))
	if s.open.Type == typeMessage {
		s.open.Content = append(s.open.Content, p)
	} else {
		s.open.Summary = append(s.open.Summary, p)
	}
	s.open.part = ""
}
