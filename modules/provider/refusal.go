package provider

import "regexp"

var (
	namesStreamOptions = regexp.MustCompile(`stream_?[oO]ptions|include_?[uU]sage`)

	// unnamed is a refusal that does not say which member it means.
	unnamed = regexp.MustCompile(`(?i)^\s*(error: )?(request (has|contains) )?(extra|unknown|unrecognized|unexpected|unsupported|additional|invalid) (request )?(field|input|argument|parameter|propert|key|member)\w*( supplied| found| (are |is )?not (permitted|allowed|supported))?\.?\s*$`)
)

// RefusesStreamOptions reports whether a provider refuses a request because of
// stream_options, or of a member that it does not name.
func (e *Error) RefusesStreamOptions() bool {
	return e.Reason == ReasonInvalid && (e.Mentions(namesStreamOptions) || e.Mentions(unnamed))
}
