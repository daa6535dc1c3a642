package integration

import (
	"net/http"
	"strconv"
	"strings"
)

// metrics are the series on the admin endpoint, as they are written there.
func (c *caddyProcess) metrics() map[string]float64 {
	c.t.Helper()
	resp, err := http.Get(c.admin + "/metrics") //nolint:noctx // it is loopback
	if err != nil {
		c.t.Fatal(err)
	}
	series := make(map[string]float64)
	for line := range strings.Lines(readAll(c.t, resp)) {
		line = strings.TrimSpace(line)
		at := strings.LastIndexByte(line, ' ')
		if line == "" || line[0] == '#' {
			continue
		}
		value, err := strconv.ParseFloat(line[at+1:], 64)
		if err != nil {
			c.t.Fatalf("metrics: %q: %v", line, err)
		}
		series[line[:at]] = value
	}
	return series
}
