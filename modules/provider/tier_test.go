package provider

import "testing"

func TestTierOf(t *testing.T) {
	for _, tt := range []struct{ serviceTier, speed, want string }{
		{"", "", ""}, {"auto", "", ""}, {"default", "", ""}, {"standard", "standard", ""}, {"on_demand", "", ""},
		{"priority", "", "priority"}, {"Flex", "", "flex"}, {"batch", "", "batch"}, {"scale", "", "scale"}, {"fast", "", "fast"},
		{"standard", "fast", "fast"}, {"turbo\n", "", "other"},
	} {
		if got := TierOf(tt.serviceTier, tt.speed); got != tt.want {
			t.Errorf("%q at speed %q is %q, want %q", tt.serviceTier, tt.speed, got, tt.want)
		}
	}
}
