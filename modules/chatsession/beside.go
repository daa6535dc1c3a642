package chatsession

import (
	"bytes"
	"encoding/json"
	"fmt"

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

// keepItems adds to the messages to be stored what the request says in its own words: to the
// first one all of it, and to the others that it is there.
func (c *sentCompletion) keepItems(items json.RawMessage) (err error) {
	if items == nil {
		return nil
	}
	for i, m := range c.messages {
		of := items
		if i > 0 {
			of = json.RawMessage("[]")
		}
		if m.Raw, err = sjson.SetRawBytes(appendWire(nil, m), door.MemberItems, of); err != nil {
			return fmt.Errorf("keeping the items of a request: %w", err)
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

// withoutNative returns a message without what it was made of, which is only for a request
// in its own API.
func withoutNative(raw []byte) []byte {
	for _, name := range [...]string{door.MemberItems, door.MemberBlocks} {
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
