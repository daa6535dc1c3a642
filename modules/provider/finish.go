package provider

import (
	"strings"

	"github.com/tidwall/gjson"
)

// The finish reasons of OpenAI's API.
const (
	finishStop     = "stop"
	finishLength   = "length"
	finishCalls    = "tool_calls"
	finishFilter   = "content_filter"
	finishFunction = "function_call"
)

// finishNames are other servers' names of these, in lower case: of Anthropic's and
// Gemini's APIs behind some proxies, Text Generation Inference, Mistral, Cohere,
// watsonx, GLM and MiniMax.
var finishNames = map[string]string{
	finishStop: finishStop, "eos": finishStop, "eos_token": finishStop, "end_turn": finishStop, "stop_sequence": finishStop,
	"stop_token": finishStop, "complete": finishStop, "completed": finishStop, "finish": finishStop, "end": finishStop,
	finishLength: finishLength, "max_tokens": finishLength, "max_new_tokens": finishLength, "max_length": finishLength,
	"model_length": finishLength, "max_output_tokens": finishLength, "max_completion_tokens": finishLength, "token_limit": finishLength,
	finishCalls: finishCalls, "tool_call": finishCalls, "tool_use": finishCalls,
	finishFilter: finishFilter, "content-filter": finishFilter, "safety": finishFilter, "sensitive": finishFilter,
	"refusal": finishFilter, "recitation": finishFilter, "prohibited_content": finishFilter, "blocklist": finishFilter,
	finishFunction: finishFunction,
}

// FinishOf returns the finish reason of a choice by OpenAI's name, or empty if it has
// none. SGLang also sends objects. A name that is not known stays as it is.
func FinishOf(choice gjson.Result) string {
	reason := choice.Get("finish_reason")
	if reason.IsObject() {
		reason = reason.Get("type")
	}
	if reason.Type != gjson.String {
		return ""
	}
	if name := finishNames[strings.ToLower(reason.Str)]; name != "" {
		return name
	}
	return reason.Str
}

// isFinish reports whether a finish reason is one of OpenAI's.
func isFinish(reason string) bool { return reason != "" && finishNames[reason] == reason }
