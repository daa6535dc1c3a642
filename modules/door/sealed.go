package door

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"strings"

	"github.com/caddy-chat/caddy-chat/modules/provider"
)

// sealPrefix marks what Seal has made. The number is the format's.
const sealPrefix = "cch1_"

// Seal packs what a provider wants back into a text that clients of another API
// keep and return unread, such as a signature. It has only letters, digits, _ and -.
// It is neither encrypted nor signed: it holds what a client of chat completions sees.
func Seal(v any) string {
	return sealPrefix + base64.RawURLEncoding.EncodeToString(provider.Encode(v))
}

// Unseal reverses Seal, and reports whether s was sealed.
func Unseal(s string, v any) bool {
	rest, ok := strings.CutPrefix(s, sealPrefix)
	if !ok {
		return false
	}
	b, err := base64.RawURLEncoding.DecodeString(rest)
	return err == nil && json.Unmarshal(b, v) == nil
}

// IsSealed reports whether a text looks like one that Seal has made.
func IsSealed(s string) bool { return strings.HasPrefix(s, sealPrefix) }

// Sealed reports whether a request may have something sealed, which its provider would
// not understand.
func Sealed(body []byte) bool {
	for {
		before, rest, found := bytes.Cut(body, []byte(sealPrefix))
		if !found {
			return false
		}
		// a member begins with it, and a quote within a text has a backslash before it
		if bytes.HasSuffix(before, []byte(sealedSeparator)) || bytes.HasSuffix(before, []byte(`"`)) && !bytes.HasSuffix(before, []byte(`\"`)) {
			return true
		}
		body = rest
	}
}

// sealedSeparator stands between an id and what is sealed behind it.
const sealedSeparator = "__"

// SealID adds what a provider wants back with a tool call to the call's id, if an API
// has no other place for it.
func SealID(id string, v any) string { return id + sealedSeparator + Seal(v) }

// UnsealID reverses SealID. It returns an id that has nothing sealed unchanged.
func UnsealID(s string, v any) (id string, ok bool) {
	i := strings.LastIndex(s, sealedSeparator+sealPrefix)
	if i < 0 || !Unseal(s[i+len(sealedSeparator):], v) {
		return s, false
	}
	return s[:i], true
}

// List returns a list of elements with the bytes of each, which Encode would not keep.
func List(elements []json.RawMessage) []byte {
	b := []byte{'['}
	for i, e := range elements {
		if i > 0 {
			b = append(b, ',')
		}
		b = append(b, e...)
	}
	return append(b, ']')
}
