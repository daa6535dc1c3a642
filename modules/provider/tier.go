package provider

import "strings"

// The service tiers whose prices are not the usual ones.
const (
	TierPriority = "priority"
	TierFast     = "fast"
	tierOther    = "other"
)

// TierOf returns the service tier that is meant by OpenAI's or Anthropic's service_tier
// and Anthropic's speed; empty for the usual one, whose prices lists have.
func TierOf(serviceTier, speed string) string {
	if strings.EqualFold(speed, TierFast) {
		return TierFast
	}
	switch tier := strings.ToLower(serviceTier); tier {
	case "", "auto", "default", "standard", "standard_only", "on_demand":
		return ""
	case TierPriority, TierFast, "flex", "batch", "scale":
		return tier
	default:
		return tierOther
	}
}

// in returns a usage in the tier that an answer names; nil for none.
func (u *Usage) in(serviceTier string) *Usage {
	if u != nil {
		u.Tier = TierOf(serviceTier, "")
	}
	return u
}
