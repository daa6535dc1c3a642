package record

import (
	"net/http"
	"strings"
	"testing"
)

func TestTraceID(t *testing.T) {
	const parent = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
	for _, s := range []string{
		"", "-", "---", "00", parent[:54], parent + "-", parent + "0", "00" + parent, " " + parent,
		strings.Replace(parent, "4", "g", 1), strings.Replace(parent, "-00f0", "_00f0", 1), "ff" + parent[2:], "0" + parent[3:],
	} {
		if id, ok := traceparentID(s); ok {
			t.Errorf("traceparent %q is taken: %s", s, id)
		}
	}
	for _, s := range []string{parent, parent[:53] + "00", "01" + parent[2:], "01" + parent[2:] + "-x-y"} {
		if id, ok := traceparentID(s); !ok || id != "4bf92f3577b34da6a3ce929d0e0e4736" {
			t.Errorf("traceparent %q: %q, %t", s, id, ok)
		}
	}
	if a, b := traceID(http.Header{}), traceID(http.Header{}); a == b || !validTraceID(a) {
		t.Errorf("two new ids: %q, %q", a, b)
	}
}

// FuzzTraceID holds whatever comes in to what may go out: into headers, log
// lines and JSON.
func FuzzTraceID(f *testing.F) {
	f.Add("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01", "a\r\nb", "")
	f.Add("", "", strings.Repeat("x", 129))
	f.Fuzz(func(t *testing.T, parent, trace, request string) {
		id := traceID(http.Header{"Traceparent": {parent}, HeaderTrace: {trace}, "X-Request-Id": {request}})
		if len(id) < 1 || len(id) > 128 || strings.Trim(id, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-") != "" {
			t.Errorf("%q", id)
		}
	})
}
