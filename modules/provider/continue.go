package provider

import "github.com/tidwall/gjson"

// Continuable says whether the answer to a request can be a begun one's rest,
// whatever the provider: it must be one choice of free text, to a conversation
// whose last word is not the assistant's own. A tool call that is forced and
// a JSON document are no text to go on with.
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

// forcesCall says whether the answer has to be a call of a function.
func forcesCall(root gjson.Result) bool {
	if root.Get("function_call").IsObject() {
		return true
	}
	choice := root.Get("tool_choice")
	return len(root.Get("tools").Array()) > 0 && (choice.IsObject() || choice.Str == "required" || choice.Str == "any")
}
