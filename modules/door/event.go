package door

import (
	"bytes"

	"github.com/tidwall/gjson"

	"github.com/caddy-chat/caddy-chat/modules/provider"
	"github.com/caddy-chat/caddy-chat/modules/sse"
)

// nativeMember begins the member of a chunk that holds an event.
var nativeMember = []byte(`"` + provider.MemberNative + `":{`)

// EventOf returns the event of another API that a chunk was made of; nil if it was made of
// none.
func EventOf(c *provider.Chunk) []byte {
	if c.Event != nil || !bytes.Contains(c.Raw, nativeMember) {
		return c.Event
	}
	event := gjson.GetBytes(c.Raw, provider.MemberNative)
	if !event.IsObject() {
		return nil
	}
	return sse.AppendEvent(nil, "", event.Get("type").Str, []byte(event.Raw))
}
