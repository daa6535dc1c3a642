package chatsession

import (
	"testing"

	"github.com/caddy-chat/caddy-chat/modules/store"
)

// FuzzWireSize holds the estimate of a message's size against its bytes: the
// body of a request must not grow beyond its bound.
func FuzzWireSize(f *testing.F) {
	f.Add("user", "plain")
	f.Add("user", "\"\\\n\x00\x1f\x7f é \u2028 <&>")
	f.Add("tool", "\xff\xfe\xed\xa0\x80")
	f.Fuzz(func(t *testing.T, role, content string) {
		m := &store.Message{Role: role, Content: content}
		if got, size := len(appendWire(nil, m)), wireSize(m); got > size {
			t.Errorf("%d bytes, %d at most", got, size)
		}
	})
}
