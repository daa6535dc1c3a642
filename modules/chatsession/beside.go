package chatsession

import (
	"bytes"
	"encoding/json"

	"github.com/tidwall/gjson"
	"github.com/tidwall/sjson"

	"github.com/caddy-chat/caddy-chat/modules/door/responses"
	"github.com/caddy-chat/caddy-chat/modules/provider"
	"github.com/caddy-chat/caddy-chat/modules/record"
	"github.com/caddy-chat/caddy-chat/modules/sse"
	"github.com/caddy-chat/caddy-chat/modules/store"
)

// beside returns the request of a response in its own words, for a provider that
// understands them; nil if there are none for what was said before.
func (c *talk) beside(before []*store.Message) *record.Beside {
	if c.kept == nil {
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
	body, omitted, ok := responses.Whole(c.sent, system, msgs)
	if !ok {
		return nil
	}
	return &record.Beside{
		Native:  provider.Native{API: provider.APIResponses, Body: body},
		Omitted: omitted,
		Refused: c.call.Refusal(),
		Dropped: c.call.Dropped(),
	}
}

// asStored returns the JSON of a message as it is stored, with the items that it was made of.
func asStored(m *store.Message) json.RawMessage {
	if len(m.Raw) > 0 {
		return m.Raw
	}
	return appendWire(nil, m)
}

// withoutItems returns a message without the items that it was made of, which are only for
// a request in their own API.
func withoutItems(raw []byte) []byte {
	if !bytes.Contains(raw, []byte(`"`+provider.MemberItems+`"`)) {
		return raw
	}
	rest, err := sjson.DeleteBytes(raw, provider.MemberItems)
	if err != nil {
		return raw
	}
	return rest
}

// nativeOf returns the event that a chunk was made of; nil if it was not.
func nativeOf(chunk []byte) []byte {
	if !bytes.Contains(chunk, []byte(`"`+provider.MemberNative+`":{`)) {
		return nil
	}
	event := gjson.GetBytes(chunk, provider.MemberNative)
	if !event.IsObject() {
		return nil
	}
	return sse.AppendEvent(nil, "", event.Get("type").Str, []byte(event.Raw))
}
