package price

import (
	"testing"

	"github.com/caddy-chat/caddy-chat/modules/provider"
)

// TestAtMost compares what service tiers cost at most with the usual price.
func TestAtMost(t *testing.T) {
	p := Price{Input: 2, Output: 8, Cached: 0.5, Written: 2.5, ForAnHour: 4, LongAbove: 1000, Long: &Price{Input: 4, Output: 12}}
	for _, tt := range []struct {
		typ, tier string
		times     float64
	}{
		{"openai", "", 1}, {"openai", "priority", 2}, {"openai", "flex", 1}, {"openai", "scale", 1}, {"openai", "other", 1},
		{"anthropic", "fast", 2}, {"anthropic", "batch", 1}, {"anthropic", "priority", 1}, {"cloudflare", "priority", 2},
	} {
		for _, u := range []provider.Usage{
			{Input: 900, Cached: 100, Written: 300, ForAnHour: 100, Output: 50},
			{Input: 2000, Output: 50}, // at the price of long prompts
		} {
			if got, want := p.AtMost(tt.typ, tt.tier).Cost(u), tt.times*p.Cost(u); got != want {
				t.Errorf("%s of %s: %+v costs at most %v, want %v", tt.tier, tt.typ, u, got, want)
			}
		}
	}
	if p.Long.Input != 4 {
		t.Error("the price itself has changed")
	}
}
