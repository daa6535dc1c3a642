package openai

import (
	"fmt"
	"slices"
	"strconv"

	"github.com/tidwall/gjson"

	"github.com/caddy-chat/caddy-chat/modules/items"
	"github.com/caddy-chat/caddy-chat/modules/provider"
)

// toResponse turns a chat completions request into one of Responses.
type toResponse struct {
	preq   *provider.Request
	root   gjson.Result
	texted bool  // the member text was written, which two members become
	err    error // the first that was found
}

// asResponse returns the body of a chat completions request as one of Responses. What has no
// place there is noted. The order of the members stays.
func asResponse(preq *provider.Request) ([]byte, error) {
	t := toResponse{preq: preq, root: gjson.ParseBytes(preq.Body)}
	body := object(t.root, t.member)
	return body, t.err
}

// member returns the name and the value of what a member becomes; no name if it is left out.
func (t *toResponse) member(name string, v gjson.Result) (string, string) {
	if v.Type == gjson.Null {
		return "", ""
	}
	switch name {
	case "model", "store", "temperature", "top_p", "parallel_tool_calls", "service_tier", "metadata", "user", "safety_identifier", "prompt_cache_key", "prompt_cache_retention":
		return name, v.Raw
	case "messages":
		return "input", t.input(v)
	case "tools":
		return name, list(v, t.tool)
	case "tool_choice":
		return name, t.choice(v)
	case effortMember:
		return "reasoning", `{"effort":` + v.Raw + `}`
	case "response_format", "verbosity":
		return t.text()
	case limitMember, newLimitMember:
		return t.limit(name, v)
	case streamOptions:
		t.preq.DropOthers(v, name, "include_usage")
	case streamMember, "n", "logprobs": // as needsChat has found them, they say nothing
	default:
		if !provider.IsEmpty(v) {
			t.preq.Drop(name)
		}
	}
	return "", ""
}

// leastOutput is the least limit of tokens that OpenAI takes.
const leastOutput = 16

func (t *toResponse) limit(name string, v gjson.Result) (string, string) {
	if name == limitMember && t.root.Get(newLimitMember).Type == gjson.Number {
		t.preq.Drop(name)
		return "", ""
	}
	if v.Int() >= leastOutput {
		return "max_output_tokens", v.Raw
	}
	t.preq.Drop(limitMember)
	return "max_output_tokens", strconv.Itoa(leastOutput)
}

// input returns the messages as items.
func (t *toResponse) input(messages gjson.Result) string {
	var l items.List
	for i, m := range messages.Array() {
		if !l.Add(m) && t.err == nil {
			t.err = unformed(i, m)
		}
		t.preq.DropOthers(m, "messages", "role", "content", "refusal", "tool_calls", "tool_call_id", "reasoning_content", items.Member)
		m.Get("tool_calls").ForEach(func(_, c gjson.Result) bool {
			t.preq.DropOthers(c, "messages.tool_calls", "id", "type", "index", "function", "custom")
			return true
		})
	}
	for _, name := range l.Dropped {
		t.preq.Drop(name)
	}
	return string(provider.Encode(l.Items))
}

// unformed returns why a message cannot be an item.
func unformed(i int, m gjson.Result) error {
	path, content := fmt.Sprintf("messages.%d", i), m.Get("content")
	if j := slices.IndexFunc(content.Array(), func(p gjson.Result) bool { return !items.HasForm(p) }); content.IsArray() && j >= 0 {
		return provider.Unsupported(fmt.Sprintf("%s.content.%d", path, j), "this model only accepts text, images and files beside tools")
	}
	return provider.Unsupported(path+".role", "want system, developer, user, assistant or tool")
}
