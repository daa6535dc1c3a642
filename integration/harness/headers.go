package harness

import (
	"net/http"
	"strconv"
	"testing"
	"time"
)

// WantHeader checks an answer's headers. "#" stands for a number, "*" for any
// value, and an empty value for no header.
func WantHeader(t testing.TB, got http.Header, want map[string]string) {
	t.Helper()
	for name, value := range want {
		values := got.Values(name)
		ok := len(values) == 1 && values[0] == value
		switch value {
		case "":
			ok = len(values) == 0
		case "*":
			ok = len(values) == 1 && values[0] != ""
		case "#":
			if ok = len(values) == 1; ok {
				_, err := strconv.ParseUint(values[0], 10, 64)
				ok = err == nil
			}
		}
		if !ok {
			t.Errorf("%s: %q, want %q", name, values, value)
		}
	}
}

// WantWithin checks a header that holds a duration in whole units, rounded up.
// The exact value depends on when the server read its clock.
func WantWithin(t testing.TB, what, got string, unit, low, high time.Duration) {
	t.Helper()
	n, err := strconv.ParseInt(got, 10, 64)
	up := func(d time.Duration) int64 { return int64((d + unit - 1) / unit) }
	if err != nil || n < up(low) || n > up(high) {
		t.Errorf("%s is %q, want %d to %d", what, got, up(low), up(high))
	}
}
