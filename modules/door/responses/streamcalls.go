package responses

import (
	"strconv"

	"github.com/tidwall/gjson"
)

// argumentsDelta is the event that adds to the arguments of a call.
const argumentsDelta = "response.function_call_arguments.delta"

// inputDelta is the event that adds to the text for a custom tool.
const inputDelta = "response.custom_tool_call_input.delta"

// openCall is a tool call that is being written.
type openCall struct {
	*item // nil until the name is whole
	at    int

	id, name  string
	arguments []byte
	deltas    deltas

	passed bool // its events came from the provider, and the arguments as they are there
}

// call appends a part of a tool call.
func (s *stream) call(b []byte, v gjson.Result, first bool) []byte {
	p := s.tracker.Part(v, first)
	if p.At > len(s.calls) {
		return b // more calls than are told apart
	}
	if p.Begins {
		if p.At > 0 {
			b = s.beginCall(b, s.calls[p.At-1])
		}
		s.calls = append(s.calls, new(openCall))
	}
	c := s.calls[p.At]
	c.name += p.Name
	if p.ID != "" {
		c.id = p.ID
	}
	s.thoughts.addExtra(c.id, v)
	if p.Arguments == "" {
		return b
	}
	b = s.beginCall(b, c)
	c.arguments = append(c.arguments, p.Arguments...)
	if c.item == nil || c.Type != typeFunction {
		return b // they are known at the end
	}
	return s.add(b, &c.deltas, p.Arguments, "")
}

// beginCall appends the beginning of a call, unless it was sent.
func (s *stream) beginCall(b []byte, c *openCall) []byte {
	if c.item != nil || c.name == "" {
		return b
	}
	b = s.close(b, statusCompleted)
	c.at = s.place()
	if c.id == "" {
		c.id = "call_" + s.c.id + strconv.Itoa(c.at)
	}
	c.item = s.c.newCallItem(c.id, c.name, c.at)
	c.Status = statusInProgress
	switch c.Type {
	case typeCustom:
		c.Input = new("")
	case typeSearch:
		c.Arguments = searchOf("")
	default:
		c.Arguments = ""
		c.deltas = deltasOf(argumentsDelta, c.ID, c.at, "", 0, "")
	}
	return s.send(b, "response.output_item.added", event{OutputIndex: &c.at, Item: c.item})
}

// endCall appends the end of a call. It leaves out one whose answer broke off
// before the name.
func (s *stream) endCall(b []byte, c *openCall) []byte {
	b = s.beginCall(b, c)
	if c.item == nil {
		return b
	}
	c.Status = statusOf(s.finish)
	if c.passed && c.Type == typeCustom {
		c.Input = new(string(c.arguments))
	} else {
		c.setArguments(string(c.arguments))
	}
	switch arguments := c.Arguments.(type) {
	case string:
		if len(c.arguments) == 0 {
			b = s.add(b, &c.deltas, arguments, "")
		}
		b = s.send(b, "response.function_call_arguments.done", event{ItemID: c.ID, OutputIndex: &c.at, Arguments: &arguments, Name: c.Name})
	case nil: // a custom tool's
		if !c.passed {
			b = s.send(b, inputDelta, event{ItemID: c.ID, OutputIndex: &c.at, Delta: c.Input})
		}
		b = s.send(b, "response.custom_tool_call_input.done", event{ItemID: c.ID, OutputIndex: &c.at, Input: c.Input})
	}
	return s.done(b, c.item, c.at)
}
