package door

import (
	"strings"

	"github.com/caddy-chat/caddy-chat/modules/provider"
)

// params are the members of which those of a chat completions request were made, by API.
var params = map[provider.API]map[string]string{
	provider.APIMessages: {
		"max_completion_tokens": "max_tokens",
		"max_tokens":            "max_tokens",
		"messages":              "messages",
		"metadata":              "metadata",
		"model":                 "model",
		"parallel_tool_calls":   "tool_choice.disable_parallel_tool_use",
		"reasoning_effort":      "output_config.effort",
		"response_format":       "output_config.format",
		"stop":                  "stop_sequences",
		"stream":                "stream",
		"temperature":           "temperature",
		"thinking":              "thinking",
		"tool_choice":           "tool_choice",
		"tools":                 "tools",
		"top_k":                 "top_k",
		"top_p":                 "top_p",
		"user":                  "metadata.user_id",
	},
	provider.APIResponses: {
		"logprobs":              "include",
		"max_completion_tokens": "max_output_tokens",
		"max_tokens":            "max_output_tokens",
		"messages":              "input",
		"metadata":              "metadata",
		"model":                 "model",
		"parallel_tool_calls":   "parallel_tool_calls",
		"prompt_cache_key":      "prompt_cache_key",
		"reasoning_effort":      "reasoning.effort",
		"response_format":       "text.format",
		"safety_identifier":     "safety_identifier",
		"service_tier":          "service_tier",
		"store":                 "store",
		"stream":                "stream",
		"temperature":           "temperature",
		"tool_choice":           "tool_choice",
		"tools":                 "tools",
		"top_logprobs":          "top_logprobs",
		"top_p":                 "top_p",
		"user":                  "user",
		"verbosity":             "text.verbosity",
	},
}

// Param returns the client's name for what a chat completions request has at a path, or an
// empty string if the client has sent nothing of the kind. The places in lists are not the
// client's: a door adds messages and leaves tools out.
func Param(api provider.API, path string) string {
	if end := strings.IndexAny(path, ".["); end >= 0 {
		path = path[:end]
	}
	return params[api][path]
}
