package door_test

import (
	"slices"
	"strings"
	"testing"

	"github.com/caddy-chat/caddy-chat/modules/door"
	"github.com/caddy-chat/caddy-chat/modules/provider"
)

func TestNamed(t *testing.T) {
	for name, tc := range map[string]struct {
		api         provider.API
		sent        string
		names, want string
	}{
		"chat completions":             {"", `{}`, "stop max_tokens messages.name", "stop max_tokens messages.name"},
		"messages":                     {provider.APIMessages, `{}`, "stop max_tokens top_k user parallel_tool_calls", "stop_sequences max_tokens top_k metadata.user_id tool_choice.disable_parallel_tool_use"},
		"messages, an effort":          {provider.APIMessages, `{"output_config":{"effort":"low"},"thinking":{"type":"adaptive"}}`, "reasoning_effort", "output_config.effort"},
		"messages, thinking":           {provider.APIMessages, `{"thinking":{"type":"adaptive"},"output_config":{"effort":null}}`, "reasoning_effort", "thinking"},
		"messages, an unknown request": {provider.APIMessages, ``, "reasoning_effort response_format", "output_config.effort output_config.format"},
		"messages, an older schema":    {provider.APIMessages, `{"output_format":{}}`, "response_format.json_schema.schema", "output_format.schema"},
		"messages, parts":              {provider.APIMessages, `{}`, "messages.thinking_blocks tools.function.strict tools.function.parameters.allOf", "messages.thinking_blocks tools.strict tools.input_schema.allOf"},
		"responses":                    {provider.APIResponses, `{}`, "max_tokens reasoning_effort verbosity logprobs", "max_output_tokens reasoning.effort text.verbosity include"},
		"responses, parts":             {provider.APIResponses, `{}`, "messages.reasoning_content messages.name tools.function.parameters.allOf response_format.json_schema.strict", "input.reasoning input.name tools.parameters.allOf text.format.strict"},
		"no other word":                {provider.APIResponses, `{}`, "anthropic-beta input.reasoning X-Session-Id", "anthropic-beta input.reasoning X-Session-Id"},
	} {
		t.Run(name, func(t *testing.T) {
			got := door.Named(tc.api, []byte(tc.sent), strings.Fields(tc.names))
			if !slices.Equal(got, strings.Fields(tc.want)) {
				t.Errorf("%q are named %q, want %q", tc.names, got, tc.want)
			}
			if again := door.Named(tc.api, []byte(tc.sent), got); !slices.Equal(again, got) {
				t.Errorf("named twice they are %q", again)
			}
		})
	}
}
