package openai

import (
	"bytes"
	"unicode/utf8"

	"github.com/caddy-chat/caddy-chat/modules/provider"
)

// deltaBegin is what an event with a piece of text begins with, as OpenAI writes it.
var deltaBegin = []byte(`{"type":"response.output_text.delta"`)

// Plain implements native.Reader. It reads an object of texts without escapes, whole
// numbers and empty lists, in any order.
func (r *responseReader) Plain(data []byte, f *provider.Facts) bool {
	rest, ok := bytes.CutPrefix(data, deltaBegin)
	if !ok || !utf8.Valid(rest) {
		return false
	}
	var text []byte
	for len(rest) > 1 && rest[0] == ',' {
		var name, value []byte
		if name, rest, ok = cutText(rest[1:]); !ok || len(rest) < 2 || rest[0] != ':' {
			return false
		}
		if value, rest, ok = cutValue(rest[1:]); !ok {
			return false
		}
		if string(name) == "delta" {
			text = value
		}
	}
	if string(rest) != "}" || len(text) < 2 || text[0] != '"' {
		return false
	}
	r.begun = true
	f.AddText(string(text[1 : len(text)-1]))
	return true
}

// cutText cuts a JSON text without escapes off, and returns it without its quotes.
func cutText(b []byte) (text, rest []byte, ok bool) {
	if len(b) == 0 || b[0] != '"' {
		return nil, nil, false
	}
	b = b[1:]
	for i, c := range b {
		switch {
		case c == '"':
			return b[:i], b[i+1:], true
		case c < ' ' || c == '\\':
			return nil, nil, false
		}
	}
	return nil, nil, false
}

// cutValue cuts a plain value off.
func cutValue(b []byte) (value, rest []byte, ok bool) {
	switch c := b[0]; {
	case c == '"':
		text, rest, ok := cutText(b)
		if !ok {
			return nil, nil, false
		}
		return b[:len(text)+2], rest, true
	case c == '[' && len(b) > 1 && b[1] == ']':
		return b[:2], b[2:], true
	case c == '0':
		return b[:1], b[1:], true
	case c > '0' && c <= '9':
		i := 1
		for i < len(b) && b[i] >= '0' && b[i] <= '9' {
			i++
		}
		return b[:i], b[i:], true
	}
	return nil, nil, false
}
