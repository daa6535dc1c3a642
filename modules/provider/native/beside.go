package native

import (
	"bytes"

	"github.com/caddy-chat/caddy-chat/modules/provider"
)

// Data returns the data of an event as one line of JSON.
func Data(event []byte) []byte {
	var data []byte
	for line := range bytes.Lines(event) {
		if rest, ok := bytes.CutPrefix(line, []byte("data:")); ok {
			data = append(data, bytes.TrimRight(rest, "\r\n")...)
		}
	}
	return bytes.TrimSpace(data)
}

// Beside adds to a chat completion, or to a chunk, what it was made of.
func Beside(raw, native []byte) []byte {
	raw = append(raw[:len(raw)-1], `,"`+provider.MemberNative+`":`...)
	return append(append(raw, native...), '}')
}
