package dialect

import (
	"github.com/tidwall/gjson"

	"github.com/caddy-chat/caddy-chat/modules/provider"
)

// saysNothing says whether a member asks for what happens anyway, so that
// leaving it out changes nothing.
func saysNothing(name string, v gjson.Result) bool {
	if provider.IsEmpty(v) && name != "web_search_options" && name != "prediction" && name != "audio" {
		return true
	}
	switch name {
	case "n":
		return v.Type == gjson.Number && v.Num == 1
	case "logprobs", "store":
		return v.Type == gjson.False
	case "parallel_tool_calls":
		return v.Type == gjson.True
	case "tool_choice":
		return v.Str == "auto" || v.Str == "none"
	case "function_call":
		return v.Str == "none"
	case "response_format":
		return v.Get("type").Str == "text"
	case "frequency_penalty", "presence_penalty", "top_logprobs":
		return v.Type == gjson.Number && v.Num == 0
	case "service_tier":
		return v.Str == "auto" || v.Str == "default"
	case "verbosity":
		return v.Str == "medium"
	}
	return false
}
