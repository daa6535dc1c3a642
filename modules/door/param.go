package door

import (
	"strings"

	"github.com/tidwall/gjson"

	"github.com/caddy-chat/caddy-chat/modules/provider"
)

// params are the members of which those of a chat completions request were made, by API. A
// path is that of a member which has another place there than its object.
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
		jsonSchema:              "output_config.format",
		"stop":                  "stop_sequences",
		"stream":                "stream",
		"temperature":           "temperature",
		"thinking":              "thinking",
		"tool_choice":           "tool_choice",
		"tools":                 "tools",
		toolFunction:            "tools",
		toolParameters:          "tools.input_schema",
		"top_k":                 "top_k",
		"top_p":                 "top_p",
		"user":                  "metadata.user_id",
	},
	provider.APIResponses: {
		"logprobs":              "include",
		"max_completion_tokens": "max_output_tokens",
		"max_tokens":            "max_output_tokens",
		"messages":              "input",
		messageReasoning:        "input.reasoning",
		messageThinking:         "input.reasoning",
		"metadata":              "metadata",
		"model":                 "model",
		"parallel_tool_calls":   "parallel_tool_calls",
		"prompt_cache_key":      "prompt_cache_key",
		"reasoning_effort":      "reasoning.effort",
		"response_format":       "text.format",
		jsonSchema:              "text.format",
		"safety_identifier":     "safety_identifier",
		"service_tier":          "service_tier",
		"store":                 "store",
		"stream":                "stream",
		"temperature":           "temperature",
		"tool_choice":           "tool_choice",
		"tools":                 "tools",
		toolFunction:            "tools",
		"top_logprobs":          "top_logprobs",
		"top_p":                 "top_p",
		"user":                  "user",
		"verbosity":             "text.verbosity",
	},
}

// The paths of chat completions.
const (
	jsonSchema       = "response_format.json_schema"
	messageReasoning = "messages.reasoning_content"
	messageThinking  = "messages.thinking_blocks"
	toolFunction     = "tools.function"
	toolParameters   = "tools.function.parameters"
)

// otherwise are members that a client may have sent in place of others, to the same effect.
var otherwise = map[string]string{"output_config.effort": "thinking", "output_config.format": "output_format"}

// Param returns the client's name for what a chat completions request has at a path, or an
// empty string if the client has sent nothing of the kind. The places in lists are not the
// client's: a door adds messages and leaves tools out.
func Param(api provider.API, path string) string {
	if end := strings.IndexAny(path, ".["); end >= 0 {
		path = path[:end]
	}
	return params[api][path]
}

// Named returns the client's names for members that a provider was not given. Those of a chat
// completions request become what they were made of in the request as it was sent, which is
// empty if it is not known. Names without another word for it stay as they are.
func Named(api provider.API, sent []byte, names []string) []string {
	named := make([]string, len(names))
	for i, name := range names {
		named[i] = nameOf(params[api], sent, name)
	}
	return named
}

// nameOf returns the client's name for one member, found by the longest path that has one.
func nameOf(words map[string]string, sent []byte, name string) string {
	for path := name; path != ""; path = path[:max(0, strings.LastIndexByte(path, '.'))] {
		word, ok := words[path]
		if !ok {
			continue
		}
		if other := otherwise[word]; other != "" && given(sent, other) && !given(sent, word) {
			word = other
		}
		return word + name[len(path):]
	}
	return name
}

// given reports whether a request has a member.
func given(body []byte, path string) bool {
	v := gjson.GetBytes(body, path)
	return v.Exists() && v.Type != gjson.Null
}
