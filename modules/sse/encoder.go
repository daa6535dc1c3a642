package sse

import (
	"bytes"
	"strings"
)

// AppendEvent appends an event to dst. Empty id and event are left out; data
// has at least one line, since an event without any is none. CR, LF and NUL
// in id and event are taken out: they would end the line, or make clients
// ignore the id. CRLF and CR in data come out as LF on the other side, where
// a format that spells its line breaks, such as JSON, loses nothing.
func AppendEvent(dst []byte, id, event string, data []byte) []byte {
	if id != "" {
		dst = appendName(append(dst, "id: "...), id)
	}
	if event != "" {
		dst = appendName(append(dst, "event: "...), event)
	}
	dst = appendLines(dst, "data: ", data)
	return append(dst, '\n')
}

// AppendComment appends a comment, one line for each of text's, and a blank
// line: clients that split at blank lines then see it at once. Between events
// a blank line means nothing.
func AppendComment(dst []byte, text string) []byte {
	dst = appendLines(dst, ": ", []byte(text))
	return append(dst, '\n')
}

// appendName appends the value of a field that has one line.
func appendName(dst []byte, s string) []byte {
	for {
		i := strings.IndexAny(s, "\r\n\x00")
		if i < 0 {
			return append(append(dst, s...), '\n')
		}
		dst = append(dst, s[:i]...)
		s = s[i+1:]
	}
}

// appendLines appends text, each line behind prefix.
func appendLines(dst []byte, prefix string, text []byte) []byte {
	for {
		dst = append(dst, prefix...)
		i := lineEnd(text)
		if i < 0 {
			return append(append(dst, text...), '\n')
		}
		dst = append(append(dst, text[:i]...), '\n')
		if bytes.HasPrefix(text[i:], []byte("\r\n")) {
			i++
		}
		text = text[i+1:]
	}
}
