package provider

import (
	"net/http"
	"strconv"
	"strings"
	"time"
)

// maxRetryAfter is the longest wait that RetryAfter returns.
const maxRetryAfter = 365 * 24 * time.Hour

// RetryAfter returns how long a provider asks callers to wait, from OpenAI's
// Retry-After-Ms or from Retry-After, in seconds or as a date. It returns 0
// without either.
func RetryAfter(h http.Header, now time.Time) time.Duration {
	if ms, err := strconv.ParseFloat(h.Get("Retry-After-Ms"), 64); err == nil && ms >= 0 {
		return bounded(ms * float64(time.Millisecond))
	}
	v := strings.TrimSpace(h.Get("Retry-After"))
	if s, err := strconv.ParseFloat(v, 64); err == nil && s >= 0 {
		return bounded(s * float64(time.Second))
	}
	if t, err := http.ParseTime(v); err == nil {
		return bounded(float64(t.Sub(now)))
	}
	return 0
}

func bounded(d float64) time.Duration {
	return time.Duration(max(0, min(d, float64(maxRetryAfter))))
}
