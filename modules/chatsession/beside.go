package chatsession

import (
	"bytes"
	"encoding/json"
	"fmt"

	"github.com/tidwall/gjson"
	"github.com/tidwall/sjson"

	"github.com/caddy-chat/caddy-chat/modules/door"
	"github.com/caddy-chat/caddy-chat/modules/provider"
	"github.com/caddy-chat/caddy-chat/modules/record"
	"github.com/caddy-chat/caddy-chat/modules/store"
)

// beside returns the request of another API in its own words, for a provider that
// understands them; nil if there are none for what was said before.
func (c *talk) beside(before []*store.Message) *record.Beside {
	if c.call == nil {
		return nil
	}
	var system string
	var msgs []json.RawMessage
	for i, m := range before {
		if i == 0 && m.Role == roleSystem && m.Seq == 0 {
			system = m.Content // the operator's: it is not stored
			continue
		}
		if isWordless(m) && !hasOrigins(m, door.MembersOf(c.call.API())) {
			continue // another API's
		}
		msgs = append(msgs, asStored(m))
	}
	body, omitted, ok := c.call.Whole(system, msgs)
	if !ok {
		return nil
	}
	return &record.Beside{
		Native:  provider.Native{API: c.call.API(), Body: body},
		Omitted: omitted,
		Refused: c.call.Refusal(),
		Dropped: c.call.Dropped(),

		Assembler: c.call.Assembler,
	}
}

// keepOrigins adds to the messages to be stored what they were made of in the API of the
// request, as far as they do not say it themselves. What is too large with it is stored
// without.
func (c *sentCompletion) keepOrigins(o door.Origins) error {
	kept := false // what the messages without any of their own are with
	for i, m := range c.messages {
		if c.places[i] == nowhere {
			continue
		}
		made := o.Of[c.places[i]]
		if made == nil || !kept && string(made) == string(door.NoOrigins) {
			continue
		}
		raw, err := sjson.SetRawBytes(appendWire(nil, m), o.Member, made)
		if err != nil {
			return fmt.Errorf("keeping what a message was made of: %w", err)
		}
		if kept = len(raw) <= maxMessage; kept {
			m.Raw = raw
		}
	}
	return nil
}

// asStored returns the JSON of a message as it is stored, with the items that it was made of.
func asStored(m *store.Message) json.RawMessage {
	if len(m.Raw) > 0 {
		return m.Raw
	}
	return appendWire(nil, m)
}

// isWithBefore reports whether what a message was made of is with one before it.
func isWithBefore(m *store.Message) bool {
	for _, name := range door.Members {
		if v := gjson.GetBytes(m.Raw, name); v.Raw == string(door.NoOrigins) {
			return true
		}
	}
	return false
}

// withoutNative returns a message without what it was made of, which is only for a request
// in its own API.
func withoutNative(raw []byte) []byte {
	for _, name := range door.Members {
		if !bytes.Contains(raw, []byte(`"`+name+`"`)) {
			continue
		}
		if rest, err := sjson.DeleteBytes(raw, name); err == nil {
			raw = rest
		}
	}
	return raw
}

// said returns the member of a stored answer that holds what it was made of, if all of it
// was, and if that says more.
func (a *answer) said(call door.Call) (member string, value json.RawMessage) {
	switch {
	case a.assembler != nil && a.assembler.Ended():
		return call.Said(a.assembler.Document(provider.Usage{}))
	case a.document != nil:
		return call.Said(a.document)
	}
	return "", nil
}
