package harness

import (
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strconv"
	"strings"
)

// Metrics returns the series on the admin endpoint, by their full names.
func (c *Caddy) Metrics() map[string]float64 {
	c.T.Helper()
	return c.MetricsAt(c.Admin + "/metrics")
}

func (c *Caddy) MetricsAt(url string) map[string]float64 {
	c.T.Helper()
	resp, err := http.Get(url)
	if err != nil {
		c.T.Fatal(err)
	}
	series := make(map[string]float64)
	for line := range strings.Lines(ReadAll(c.T, resp)) {
		line = strings.TrimSpace(line)
		at := strings.LastIndexByte(line, ' ')
		if line == "" || line[0] == '#' {
			continue
		}
		value, err := strconv.ParseFloat(line[at+1:], 64)
		if err != nil {
			c.T.Fatalf("metrics: %q: %v", line, err)
		}
		series[line[:at]] = value
	}
	return series
}

// WantMetrics waits until series have these values. A request is counted when
// it ends, which its client may see earlier.
func (c *Caddy) WantMetrics(want map[string]float64) {
	c.T.Helper()
	for name, value := range want {
		Eventually(c.T, fmt.Sprintf("%s is %v", name, value), func() bool {
			got, ok := c.Metrics()[name]
			return ok && got == value
		})
	}
}

// OurMetrics returns the names of the series that this project exports, sorted.
func OurMetrics(series map[string]float64) []string {
	return slices.DeleteFunc(slices.Sorted(maps.Keys(series)), func(name string) bool {
		return !strings.HasPrefix(name, "caddy_chat_") && !strings.HasPrefix(name, "caddy_ai_")
	})
}

// RequestsIn returns how many requests were counted: those with a tenant, and
// those rejected without one.
func RequestsIn(series map[string]float64) float64 {
	var n float64
	for name, value := range series {
		if strings.HasPrefix(name, "caddy_chat_requests_total{") ||
			strings.HasPrefix(name, "caddy_chat_rejected_total{") && strings.Contains(name, `tenant=""`) {
			n += value
		}
	}
	return n
}
