package dialect

import "github.com/tidwall/gjson"

// saysNothing says whether a member asks for what happens anyway, so that
// leaving it out changes nothing.
func saysNothing(name string, v gjson.Result) bool {
	if isEmpty(v) && name != "web_search_options" && name != "prediction" && name != "audio" {
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

// isEmpty says whether a value is an empty string, list or object.
func isEmpty(v gjson.Result) bool {
	if v.Type == gjson.String {
		return v.Str == ""
	}
	empty := v.IsArray() || v.IsObject()
	v.ForEach(func(_, _ gjson.Result) bool {
		empty = false
		return false
	})
	return empty
}
