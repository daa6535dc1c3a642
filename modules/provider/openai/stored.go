package openai

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"github.com/tidwall/gjson"

	"github.com/caddy-chat/caddy-chat/modules/provider"
	"github.com/caddy-chat/caddy-chat/modules/provider/native"
	"github.com/caddy-chat/caddy-chat/modules/splice"
)

// refuseStored refuses a request of Responses for what the server keeps for the owner of
// the key, or would have to keep of other responses.
func refuseStored(preq *provider.Request, body []byte) error {
	root := gjson.ParseBytes(body)
	for _, name := range [...]string{"previous_response_id", "conversation", "background", "prompt"} {
		if v := root.Get(name); v.Exists() && v.Type != gjson.Null && v.Type != gjson.False {
			return provider.Unsupported(name, "this provider keeps nothing for its clients")
		}
	}
	// the tenant may not be allowed to use it, and its price is not known
	if at := native.Find(root.Get("tools"), "tools", native.IsModel); at != "" {
		return provider.Unsupported(at, "the model of a tool cannot be chosen here")
	}
	if err := native.RefuseStored(preq, body); err != nil {
		return err
	}
	if at := native.Find(root.Get("input"), "input", isKept); at != "" {
		return provider.Unsupported(at, "items of other responses cannot be used: want their contents in the request")
	}
	for i, item := range root.Get("input").Array() {
		if item.Get("id").Exists() && !item.Get("type").Exists() && !item.Get("role").Exists() && !isReference(item) {
			return provider.Unsupported(fmt.Sprintf("input.%d.type", i), "required: without it an item is a reference to a stored one")
		}
	}
	return nil
}

// isKept finds what refers to an item of another response.
func isKept(name string, v, parent gjson.Result) (found, skip bool) {
	switch name {
	case "type":
		return v.Str == "item_reference" && !isReference(parent) || v.Str == "image_generation_call" && parent.Get("result").Str == "", false
	case "parameters", "schema", "input_schema":
		return false, true
	}
	return false, false
}

// without leaves items out of a request's input, and reasoning whose item is left out, which
// servers refuse. left are the types of what is left out. All other bytes stay as they are.
func without(body []byte, unwanted func(item gjson.Result) bool) (rest []byte, left []string) {
	input := gjson.GetBytes(body, "input")
	if !input.IsArray() || !contains(input, unwanted) {
		return body, nil
	}
	items := input.Array()
	leave := make([]bool, len(items))
	orphans := false // the item behind reasoning is left out
	for i, item := range slices.Backward(items) {
		leave[i] = unwanted(item) || isReasoning(item) && orphans
		if !isReasoning(item) {
			orphans = leave[i]
		}
	}
	var edits []splice.Edit
	kept, end := false, input.Index+1
	for i, item := range items {
		next := item.Index + len(item.Raw)
		switch {
		case leave[i]:
			left = append(left, cmp.Or(item.Get("type").Str, "item_reference"))
			edits = append(edits, splice.Edit{From: end, To: next})
		case !kept && len(edits) > 0:
			edits = append(edits, splice.Edit{From: end, To: item.Index}) // the comma
			kept = true
		default:
			kept = true
		}
		end = next
	}
	return splice.Apply(body, edits), left
}

// dropItems records the types of items that were left out.
func dropItems(preq *provider.Request, types []string) {
	for _, typ := range types {
		preq.Drop("input." + typ)
	}
}

func contains(list gjson.Result, wanted func(item gjson.Result) bool) (found bool) {
	list.ForEach(func(_, item gjson.Result) bool {
		found = wanted(item)
		return !found
	})
	return found
}

// isReference reports whether an item of an answer is nothing without what the server
// keeps: reasoning that is neither sealed nor said, or only referred to, and code that has
// run in a container. Clients that do not know this send them back with the rest of an
// answer, which can do without.
func isReference(item gjson.Result) bool {
	switch item.Get("type").Str {
	case "item_reference":
		return strings.HasPrefix(item.Get("id").Str, "rs_")
	case "":
		return strings.HasPrefix(item.Get("id").Str, "rs_") && !item.Get("role").Exists()
	case "reasoning":
		return item.Get("encrypted_content").Str == "" && len(item.Get("content").Array()) == 0
	case "code_interpreter_call":
		return true
	}
	return false
}

func isReasoning(item gjson.Result) bool { return item.Get("type").Str == "reasoning" }
