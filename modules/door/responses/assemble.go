package responses

import (
	"bytes"
	"slices"

	"github.com/tidwall/gjson"
	"github.com/tidwall/sjson"

	"github.com/caddy-chat/caddy-chat/modules/door"
	"github.com/caddy-chat/caddy-chat/modules/provider"
)

// assembler takes the document from the last event, which has all of it.
type assembler struct {
	s        *stream
	response []byte // nil before the last event
}

// Assembler implements door.Call.
func (c *call) Assembler() door.Assembler { return &assembler{s: newStream(c)} }

// Add implements door.Assembler.
func (a *assembler) Add(events []byte) {
	a.s.follow(events)
	if !a.s.ended || a.response != nil {
		return
	}
	for line := range bytes.Lines(events) {
		if data, ok := bytes.CutPrefix(line, []byte("data:")); ok {
			a.response = slices.Clone([]byte(gjson.GetBytes(data, "response").Raw))
		}
	}
}

// Ended implements door.Assembler.
func (a *assembler) Ended() bool { return len(a.response) > 0 }

// Document implements door.Assembler.
func (a *assembler) Document(usage provider.Usage) []byte {
	if a.Ended() {
		return a.whole()
	}
	a.s.ended, a.s.finish = false, "length"
	a.s.End(nil, usage)
	return provider.Encode(a.s.response)
}

// whole returns the response with its items, which some servers send only one by one.
func (a *assembler) whole() []byte {
	if len(gjson.GetBytes(a.response, "output").Array()) > 0 {
		return a.response
	}
	filled, err := sjson.SetRawBytes(a.response, "output", provider.Encode(a.s.finished()))
	if err != nil {
		return a.response
	}
	return filled
}
