package provider

import "github.com/tidwall/gjson"

// Continuable reports whether any provider could continue an answer to the
// request. The answer must be one choice of free text, not a forced tool call or
// a JSON document, and the last message must not be the assistant's own.
func (r *Request) Continuable() bool {
	root := gjson.ParseBytes(r.Body)
	if n := root.Get("n"); n.Exists() && n.Type != gjson.Null && n.Num != 1 {
		return false
	}
	if forcesCall(root) || root.Get(`modalities.#(=="audio")`).Exists() {
		return false
	}
	if f := root.Get("response_format"); f.IsObject() && f.Get("type").Str != "text" {
		return false
	}
	messages := root.Get("messages").Array()
	return len(messages) > 0 && messages[len(messages)-1].Get("role").Str != "assistant"
}

// forcesCall reports whether the answer must be a tool call.
func forcesCall(root gjson.Result) bool {
	if root.Get("function_call").IsObject() {
		return true
	}
	choice := root.Get("tool_choice")
	return len(root.Get("tools").Array()) > 0 && (choice.IsObject() || choice.Str == "required" || choice.Str == "any")
}
