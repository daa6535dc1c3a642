package price

import "github.com/caddy-chat/caddy-chat/modules/provider"

// dearest is how many times the usual price a service tier costs at most: OpenAI's
// priority processing and Anthropic's fast mode on 2026-11-27. What it costs for each model
// is in no list. Other tiers are cheaper than the usual one, or paid in advance, as
// Anthropic's priority tier is.
const dearest = 2

// AtMost returns what a service tier of a provider's type costs at most.
func (p Price) AtMost(typ, tier string) Price {
	if tier != provider.TierFast && (tier != provider.TierPriority || typ == "anthropic") {
		return p
	}
	if p.Long != nil {
		p.Long = new(p.Long.AtMost(typ, tier))
	}
	p.Input, p.Output, p.Cached = p.Input*dearest, p.Output*dearest, p.Cached*dearest
	p.Written, p.ForAnHour = p.Written*dearest, p.ForAnHour*dearest
	return p
}
