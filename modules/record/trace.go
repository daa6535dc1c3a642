package record

import (
	"net/http"
	"strings"

	"github.com/google/uuid"
)

const maxTraceID = 128

// traceID finds the request's trace id: traceparent's, else X-Trace-Id, else
// X-Request-Id, else a new UUIDv7. What is not well-formed counts as absent.
func traceID(h http.Header) string {
	if id, ok := traceparentID(first(h["Traceparent"])); ok {
		return id
	}
	if id := first(h[HeaderTrace]); validTraceID(id) {
		return id
	}
	if id := first(h["X-Request-Id"]); validTraceID(id) {
		return id
	}
	return NewID()
}

func first(values []string) string {
	if len(values) == 0 {
		return ""
	}
	return values[0]
}

// NewID returns a new UUIDv7.
func NewID() string {
	return uuid.Must(uuid.NewV7()).String()
}

func validTraceID(s string) bool {
	if s == "" || len(s) > maxTraceID {
		return false
	}
	for i := range len(s) {
		c := s[i]
		switch {
		case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', '0' <= c && c <= '9', c == '.', c == '_', c == '-':
		default:
			return false
		}
	}
	return true
}

// traceparentID returns the trace id of a W3C traceparent header,
// https://www.w3.org/TR/trace-context/#traceparent-header.
func traceparentID(s string) (string, bool) {
	version, rest, _ := strings.Cut(s, "-")
	id, rest, _ := strings.Cut(rest, "-")
	parent, rest, ok := strings.Cut(rest, "-")
	flags, more, extended := strings.Cut(rest, "-")
	switch {
	case !ok, !isHex(version, 2), version == "ff", !isHex(id, 32), !isHex(parent, 16), !isHex(flags, 2):
		return "", false
	case strings.Trim(id, "0") == "", strings.Trim(parent, "0") == "":
		return "", false
	case version == "00" && (extended || more != ""):
		return "", false
	}
	return id, true
}

func isHex(s string, n int) bool {
	return len(s) == n && strings.Trim(s, "0123456789abcdef") == ""
}
