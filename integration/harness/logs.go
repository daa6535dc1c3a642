package harness

import (
	"encoding/json"
	"maps"
	"slices"
	"strings"
	"testing"
)

// AccessLog waits for the access log's entry of a request, found by its
// trace id.
func (c *Caddy) AccessLog(traceID string) map[string]any {
	c.T.Helper()
	var found map[string]any
	Eventually(c.T, "the access log has "+traceID, func() bool {
		for line := range strings.Lines(c.Log.String()) {
			var entry map[string]any
			if json.Unmarshal([]byte(line), &entry) != nil {
				continue
			}
			if name, _ := entry["logger"].(string); strings.HasPrefix(name, "http.log.access") && entry["trace_id"] == traceID {
				found = entry
				return true
			}
		}
		return false
	})
	return found
}

var chatFields = []string{
	"tenant", "user", "session", "trace_id", "model", "provider", "attempts",
	"tokens_in", "tokens_out", "tokens_estimated", "cost_usd", "ttft_ms", "error_code",
}

// WantFields checks that an access log entry has the wanted fields, and none of
// our other ones. A nil stands for any value.
func WantFields(t testing.TB, entry, want map[string]any) {
	t.Helper()
	for _, name := range chatFields {
		got, there := entry[name]
		value, wanted := want[name]
		if there != wanted || value != nil && got != value {
			t.Errorf("%s: %v, want %v", name, got, value)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(want)) {
		if !slices.Contains(chatFields, name) && entry[name] != want[name] {
			t.Errorf("%s: %v, want %v", name, entry[name], want[name])
		}
	}
}
