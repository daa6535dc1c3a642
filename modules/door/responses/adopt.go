package responses

import (
	"bytes"

	"github.com/tidwall/gjson"
	"github.com/tidwall/sjson"

	"github.com/caddy-chat/caddy-chat/modules/provider"
	"github.com/caddy-chat/caddy-chat/modules/sse"
)

// pass appends events as they came. Where responses are kept they have the id by which they
// are known here, and numbers by which the stream can be followed: not all servers number
// their events, or begin with 0. Their end waits for that of the turn.
func (s *stream) pass(b, events []byte) []byte {
	if !s.c.Stored {
		return append(b, events...)
	}
	for event := range bytes.SplitSeq(events, []byte("\n\n")) {
		_, data, _ := bytes.Cut(event, []byte("data:"))
		root := gjson.ParseBytes(data)
		if !root.IsObject() {
			continue
		}
		made := bytes.TrimSpace(data)
		if response := root.Get("response"); response.IsObject() {
			made, _ = sjson.SetRawBytes(made, "response", s.c.adopt([]byte(response.Raw))) // it fails only for an empty name
		}
		if n := root.Get("sequence_number"); n.Type != gjson.Number || n.Num != float64(s.sequence) {
			made, _ = sjson.SetBytes(made, "sequence_number", s.sequence)
		}
		s.sequence++
		name := root.Get("type").Str
		if s.ended {
			s.last = sse.AppendEvent(s.last, "", name, made)
			continue
		}
		b = sse.AppendEvent(b, "", name, made)
	}
	s.response.ID = "resp_" + s.c.id
	return b
}

// adopt returns a response of a provider as one of ours: what the provider was
// not sent, and what it calls otherwise, is as the client knows it.
func (c *call) adopt(response []byte) []byte {
	for _, member := range [...]struct {
		name string
		v    any
	}{ // in this order, so that a response is always the same
		{"id", "resp_" + c.id},
		{"created_at", c.created},
		{"store", c.echo.Store},
		{"background", c.background},
		{"previous_response_id", c.echo.PreviousResponseID},
		{"instructions", c.echo.Instructions},
		{"metadata", c.echo.Metadata},
	} {
		response, _ = sjson.SetBytes(response, member.name, member.v) // it fails only for an empty name
	}
	if c.echo.Conversation != nil {
		response, _ = sjson.SetBytes(response, "conversation", c.echo.Conversation)
	}
	return response
}

// adopted returns the response that a chat completion was made of, if it was. One that was
// assembled has the last event of its stream, which has the response unless a budget has
// ended it before.
func (c *call) adopted(completion gjson.Result) []byte {
	native := completion.Get(provider.MemberNative)
	if native.Get("object").Str != "response" {
		native = native.Get("response")
	}
	switch native.Get("status").Str {
	case statusCompleted, statusIncomplete:
		return c.adopt([]byte(native.Raw))
	}
	return nil
}
