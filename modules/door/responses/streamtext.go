package responses

import (
	"encoding/json"
	"strings"
)

// openItem is a message or a reasoning that is being written.
type openItem struct {
	*item
	at int

	// part is the type of the part that is being written; empty between parts.
	part     string
	deltas   deltas
	text     []byte
	logprobs []byte // the elements of a list
	sources  []annotation
}

// say appends visible text, with the log probabilities of its tokens.
func (s *stream) say(b []byte, text, logprobs string) []byte {
	b = s.write(b, typeMessage, typeText)
	tail := s.open.deltas.tail
	if len(logprobs) > len(noLogprobs) {
		tail = `,"logprobs":` + logprobs
		if len(s.open.logprobs) > 0 {
			s.open.logprobs = append(s.open.logprobs, ',')
		}
		s.open.logprobs = append(s.open.logprobs, logprobs[1:len(logprobs)-1]...)
	}
	s.open.text = append(s.open.text, text...)
	return s.add(b, &s.open.deltas, text, tail)
}

func (s *stream) refuse(b []byte, text string) []byte {
	b = s.write(b, typeMessage, typeRefusal)
	s.open.text = append(s.open.text, text...)
	return s.add(b, &s.open.deltas, text, "")
}

func (s *stream) think(b []byte, text string) []byte {
	b = s.write(b, typeReasoning, typeSummary)
	s.open.text = append(s.open.text, text...)
	return s.add(b, &s.open.deltas, text, "")
}

// cite appends a source of the text.
func (s *stream) cite(b []byte, source annotation) []byte {
	b = s.write(b, typeMessage, typeText)
	o, index := s.open, len(s.open.sources)
	o.sources = append(o.sources, source)
	content := len(o.Content)
	return s.send(b, "response.output_text.annotation.added", event{
		ItemID: o.ID, OutputIndex: &o.at, ContentIndex: &content, SourceIndex: &index, Source: &source,
	})
}

// write makes sure that a part of an item of these types is open.
func (s *stream) write(b []byte, typ, part string) []byte {
	if s.open != nil && s.open.Type == typ && s.open.part == part {
		return b
	}
	if s.open == nil || s.open.Type != typ {
		b = s.close(b, statusCompleted)
		b = s.openItem(b, typ)
	}
	return s.openPart(s.closePart(b), part)
}

func (s *stream) openItem(b []byte, typ string) []byte {
	at := s.place()
	i := s.c.newItem(typ, at)
	if typ == typeMessage {
		i.Role, i.Status, i.Content = "assistant", statusInProgress, []part{}
	} else {
		i.Summary = []part{}
	}
	s.open = &openItem{item: i, at: at}
	return s.send(b, "response.output_item.added", event{OutputIndex: &at, Item: i})
}

func (s *stream) openPart(b []byte, typ string) []byte {
	o := s.open
	o.begins(typ)
	index, p := o.index(), o.partOf("")
	if typ == typeSummary {
		return s.send(b, "response.reasoning_summary_part.added", event{ItemID: o.ID, OutputIndex: &o.at, SummaryIndex: &index, Part: &p})
	}
	return s.send(b, "response.content_part.added", event{ItemID: o.ID, OutputIndex: &o.at, ContentIndex: &index, Part: &p})
}

// begins makes a new part the one that is written.
func (o *openItem) begins(typ string) {
	o.part, o.text, o.logprobs, o.sources = typ, nil, nil, nil
	switch typ {
	case typeText:
		o.deltas = deltasOf("response.output_text.delta", o.ID, o.at, "content_index", o.index(), `,"logprobs":[]`)
	case typeRefusal:
		o.deltas = deltasOf("response.refusal.delta", o.ID, o.at, "content_index", o.index(), "")
	case typeSummary:
		o.deltas = deltasOf("response.reasoning_summary_text.delta", o.ID, o.at, "summary_index", o.index(), "")
	}
}

// index returns the index of the part that is written.
func (o *openItem) index() int { return len(o.Content) + len(o.Summary) }

// partOf returns the part that is written, with a text.
func (o *openItem) partOf(text string) part {
	switch o.part {
	case typeRefusal:
		return newRefusal(text)
	case typeSummary:
		return newSummary(text)
	}
	var logprobs json.RawMessage
	if len(o.logprobs) > 0 {
		logprobs = json.RawMessage("[" + string(o.logprobs) + "]")
	}
	return newText(text, logprobs, o.sources)
}

// closePart appends the end of the part that is written, if one is.
func (s *stream) closePart(b []byte) []byte {
	o := s.open
	if o.part == "" {
		return b
	}
	text, index := string(o.text), o.index()
	p := o.partOf(text)
	e := event{ItemID: o.ID, OutputIndex: &o.at}
	if o.part == typeSummary {
		e.SummaryIndex, e.Text = &index, &text
		b = s.send(b, "response.reasoning_summary_text.done", e)
		e.Text, e.Part = nil, &p
		b = s.send(b, "response.reasoning_summary_part.done", e)
		o.Summary = append(o.Summary, p)
		o.part = ""
		return b
	}
	e.ContentIndex = &index
	if o.part == typeRefusal {
		e.Refusal = &text
		b = s.send(b, "response.refusal.done", e)
	} else {
		e.Text, e.Logprobs = &text, p.Logprobs
		b = s.send(b, "response.output_text.done", e)
	}
	o.Content = append(o.Content, p)
	o.part = ""
	return s.send(b, "response.content_part.done", event{ItemID: o.ID, OutputIndex: &o.at, ContentIndex: &index, Part: &p})
}

// close appends the end of the open item, if there is one.
func (s *stream) close(b []byte, status string) []byte {
	o := s.open
	if o == nil {
		return b
	}
	b = s.closePart(b)
	s.open = nil
	if o.Type == typeMessage {
		o.Status = status
		return s.done(b, o.item, o.at)
	}
	var text strings.Builder
	for _, p := range o.Summary {
		text.WriteString(*p.Text)
	}
	s.c.seal(o.item, thoughts{Text: text.String(), By: s.by})
	return s.done(b, o.item, o.at)
}
