package openai

import (
	"errors"
	"fmt"
	"testing"

	"github.com/caddy-chat/caddy-chat/modules/provider"
)

// TestRefusedMembers reads what servers say of the members of a translated request.
func TestRefusedMembers(t *testing.T) {
	for _, tc := range []struct {
		body, message, param, code string
		added                      string
		passing                    bool
	}{
		{`{"reasoning_effort":"xhigh"}`, "Unsupported value: 'reasoning_effort' does not support 'xhigh' with this model. Supported values are: 'low', 'medium', and 'high'.", "reasoning_effort", "unsupported_value", `reasoning_effort="high"`, true},
		{`{"reasoning_effort":"minimal"}`, "Invalid value: 'minimal'. Supported values are: 'none', 'low', 'medium', and 'high'.", "reasoning_effort", "invalid_value", `reasoning_effort="low"`, true},
		{`{"reasoning_effort":"none"}`, "Unsupported value: 'reasoning_effort' does not support 'none' with this model. Supported values are: 'minimal', 'low', 'medium', and 'high'.", "reasoning_effort", "unsupported_value", "reasoning_effort", true},
		{`{"reasoning_effort":"low"}`, "`reasoning_effort` must be one of `none` or `default`", "", "", "reasoning_effort", true},
		{`{"reasoning_effort":"max"}`, "body.reasoning_effort: Input should be 'low', 'medium' or 'high'", "", "", `reasoning_effort="high"`, true},
		{`{"reasoning_effort":"xhigh"}`, "invalid reasoning_effort: xhigh", "", "", "reasoning_effort", true},
		{`{"reasoning_effort":"high"}`, "Unsupported parameter: 'reasoning_effort' is not supported with this model.", "reasoning_effort", "unsupported_parameter", "reasoning_effort", false},
		{`{"reasoning_effort":"high"}`, "Unrecognized request argument supplied: reasoning_effort", "", "", "reasoning_effort", false},
		{`{"reasoning_effort":"high"}`, "unknown field `reasoning_effort`, expected one of `model`, `messages`, `max_tokens`", "", "", "reasoning_effort", false},
		{`{"reasoning_effort":"high"}`, "Model grok-4 does not support parameter reasoningEffort.", "", "", "reasoning_effort", false},
		{`{"stop":["X"]}`, "Unsupported parameter: 'stop' is not supported with this model.", "stop", "unsupported_parameter", "stop", false},
		{`{"stop":["X"]}`, "Invalid 'stop': array too long. Expected an array with maximum length 4, but got an array with length 5 instead.", "stop", "array_above_max_length", "", false},
		{`{"temperature":0.5}`, "Unsupported value: 'temperature' does not support 0.5 with this model. Only the default (1) value is supported.", "temperature", "unsupported_value", "temperature", false},
		{`{"temperature":0.5}`, "Invalid 'temperature': decimal above maximum value. Expected a value <= 0.2.", "temperature", "decimal_above_max_value", "", false},
		{`{"verbosity":"low"}`, "Unsupported value: 'low' is not supported with the 'gpt-4o' model. Supported values are: 'medium'.", "verbosity", "unsupported_value", "verbosity", true},
		{`{"service_tier":"x"}`, "Invalid value: 'x'. Supported values are: 'auto' and 'default'.", "service_tier", "invalid_value", "", false},
		{`{"parallel_tool_calls":false,"top_k":4}`, "property 'top_k' is unsupported", "", "", "top_k", false},
		{`{"top_k":4}`, "1 validation error: body -> top_k: Extra inputs are not permitted", "top_k", "", "top_k", false},
		{`{"stop":"x","verbosity":"low"}`, "unknown field `verbosity`, expected one of `model`, `messages`, `stop`", "", "", "verbosity", false},
		{`{"max_tokens":32000}`, "max_tokens is too large: 32000. This model supports at most 16384 completion tokens, whereas you provided 32000.", "max_tokens", "invalid_value", "max_tokens=16384", false},
		{`{"max_completion_tokens":32000}`, "max_tokens is too large: 32000. This model supports at most 16384 completion tokens, whereas you provided 32000.", "max_completion_tokens", "invalid_value", "max_tokens=16384", false},
		{`{"max_tokens":32000}`, "Invalid max_tokens value, the valid range of max_tokens is [1, 8192]", "", "", "max_tokens=8192", false},
		{`{"max_tokens":32000}`, "`max_tokens` must be less than or equal to `8192`, the maximum value for `max_tokens` is less than the `context_window` for this model", "", "", "max_tokens=8192", false},
		{`{"max_tokens":32000}`, "Unsupported parameter: 'max_tokens' is not supported with this model. Use 'max_completion_tokens' instead.", "max_tokens", "unsupported_parameter", "max_tokens", false},
		{`{"max_tokens":32000}`, "max_tokens must be less than 0", "", "", "", false},
		{`{"max_tokens":100}`, "max_tokens is too large: 100. This model supports at most 16384 completion tokens.", "", "", "", false},
		{`{"user":"u","stop":"x"}`, "messages with role 'tool' are not supported after those of the user", "messages", "", "", false},
		{`{"tools":[]}`, "Unsupported parameter: 'tools' is not supported with this model.", "tools", "unsupported_parameter", "", false},
		{`{"stream":true}`, "Unrecognized request argument supplied: reasoning_effort", "", "", "", false},
	} {
		body := fmt.Sprintf(`{"error":{"message":%q,"param":%q,"code":%q}}`, tc.message, tc.param, tc.code)
		for _, translated := range []bool{true, false} {
			err := blameMember(provider.NewError(400, []byte(body)), &provider.Request{Body: []byte(tc.body), Translated: translated})
			e, _ := errors.AsType[*provider.Error](err)
			if !translated {
				tc.added, tc.passing = "", false
			}
			if e.Added != tc.added || e.Passing != tc.passing {
				t.Errorf("translated %v: %s: %q, passing %v, want %q, %v", translated, tc.message, e.Added, e.Passing, tc.added, tc.passing)
			}
		}
	}
}
