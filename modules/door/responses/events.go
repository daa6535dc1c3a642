package responses

import (
	"encoding/json"
	"strconv"

	"github.com/go-json-experiment/json/jsontext"

	"github.com/caddy-chat/caddy-chat/modules/provider"
	"github.com/caddy-chat/caddy-chat/modules/sse"
)

// event is an event of a stream. Which members it has depends on its type.
type event struct {
	Type         string          `json:"type"`
	Sequence     int64           `json:"sequence_number"`
	Response     *response       `json:"response,omitempty"`
	Error        *streamFailure  `json:"error,omitempty"`
	ItemID       string          `json:"item_id,omitempty"`
	OutputIndex  *int            `json:"output_index,omitempty"`
	ContentIndex *int            `json:"content_index,omitempty"`
	SummaryIndex *int            `json:"summary_index,omitempty"`
	SourceIndex  *int            `json:"annotation_index,omitempty"`
	Item         any             `json:"item,omitempty"` // an *item, or one of the provider's
	Part         *part           `json:"part,omitempty"`
	Source       *annotation     `json:"annotation,omitempty"`
	Delta        *string         `json:"delta,omitempty"`
	Text         *string         `json:"text,omitempty"`
	Refusal      *string         `json:"refusal,omitempty"`
	Arguments    *string         `json:"arguments,omitempty"`
	Name         string          `json:"name,omitempty"`
	Input        *string         `json:"input,omitempty"`
	Logprobs     json.RawMessage `json:"logprobs,omitempty"`
}

// streamFailure is what the event "error" says, in the form of OpenAI's servers, which
// is not the one that they document. Clients raise an error for it.
type streamFailure struct {
	Type    string  `json:"type"`
	Code    string  `json:"code"`
	Message string  `json:"message"`
	Param   *string `json:"param"`
}

// send appends an event with the next sequence number.
func (s *stream) send(b []byte, name string, e event) []byte {
	e.Type, e.Sequence = name, s.sequence
	s.sequence++
	return sse.AppendEvent(b, "", name, provider.Encode(e))
}

// deltas are events of one kind, which add to the same text. Most events of a
// stream are such, so they are written by hand.
type deltas struct {
	head   []byte // until the sequence number
	middle []byte // from there to the text
	tail   string // after the text, unless there is something else
}

// deltasOf returns the events of a name that add to a part of an item. within names
// the index of the part; empty for tool calls.
func deltasOf(name string, id string, at int, within string, index int, tail string) deltas {
	d := deltas{tail: tail}
	d.head = append(d.head, "event: "+name+"\ndata: {\"type\":\""+name+"\",\"sequence_number\":"...)
	d.middle, _ = jsontext.AppendQuote(append(d.middle, `,"item_id":`...), id)
	d.middle = strconv.AppendInt(append(d.middle, `,"output_index":`...), int64(at), 10)
	if within != "" {
		d.middle = append(append(append(d.middle, `,"`...), within...), `":`...)
		d.middle = strconv.AppendInt(d.middle, int64(index), 10)
	}
	d.middle = append(d.middle, `,"delta":`...)
	return d
}

// add appends an event that adds a text.
func (s *stream) add(b []byte, d *deltas, text, tail string) []byte {
	b = strconv.AppendInt(append(b, d.head...), s.sequence, 10)
	s.sequence++
	b, _ = jsontext.AppendQuote(append(b, d.middle...), text) // what is not UTF-8 is replaced
	return append(append(b, tail...), "}\n\n"...)
}
