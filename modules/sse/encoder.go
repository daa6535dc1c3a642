package sse

import (
	"bytes"
	"mime"
	"net/http"
	"strings"
)

// AppendEvent appends an event to dst. It leaves out an empty id or event, and
// writes at least one line of data, because an event without data does not
// count. It removes CR, LF and NUL from id and event: they would end the line,
// or make clients ignore the id. CRLF and CR in data arrive as LF. Formats that
// escape line breaks, such as JSON, lose nothing.
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

// AppendComment appends a comment, with one line for each of text's. No blank line
// follows, because some clients take what comes before one for an event.
func AppendComment(dst []byte, text string) []byte { return appendLines(dst, ": ", []byte(text)) }

// appendName appends the value of a field that has a single line.
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

// appendLines appends text, each line after prefix.
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

// maxKept is the largest buffer that Reuse keeps, in bytes.
const maxKept = 1 << 20

// Reuse returns buf emptied, for the next events. It returns nil in place of a
// buffer that one huge event has grown, which a stream would hold to its end.
func Reuse(buf []byte) []byte {
	if cap(buf) > maxKept {
		return nil
	}
	return buf[:0]
}

// IsStream reports whether an answer with this header is an event stream.
func IsStream(header http.Header) bool {
	mediaType, _, _ := mime.ParseMediaType(header.Get("Content-Type"))
	return mediaType == MediaType
}

// MediaType is the Content-Type of an event stream.
const MediaType = "text/event-stream"
