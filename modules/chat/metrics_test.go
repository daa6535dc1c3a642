package chat

import (
	"maps"
	"testing"
	"time"

	"github.com/caddy-chat/caddy-chat/modules/provider"
	"github.com/caddy-chat/caddy-chat/modules/record"
)

// Counters survive a reload, and what there is nothing to count of is not
// shown.
func TestCalled(t *testing.T) {
	before, after := storeAt(t, t.TempDir(), ""), storeAt(t, t.TempDir(), "")
	plain := record.Call{Provider: "openai", Usage: provider.Usage{Input: 7}}
	before.Called("called", "fast", "200", plain, time.Second)
	after.Called("called", "fast", "200", plain, time.Second)

	model := map[string]string{"tenant": "called", "model": "fast", "provider": "openai"}
	with := func(name, value string) map[string]string {
		labels := map[string]string{name: value}
		maps.Copy(labels, model)
		return labels
	}
	for _, tc := range []struct {
		name   string
		labels map[string]string
		want   float64
	}{
		{"caddy_ai_requests_total", with("code", "200"), 2},
		{"caddy_ai_tokens_total", with("type", "input"), 14},
		{"caddy_ai_tokens_total", with("type", "cached"), -1},
		{"caddy_ai_cost_usd_total", model, -1},
		{"caddy_ai_request_duration_seconds", model, 0},
		{"caddy_ai_time_to_first_token_seconds", model, -1},
	} {
		if got := value(t, after, tc.name, tc.labels); got != tc.want {
			t.Errorf("%s%v is %v, want %v", tc.name, tc.labels, got, tc.want)
		}
	}
}
