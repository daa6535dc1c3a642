package provider

// Spent is what is known of a call beside the provider's own count.
type Spent struct {
	RequestBytes int   // of the request's body
	Input        int64 // the estimate of the prompt's tokens
	OutputBytes  int   // of all output so far
	OutputCap    int64 // the request's limit of output tokens; 0 without one
}

const (
	// hiddenInput are input tokens that the request's body does not show, such
	// as those of a file behind a URL or of a search's results.
	hiddenInput = 1 << 20

	// hiddenOutput are output tokens that the answer does not show: reasoning.
	hiddenOutput = 1 << 18
)

// Checked returns a usage with estimates in place of counts that the call cannot
// have: none although there was something to count, or more than it can have cost.
// Every token is at least a byte. ok is false if a count was replaced.
func (u Usage) Checked(s Spent) (checked Usage, ok bool) {
	ok = true
	if u.Input < 1 && s.Input > 0 || u.Input > int64(s.RequestBytes)+hiddenInput {
		u.Input, ok = s.Input, false
	}
	// a provider that ignores the cap is found out by what it says
	most := int64(s.OutputBytes) + max(2*s.OutputCap, hiddenOutput)
	if u.Output < 1 && s.OutputBytes > 0 || u.Output > most {
		u.Output, ok = EstimateTokens(s.OutputBytes), false
	}
	u.Estimated = u.Estimated || !ok
	return u.consistent(), ok
}

// consistent returns a usage whose parts are no larger than the whole, as some proxies
// report them. They would make a price negative.
func (u Usage) consistent() Usage {
	u.Cached = min(u.Cached, u.Input)
	u.Written = min(u.Written, u.Input-u.Cached)
	u.ForAnHour = min(u.ForAnHour, u.Written)
	u.Reasoning = min(u.Reasoning, u.Output)
	return u
}

// Member returns the usage of a chat completion, as JSON.
func (u Usage) Member() []byte {
	return Encode(struct {
		Prompt     int64 `json:"prompt_tokens"`
		Completion int64 `json:"completion_tokens"`
		Total      int64 `json:"total_tokens"`
		Estimated  bool  `json:"estimated,omitempty"`
	}{u.Input, u.Output, u.Total(), u.Estimated})
}
